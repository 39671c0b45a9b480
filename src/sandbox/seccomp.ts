/**
 * Filters over the system calls of a command (seccomp(2)), for what Landlock does not know: sockets of any
 * family but the local one (it knows TCP only), set-user-id bits, limits of other processes, with which
 * the kernel can be made to kill them, and what a file that is open for reading lets be done with it.
 */
import {
  AF_UNIX,
  ALLOW,
  argument,
  EACCES,
  ENOSYS,
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
  /** One, or with that of large files two. */
  readonly fcntl: readonly number[];
  readonly ioctl: number;
  /** add_key(2), request_key(2), keyctl(2). */
  readonly keys: readonly number[];
}

/** The machine's own interface and that of its 32-bit programs. */
const INTERFACES: Readonly<Record<string, readonly Calls[]>> = {
  x64: [
    {
      ...{ audit: 0xc000_003e, chmod: 90, fchmod: 91, fchmodat: 268, prlimit: 302 },
      ...{ fcntl: [72], ioctl: 16, keys: [248, 249, 250] },
    },
    {
      ...{ audit: 0x4000_0003, chmod: 15, fchmod: 94, fchmodat: 306, prlimit: 340 },
      ...{ fcntl: [55, 221], ioctl: 54, keys: [286, 287, 288] },
    },
  ],
  arm64: [
    {
      ...{ audit: 0xc000_00b7, fchmod: 52, fchmodat: 53, prlimit: 261 },
      ...{ fcntl: [25], ioctl: 29, keys: [217, 218, 219] },
    },
    {
      ...{ audit: 0x4000_0028, chmod: 15, fchmod: 94, fchmodat: 333, prlimit: 369 },
      ...{ fcntl: [55, 221], ioctl: 54, keys: [309, 310, 311] },
    },
  ],
};
/** One number on every machine. */
const FCHMODAT2 = 452;
const FILE_SETATTR = 469;
/** S_ISUID and S_ISGID. */
const SET_ID_BITS = 0o6000;

/** F_SETLEASE and F_SETDELEG (fcntl(2)): whoever opens the file, or changes the directory, is made to wait. */
const LEASES = [1024, 1040];

/**
 * Requests of ioctl(2) that change more than the open file lets be written: a terminal's input (TIOCSTI,
 * TIOCLINUX); flags, project, verity and encryption of files (FS_IOC_SETFLAGS of both word lengths,
 * FS_IOC_FSSETXATTR, FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY); and subvolumes of btrfs, which
 * are made, removed and locked without a word to Landlock (BTRFS_IOC_SNAP_CREATE, SUBVOL_CREATE,
 * SNAP_DESTROY, their second versions, SUBVOL_SETFLAGS).
 */
const REQUESTS = [
  ...[0x5412, 0x541c],
  ...[0x4008_6602, 0x4004_6602, 0x401c_5820, 0x4080_6685, 0x800c_6613],
  ...[0x5000_9401, 0x5000_940e, 0x5000_940f, 0x5000_9417, 0x5000_9418, 0x5000_943f, 0x4008_941a],
];

/**
 * Refuses set-user-id and set-group-id bits in chmod(2) and its kin, setting limits of another process,
 * `LEASES` and `REQUESTS`. Keyrings, which outlive the command, are not there.
 */
export function privilegeFilter(arch: string): Uint8Array {
  const interfaces = INTERFACES[arch];
  if (interfaces === undefined) throw new Error(`no privilege filter for ${arch}`);
  return filterInterfaces(interfaces, (calls) => [
    ...(calls.chmod === undefined ? [] : refuseBits(calls.chmod, 1)),
    ...refuseBits(calls.fchmod, 1),
    ...refuseBits(calls.fchmodat, 2),
    ...refuseBits(FCHMODAT2, 2),
    ...refuseLimits(calls.prlimit),
    ...calls.fcntl.flatMap((call) => refuseCommands(call, LEASES)),
    ...refuseCommands(calls.ioctl, REQUESTS),
    ...[...calls.keys, FILE_SETATTR].flatMap(hide),
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

/** Some values of the second argument, of which the kernel takes the lower half. */
function refuseCommands(call: number, commands: readonly number[]): Instruction[] {
  const count = commands.length;
  return [
    [IF_EQUAL, 0, count + 3, call],
    [LOAD, 0, 0, argument(1)],
    ...commands.map((command, at): Instruction => [IF_EQUAL, count - at, 0, command]),
    [RETURN, 0, 0, ALLOW],
    [RETURN, 0, 0, FAIL | EPERM],
  ];
}

function hide(call: number): Instruction[] {
  return [
    [IF_EQUAL, 0, 1, call],
    [RETURN, 0, 0, FAIL | ENOSYS],
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
