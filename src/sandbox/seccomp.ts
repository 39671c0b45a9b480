/**
 * Filters over the system calls of a command (seccomp(2)), for what Landlock does not know: sockets of any
 * family but the local one (it knows TCP only), set-user-id bits, and limits of other processes, with
 * which the kernel can be made to kill them.
 */
import {
  AF_UNIX,
  ALLOW,
  argument,
  EACCES,
  EPERM,
  FAIL,
  filterInterfaces,
  IF_ANY_BIT,
  IF_EQUAL,
  type Instruction,
  LOAD,
  RETURN,
  WITHOUT_IO_URING,
} from "./bpf.ts";

/** The machine's own interface alone: its 32-bit programs have another, and so no calls at all. */
const SOCKETS: Readonly<Record<string, { readonly audit: number; readonly socket: number }>> = {
  x64: { audit: 0xc000_003e, socket: 41 },
  arm64: { audit: 0xc000_00b7, socket: 198 },
};

/**
 * Refuses sockets of every family but the local one, for `arch` as `process.arch` names it. io_uring is
 * not there, and neither is any call by an x32 number or of a 32-bit program, which has other numbers.
 */
export function networkFilter(arch: string): Uint8Array {
  const machine = SOCKETS[arch];
  if (machine === undefined) throw new Error(`no network filter for ${arch}`);
  return filterInterfaces([machine], ({ socket }) => [
    ...WITHOUT_IO_URING,
    [IF_EQUAL, 0, 3, socket],
    [LOAD, 0, 0, argument(0)],
    [IF_EQUAL, 1, 0, AF_UNIX],
    [RETURN, 0, 0, FAIL | EACCES],
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
  return filterInterfaces(interfaces, ({ chmod, fchmod, fchmodat, prlimit }) => [
    ...(chmod === undefined ? [] : refuseBits(chmod, 1)),
    ...refuseBits(fchmod, 1),
    ...refuseBits(fchmodat, 2),
    ...refuseBits(FCHMODAT2, 2),
    ...refuseLimits(prlimit),
  ]);
}

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
