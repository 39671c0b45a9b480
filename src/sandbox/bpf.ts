/**
 * Classic BPF over struct seccomp_data (seccomp(2), bpf in linux/filter.h): the words that filters of
 * system calls are written in, and how they become memory.
 */

/** Codes of instructions (linux/bpf_common.h): loads 32 bits of the call's data. */
export const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
/** Keeps of what is loaded the bits of the value. */
export const KEEP_BITS = 0x54; // BPF_ALU | BPF_AND | BPF_K
/** Jumps that compare what is loaded with the value: equal, any bit of it set. */
export const IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
export const IF_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const IF_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
/** Ends the filter with the value as its verdict. */
export const RETURN = 0x06; // BPF_RET | BPF_K

/** Verdicts (seccomp(2)): the call is made, or it fails with the number of an error in the lower bits. */
export const ALLOW = 0x7fff_0000; // SECCOMP_RET_ALLOW
export const FAIL = 0x0005_0000; // SECCOMP_RET_ERRNO | errno

/** Numbers of errors (errno(3)), alike on all machines of ours. */
export const EPERM = 1;
export const EACCES = 13;
export const ENOSYS = 38;

/** The family of local sockets (unix(7)). */
export const AF_UNIX = 1;

/** Where things stand in struct seccomp_data (linux/seccomp.h). */
const AT_NUMBER = 0;
const AT_ARCHITECTURE = 4;
const AT_FIRST_ARGUMENT = 16;

/** Numbers of the second 64-bit interface on x86-64, which would be a way around. */
const X32_BIT = 0x4000_0000;
const IO_URING_SETUP = 425;

/** One instruction (struct sock_filter, linux/filter.h); jumps say how many to skip when true, when false. */
export type Instruction = readonly [code: number, yes: number, no: number, value: number];

/** Where the lower half of an argument stands, from 0 on; all machines of ours have it first. */
export const argument = (index: number): number => AT_FIRST_ARGUMENT + index * 8;

/**
 * Checks for `filterInterfaces`: io_uring is not there. Its operations include sockets, and filters do not
 * see them; its number is the same on every interface.
 */
export const WITHOUT_IO_URING: readonly Instruction[] = [
  [IF_EQUAL, 0, 1, IO_URING_SETUP],
  [RETURN, 0, 0, FAIL | ENOSYS],
];

/**
 * A filter over interfaces of a machine, each known by its `audit` number (AUDIT_ARCH_*, linux/audit.h), as
 * memory for SECCOMP_SET_MODE_FILTER (seccomp(2)). Of each, `checks` look at the calls by their numbers,
 * which are loaded, and fall through to what is allowed. To programs of other interfaces, x32 among them,
 * no call is there (ENOSYS).
 */
export function filterInterfaces<Calls extends { readonly audit: number }>(
  interfaces: readonly Calls[],
  checks: (calls: Calls) => readonly Instruction[],
): Uint8Array {
  const program: Instruction[] = [[LOAD, 0, 0, AT_ARCHITECTURE]];
  for (const calls of interfaces) {
    const body: Instruction[] = [
      [LOAD, 0, 0, AT_NUMBER],
      [IF_AT_LEAST, 0, 1, X32_BIT],
      [RETURN, 0, 0, FAIL | ENOSYS],
      ...checks(calls),
      [RETURN, 0, 0, ALLOW],
    ];
    program.push([IF_EQUAL, 0, body.length, calls.audit], ...body);
  }
  program.push([RETURN, 0, 0, FAIL | ENOSYS]);
  return assemble(program);
}

/** A filter as memory, 8 bytes for each instruction (struct sock_filter, linux/filter.h). */
function assemble(program: readonly Instruction[]): Uint8Array {
  const memory = new Uint8Array(program.length * 8);
  const view = new DataView(memory.buffer);
  for (const [index, [code, yes, no, value]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, yes);
    view.setUint8(index * 8 + 3, no);
    view.setUint32(index * 8 + 4, value, true);
  }
  return memory;
}
