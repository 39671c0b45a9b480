/**
 * The filter that takes the network from a command (seccomp(2)): sockets of any family but the local
 * one are refused. Landlock only knows TCP; this covers UDP, raw and the rest, on every kernel.
 */

// Classic BPF over struct seccomp_data (seccomp(2), bpf in linux/filter.h)
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN = 0x06;
const AT_NUMBER = 0;
const AT_ARCHITECTURE = 4;
const AT_FIRST_ARGUMENT = 16;
const ALLOW = 0x7fff_0000;
const FAIL = 0x0005_0000; // SECCOMP_RET_ERRNO | errno
const EACCES = 13;
const ENOSYS = 38;
const AF_UNIX = 1;
/** Numbers of the second 64-bit interface on x86-64, which would be a way around. */
const X32_BIT = 0x4000_0000;

const ARCHITECTURES: Readonly<Record<string, { audit: number; socket: number }>> = {
  x64: { audit: 0xc000_003e, socket: 41 },
  arm64: { audit: 0xc000_00b7, socket: 198 },
};
const IO_URING_SETUP = 425; // its operations include sockets and are not seen by filters

/** The filter as memory (8 bytes for each instruction) for `arch` as `process.arch` names it. */
export function networkFilter(arch: string): Uint8Array {
  const machine = ARCHITECTURES[arch];
  if (machine === undefined) throw new Error(`no network filter for ${arch}`);
  const { audit, socket } = machine;
  // Jumps are relative: how many instructions to skip when true, when false.
  const program: readonly (readonly [code: number, yes: number, no: number, value: number])[] = [
    [LOAD, 0, 0, AT_ARCHITECTURE],
    [IF_EQUAL, 0, 7, audit], // else: refuse (32-bit programs have other numbers)
    [LOAD, 0, 0, AT_NUMBER],
    [IF_AT_LEAST, 5, 0, X32_BIT],
    [IF_EQUAL, 4, 0, IO_URING_SETUP],
    [IF_EQUAL, 0, 4, socket], // else: allow
    [LOAD, 0, 0, AT_FIRST_ARGUMENT],
    [IF_EQUAL, 2, 0, AF_UNIX],
    [RETURN, 0, 0, FAIL | EACCES],
    [RETURN, 0, 0, FAIL | ENOSYS],
    [RETURN, 0, 0, ALLOW],
  ];
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
