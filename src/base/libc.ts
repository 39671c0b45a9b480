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
    [DARWIN ? "__error" : "__errno_location"]: { args: [], returns: "ptr" },
  });
  return library.symbols as unknown as {
    flock(fd: number, operation: number): number;
    dup2(from: number, to: number): number;
    isatty(fd: number): number;
    getsockopt(fd: number, level: number, name: number, value: Pointer, length: Pointer): number;
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
export type FlockOutcome = "taken" | "busy" | { readonly errno: number };

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

/**
 * User id of the process at the other end of a Unix socket (unix(7), `SO_PEERCRED`), or undefined
 * where the platform has no such option.
 */
export function peerUserId(fd: number): number | undefined {
  if (process.platform !== "linux") return undefined;
  const credentials = new Int32Array(3); // struct ucred: pid, uid, gid
  const length = new Uint32Array([credentials.byteLength]);
  const failed =
    libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length)) !== 0;
  return failed ? undefined : credentials[1];
}

// System calls that the C library does not wrap. Numbers from 424 on are the same on every platform
// of Linux (syscalls(2)).
const SYS_PIDFD_OPEN = 434;
const SYS_LANDLOCK_CREATE_RULESET = 444;
const LANDLOCK_CREATE_RULESET_VERSION = 1;

/** One call of syscall(2); -1 where there is none. In a library handle of its own: only `pod doctor` asks. */
function systemCall(number: number, first: number, second: number, third: number): number {
  if (process.platform !== "linux") return -1;
  const library = dlopen("libc.so.6", {
    syscall: { args: ["i64", "i64", "i64", "i64"], returns: "i64" },
  });
  try {
    return Number(library.symbols.syscall(number, first, second, third));
  } finally {
    library.close();
  }
}

/** Version of the kernel's Landlock interface (landlock(7)), or undefined where it has none. */
export function landlockVersion(): number | undefined {
  const version = systemCall(SYS_LANDLOCK_CREATE_RULESET, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? version : undefined;
}

/** True when the kernel can open a process as a descriptor (pidfd_open(2), Linux 5.3). */
export function hasPidfd(): boolean {
  const fd = systemCall(SYS_PIDFD_OPEN, process.pid, 0, 0);
  if (fd < 0) return false;
  closeSync(fd);
  return true;
}
