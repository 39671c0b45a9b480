/**
 * The system calls that change something others can see, by architecture, and what each is about.
 * Pure tables and decisions: reading the other process is the caller's business.
 */

/** Where a call's subject stands among its arguments. */
type Shape =
  | { readonly kind: "path"; readonly at: number }
  | { readonly kind: "at"; readonly dir: number; readonly at: number }
  | { readonly kind: "fd"; readonly at: number }
  | { readonly kind: "address"; readonly at: number }
  | { readonly kind: "process" };

/** One call: its name, its subject, and which argument or structure holds the flags of an open. */
export interface CallSpec {
  readonly name: string;
  readonly shape: Shape;
  /** An open counts only when it may create: index of its flags, or of `struct open_how`. */
  readonly flags?: { readonly at: number; readonly indirect: boolean };
  /** A clone counts only when it makes a process: index of its flags, or of `struct clone_args`. */
  readonly thread?: { readonly at: number; readonly indirect: boolean };
}

const path = (at: number): Shape => ({ kind: "path", at });
const below = (dir: number): Shape => ({ kind: "at", dir, at: dir + 1 });
const fd: Shape = { kind: "fd", at: 0 };
const address: Shape = { kind: "address", at: 1 };
const birth: Shape = { kind: "process" };
const direct = (at: number) => ({ at, indirect: false });
const indirect = (at: number) => ({ at, indirect: true });

const SPECS: readonly CallSpec[] = [
  { name: "write", shape: fd },
  { name: "pwrite64", shape: fd },
  { name: "writev", shape: fd },
  { name: "pwritev", shape: fd },
  { name: "sendto", shape: fd },
  { name: "sendmsg", shape: fd },
  { name: "copy_file_range", shape: { kind: "fd", at: 2 } },
  { name: "fsync", shape: fd },
  { name: "fdatasync", shape: fd },
  { name: "ftruncate", shape: fd },
  { name: "fchmod", shape: fd },
  { name: "fchown", shape: fd },
  { name: "flock", shape: fd },
  { name: "open", shape: path(0), flags: direct(1) },
  { name: "creat", shape: path(0) },
  { name: "openat", shape: below(0), flags: direct(2) },
  { name: "openat2", shape: below(0), flags: indirect(2) },
  { name: "rename", shape: path(0) },
  { name: "renameat", shape: below(0) },
  { name: "renameat2", shape: below(0) },
  { name: "unlink", shape: path(0) },
  { name: "unlinkat", shape: below(0) },
  { name: "rmdir", shape: path(0) },
  { name: "link", shape: path(0) },
  { name: "linkat", shape: below(0) },
  { name: "symlink", shape: path(1) },
  { name: "symlinkat", shape: below(1) },
  { name: "mkdir", shape: path(0) },
  { name: "mkdirat", shape: below(0) },
  { name: "chmod", shape: path(0) },
  { name: "fchmodat", shape: below(0) },
  { name: "fchmodat2", shape: below(0) },
  { name: "bind", shape: address },
  { name: "connect", shape: address },
  { name: "fork", shape: birth },
  { name: "vfork", shape: birth },
  { name: "clone", shape: birth, thread: direct(0) },
  { name: "clone3", shape: birth, thread: indirect(0) },
  { name: "execve", shape: birth },
];

// Numbers from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h).
const NUMBERS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  x64: {
    write: 1,
    open: 2,
    pwrite64: 18,
    writev: 20,
    connect: 42,
    sendto: 44,
    sendmsg: 46,
    bind: 49,
    clone: 56,
    fork: 57,
    vfork: 58,
    execve: 59,
    flock: 73,
    fsync: 74,
    fdatasync: 75,
    ftruncate: 77,
    rename: 82,
    mkdir: 83,
    rmdir: 84,
    creat: 85,
    link: 86,
    unlink: 87,
    symlink: 88,
    chmod: 90,
    fchmod: 91,
    fchown: 93,
    openat: 257,
    mkdirat: 258,
    unlinkat: 263,
    renameat: 264,
    linkat: 265,
    symlinkat: 266,
    fchmodat: 268,
    pwritev: 296,
    renameat2: 316,
    copy_file_range: 326,
    clone3: 435,
    openat2: 437,
    fchmodat2: 452,
  },
  arm64: {
    flock: 32,
    mkdirat: 34,
    unlinkat: 35,
    symlinkat: 36,
    linkat: 37,
    renameat: 38,
    ftruncate: 46,
    fchmod: 52,
    fchmodat: 53,
    fchown: 55,
    openat: 56,
    write: 64,
    writev: 66,
    pwrite64: 68,
    pwritev: 70,
    fsync: 82,
    fdatasync: 83,
    bind: 200,
    connect: 203,
    sendto: 206,
    sendmsg: 211,
    clone: 220,
    execve: 221,
    renameat2: 276,
    copy_file_range: 285,
    clone3: 435,
    openat2: 437,
    fchmodat2: 452,
  },
};

/** The calls of this architecture by number; undefined where the numbers are not known. */
export function callTable(arch: string): ReadonlyMap<number, CallSpec> | undefined {
  const numbers = NUMBERS[arch];
  if (numbers === undefined) return undefined;
  const table = new Map<number, CallSpec>();
  for (const spec of SPECS) {
    const number = numbers[spec.name];
    if (number !== undefined) table.set(number, spec);
  }
  return table;
}

const O_CREAT = 0o100;
const CLONE_THREAD = 0x10000;

/** True for the flags of an open that may make a file. */
export const mayCreate = (flags: number): boolean => (flags & O_CREAT) !== 0;

/** True for the flags of a clone that makes a thread, not a process. */
export const makesThread = (flags: number): boolean => (flags & CLONE_THREAD) !== 0;

/** Error numbers (errno(3)), the same on both architectures. */
export const ERRNO = {
  EIO: 5,
  EAGAIN: 11,
  EACCES: 13,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  ENOLCK: 37,
  EDQUOT: 122,
} as const;
export type Errno = keyof typeof ERRNO;

/** The errors that a call can meet on a sick disk or a full machine (section 2 of the manual). */
export function errorsOf(name: string): readonly Errno[] {
  if (/^(write|pwrite|copy_file_range|fsync|fdatasync|ftruncate)/.test(name)) {
    return ["ENOSPC", "EDQUOT", "EIO"];
  }
  if (/^(open|creat)/.test(name)) return ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EMFILE"];
  if (/^(rename|link|symlink|mkdir)/.test(name)) {
    return ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO"];
  }
  if (/^(unlink|rmdir|chmod|fchmod|fchown)/.test(name)) return ["EROFS", "EACCES", "EIO"];
  if (name === "flock") return ["ENOLCK", "EIO"];
  if (name === "bind") return ["ENOSPC", "EROFS", "EACCES"];
  if (name === "connect") return ["EACCES", "EAGAIN"];
  return /^(fork|vfork|clone)/.test(name) ? ["EAGAIN"] : [];
}
