/**
 * Every C function the project calls, and nothing else (design: `bun:ffi` only here).
 * The library is opened at the first call, not at import: commands that need none of it pay nothing.
 */
import { dlopen, type Pointer, ptr, read } from "bun:ffi";
import { closeSync } from "node:fs";

const DARWIN = process.platform === "darwin";

function open() {
  const library = dlopen(DARWIN ? "libSystem.B.dylib" : "libc.so.6", {
    flock: { args: ["i32", "i32"], returns: "i32" },
    dup2: { args: ["i32", "i32"], returns: "i32" },
    isatty: { args: ["i32"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    pipe: { args: ["ptr"], returns: "i32" },
    ...(DARWIN ? {} : { pipe2: { args: ["ptr", "i32"], returns: "i32" } as const }),
    [DARWIN ? "__error" : "__errno_location"]: { args: [], returns: "ptr" },
  });
  return library.symbols as unknown as {
    flock(fd: number, operation: number): number;
    dup2(from: number, to: number): number;
    isatty(fd: number): number;
    getsockopt(fd: number, level: number, name: number, value: Pointer, length: Pointer): number;
    pipe(ends: Pointer): number;
    pipe2?(ends: Pointer, flags: number): number;
    __error?(): Pointer;
    __errno_location?(): Pointer;
  };
}

let symbols: ReturnType<typeof open> | undefined;
const libc = (): ReturnType<typeof open> => (symbols ??= open());

function errno(): number {
  const location = libc().__error?.() ?? libc().__errno_location?.();
  return location === undefined ? 0 : read.i32(location, 0);
}

// Values of flock(2) and errno(3), the same on Linux and macOS except EWOULDBLOCK.
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const EINTR = 4;
const EWOULDBLOCK = DARWIN ? 35 : 11;

/** Outcome of an attempt to lock: taken, held by someone else, or not possible here. */
type FlockOutcome = "taken" | "busy" | { readonly errno: number };

/**
 * One attempt at an exclusive `flock(2)`; never blocks. The lock belongs to the open file
 * description and ends when its last descriptor is closed, so open with close-on-exec.
 */
export function tryFlock(fd: number): FlockOutcome {
  return attemptFlock(fd, LOCK_EX);
}

/** As `tryFlock`, for a lock that others may share; it only keeps an exclusive one out. */
export function trySharedFlock(fd: number): FlockOutcome {
  return attemptFlock(fd, LOCK_SH);
}

function attemptFlock(fd: number, kind: number): FlockOutcome {
  for (;;) {
    if (libc().flock(fd, kind | LOCK_NB) === 0) return "taken";
    const code = errno();
    if (code === EINTR) continue;
    return code === EWOULDBLOCK ? "busy" : { errno: code };
  }
}

/** Makes descriptor `to` a copy of `from` (dup2(2)); false when the kernel refuses. */
export function duplicateOnto(from: number, to: number): boolean {
  return libc().dup2(from, to) >= 0;
}

/** True when the descriptor is a terminal (isatty(3)); `node:tty` would cost every command 2 ms. */
export function isTerminal(fd: number): boolean {
  return libc().isatty(fd) === 1;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** Who connected: pid as seen from here (0 when it is not visible from here) and user id. */
export interface Peer {
  readonly pid: number;
  readonly user: number;
}

/**
 * The process at the other end of a Unix socket when it connected (unix(7), `SO_PEERCRED`), or
 * undefined where the platform has no such option.
 */
export function peerOf(fd: number): Peer | undefined {
  if (process.platform !== "linux") return undefined;
  const credentials = new Int32Array(3); // struct ucred: pid, uid, gid
  const length = new Uint32Array([credentials.byteLength]);
  const failed =
    libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length)) !== 0;
  const [pid, user] = credentials;
  return failed || pid === undefined || user === undefined ? undefined : { pid, user };
}

/** An argument of a system call: a number, or an object whose memory the kernel reads or fills. */
type SystemArgument = number | bigint | Uint8Array | Uint32Array | BigUint64Array;

const ENOSYS = 38;

/** Calls that the sandbox and `pod doctor` make (Linux; newer ones have the same number everywhere). */
const SYSTEM_CALLS = {
  ...(process.arch === "arm64"
    ? {
        fcntl: 25,
        getppid: 173,
        prctl: 167,
        capget: 90,
        capset: 91,
        execve: 221,
        rt_sigaction: 134,
        rt_sigprocmask: 135,
      }
    : {
        fcntl: 72,
        getppid: 110,
        prctl: 157,
        capget: 125,
        capset: 126,
        execve: 59,
        rt_sigaction: 13,
        rt_sigprocmask: 14,
      }),
  dup3: process.arch === "arm64" ? 24 : 292,
  seccomp: process.arch === "arm64" ? 277 : 317,
  pidfd_open: 434,
  close_range: 436,
  openat2: 437,
  landlock_create_ruleset: 444,
  landlock_add_rule: 445,
  landlock_restrict_self: 446,
} as const;

function openSystemCall() {
  const library = dlopen("libc.so.6", {
    syscall: { args: ["i64", "i64", "i64", "i64", "i64", "i64"], returns: "i64" },
    __errno_location: { args: [], returns: "ptr" },
    posix_spawn: { args: ["ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  });
  return library.symbols as unknown as {
    syscall(number: number, ...args: (number | bigint)[]): bigint;
    __errno_location(): Pointer;
    posix_spawn(
      pid: Pointer,
      path: Pointer,
      actions: null,
      attributes: Pointer,
      argv: Pointer,
      env: Pointer,
    ): number;
  };
}

let systemCalls: ReturnType<typeof openSystemCall> | undefined;

/**
 * Makes a system call on the calling thread (syscall(2)); the result, or minus the errno (ENOSYS where
 * this is not Linux). The sandbox needs calls that the C library does not wrap; its trampoline opens
 * nothing else.
 */
export function systemCall(name: keyof typeof SYSTEM_CALLS, ...args: SystemArgument[]): number {
  if (process.platform !== "linux") return -ENOSYS;
  const symbols = (systemCalls ??= openSystemCall());
  const at = (index: number): number | bigint => {
    const argument = args[index] ?? 0;
    if (typeof argument === "number" || typeof argument === "bigint") return argument;
    return ptr(argument);
  };
  const result = Number(symbols.syscall(SYSTEM_CALLS[name], at(0), at(1), at(2), at(3), at(4)));
  if (result !== -1) return result;
  return -read.i32(symbols.__errno_location(), 0);
}

const POSIX_SPAWN_SETSID = 0x80;
/** More than a posix_spawnattr_t of any architecture; the flags are its first member, the rest is zero. */
const SPAWN_ATTRIBUTES_BYTES = 512;

/**
 * Starts a program in a session of its own, with the calling thread's restrictions and all descriptors
 * that are not close-on-exec (posix_spawn(3), Linux only). `argv` and `env` are tables of addresses that
 * end with zero. The errno when it could not be started, else 0.
 */
export function spawnSession(path: Uint8Array, argv: BigUint64Array, env: BigUint64Array): number {
  const symbols = (systemCalls ??= openSystemCall());
  const attributes = new Uint8Array(SPAWN_ATTRIBUTES_BYTES);
  attributes[0] = POSIX_SPAWN_SETSID;
  const pid = new Int32Array(1);
  return symbols.posix_spawn(ptr(pid), ptr(path), null, ptr(attributes), ptr(argv), ptr(env));
}

/** Address of an object's memory, for structures that hold pointers. Keep the object alive meanwhile. */
export function addressOf(memory: Uint8Array | BigUint64Array): bigint {
  return BigInt(ptr(memory));
}

const O_CLOEXEC = 0o2000000;

/**
 * A pipe whose ends no child inherits by accident (pipe(2)). Bun makes sockets for `"pipe"`, and those
 * cannot be opened as `/dev/stdout`, which scripts do. Throws when there is no descriptor left.
 */
export function makePipe(): { readonly read: number; readonly write: number } {
  const ends = new Int32Array(2);
  const failed =
    process.platform === "linux"
      ? libc().pipe2?.(ptr(ends), O_CLOEXEC) !== 0
      : libc().pipe(ptr(ends)) !== 0; // Bun's spawn hands on only what is named (macOS)
  const [read, write] = ends;
  if (failed || read === undefined || write === undefined) {
    throw new Error(`cannot make a pipe (errno ${errno()})`);
  }
  return { read, write };
}

const LANDLOCK_CREATE_RULESET_VERSION = 1;

/** Version of the kernel's Landlock interface (landlock(7)), or undefined where it has none. */
export function landlockVersion(): number | undefined {
  const version = systemCall("landlock_create_ruleset", 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? version : undefined;
}

/** True when the kernel can open a process as a descriptor (pidfd_open(2), Linux 5.3). */
export function hasPidfd(): boolean {
  const fd = systemCall("pidfd_open", process.pid, 0);
  if (fd < 0) return false;
  closeSync(fd);
  return true;
}
