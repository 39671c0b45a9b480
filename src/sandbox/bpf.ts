/**
 * Classic BPF over struct seccomp_data (seccomp(2), bpf in linux/filter.h): the words that filters of
 * system calls are written in, and how they become memory.
 */

export const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
export const KEEP_BITS = 0x54; // BPF_ALU | BPF_AND | BPF_K
export const IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
export const IF_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
export const IF_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
export const RETURN = 0x06;

export const AT_NUMBER = 0;
export const AT_ARCHITECTURE = 4;
const AT_FIRST_ARGUMENT = 16;

export const ALLOW = 0x7fff_0000;
export const FAIL = 0x0005_0000; // SECCOMP_RET_ERRNO | errno
export const EPERM = 1;
export const EACCES = 13;
export const ENOSYS = 38;

export const AF_UNIX = 1;

/** Numbers of the second 64-bit interface on x86-64, which would be a way around. */
export const X32_BIT = 0x4000_0000;
/** Operations of io_uring include sockets, and filters do not see them; one number on every machine. */
export const IO_URING_SETUP = 425;

/** One instruction; jumps say how many to skip when true, when false. */
export type Instruction = readonly [code: number, yes: number, no: number, value: number];

/** Where the lower half of an argument stands, from 0 on; all machines of ours have it first. */
export const argument = (index: number): number => AT_FIRST_ARGUMENT + index * 8;

/**
 * A filter over several interfaces of a machine, as memory: of each, `checks` look at the calls by their
 * numbers, which are loaded, and fall through to what is allowed. Calls of other interfaces are not there.
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

/** A filter as memory, 8 bytes for each instruction. */
export function assemble(program: readonly Instruction[]): Uint8Array {
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
