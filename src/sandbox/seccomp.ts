/**
 * Filters over the system calls of a command (seccomp(2)), for what Landlock does not know: sockets of any
 * family but the local one (it knows TCP only), set-user-id bits, and limits of other processes, with
 * which the kernel can be made to kill them.
 */

// Classic BPF over struct seccomp_data (seccomp(2), bpf in linux/filter.h)
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06;
const AT_NUMBER = 0;
const AT_ARCHITECTURE = 4;
const AT_FIRST_ARGUMENT = 16;
const ALLOW = 0x7fff_0000;
const FAIL = 0x0005_0000; // SECCOMP_RET_ERRNO | errno
const EPERM = 1;
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
  return assemble([
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
  ]);
}

/** Numbers of the calls that `privilegeFilter` looks at; 64-bit ARM has no chmod(2). */
interface Calls {
  readonly audit: number;
  readonly chmod?: number;
  readonly fchmod: number;
  readonly fchmodat: number;
  readonly prlimit: number;
}

/** The machine's own interface and that of its 32-bit programs. */
const INTERFACES: Readonly<Record<string, readonly Calls[]>> = {
  x64: [
    { audit: 0xc000_003e, chmod: 90, fchmod: 91, fchmodat: 268, prlimit: 302 },
    { audit: 0x4000_0003, chmod: 15, fchmod: 94, fchmodat: 306, prlimit: 340 },
  ],
  arm64: [
    { audit: 0xc000_00b7, fchmod: 52, fchmodat: 53, prlimit: 261 },
    { audit: 0x4000_0028, chmod: 15, fchmod: 94, fchmodat: 333, prlimit: 369 },
  ],
};
const FCHMODAT2 = 452;
/** S_ISUID and S_ISGID. */
const SET_ID_BITS = 0o6000;

/** Refuses set-user-id and set-group-id bits in chmod(2) and its kin, and setting limits of another process. */
export function privilegeFilter(arch: string): Uint8Array {
  const interfaces = INTERFACES[arch];
  if (interfaces === undefined) throw new Error(`no privilege filter for ${arch}`);
  const program: Instruction[] = [[LOAD, 0, 0, AT_ARCHITECTURE]];
  for (const { audit, chmod, fchmod, fchmodat, prlimit } of interfaces) {
    const checks = [
      ...(chmod === undefined ? [] : refuseBits(chmod, 1)),
      ...refuseBits(fchmod, 1),
      ...refuseBits(fchmodat, 2),
      ...refuseBits(FCHMODAT2, 2),
      ...refuseLimits(prlimit),
    ];
    const body: Instruction[] = [
      [LOAD, 0, 0, AT_NUMBER],
      [IF_AT_LEAST, 0, 1, X32_BIT],
      [RETURN, 0, 0, FAIL | ENOSYS],
      ...checks,
      [RETURN, 0, 0, ALLOW],
    ];
    program.push([IF_EQUAL, 0, body.length, audit], ...body);
  }
  program.push([RETURN, 0, 0, FAIL | ENOSYS]);
  return assemble(program);
}

/** Lower half of an argument; both machines have it first. */
const argument = (index: number): number => AT_FIRST_ARGUMENT + index * 8;

function refuseBits(call: number, mode: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 4, call],
    [LOAD, 0, 0, argument(mode)],
    [IF_ANY_BIT, 0, 1, SET_ID_BITS],
    [RETURN, 0, 0, FAIL | EPERM],
    [RETURN, 0, 0, ALLOW],
  ];
}

/** prlimit(2) for pid 0 is oneself; without a new limit it only reads. */
function refuseLimits(call: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 8, call],
    [LOAD, 0, 0, argument(0)],
    [IF_EQUAL, 5, 0, 0],
    [LOAD, 0, 0, argument(2)],
    [IF_EQUAL, 0, 2, 0],
    [LOAD, 0, 0, argument(2) + 4],
    [IF_EQUAL, 1, 0, 0],
    [RETURN, 0, 0, FAIL | EPERM],
    [RETURN, 0, 0, ALLOW],
  ];
}

/** One instruction; jumps say how many to skip. */
type Instruction = readonly [code: number, yes: number, no: number, value: number];

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
