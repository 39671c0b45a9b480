/**
 * Landlock as this program uses it (landlock(7)): the rights, and which of them a kernel knows. A
 * right that a kernel does not know is not enforced there; `missingProtections` says so in words.
 * Nothing here restricts anybody: that is the trampoline's work.
 */
import { lazily } from "../base/lazy.ts";
import { landlockVersion } from "../base/libc.ts";

/** Rights on files and directories, as bits (landlock(7)). */
export const RIGHTS = {
  execute: 1 << 0,
  writeFile: 1 << 1,
  readFile: 1 << 2,
  readDir: 1 << 3,
  removeDir: 1 << 4,
  removeFile: 1 << 5,
  makeChar: 1 << 6,
  makeDir: 1 << 7,
  makeReg: 1 << 8,
  makeSock: 1 << 9,
  makeFifo: 1 << 10,
  makeBlock: 1 << 11,
  makeSym: 1 << 12,
  refer: 1 << 13,
  truncate: 1 << 14,
  ioctlDev: 1 << 15,
  resolveUnix: 1 << 16,
} as const;

/** Rights that make sense for a file; a rule for a file with any other is refused by the kernel. */
export const FILE_RIGHTS =
  RIGHTS.execute |
  RIGHTS.writeFile |
  RIGHTS.readFile |
  RIGHTS.truncate |
  RIGHTS.ioctlDev |
  RIGHTS.resolveUnix;

/** Reading and running. Connecting to sockets counts here: it is taken away where it must not be. */
export const READ_RIGHTS = RIGHTS.execute | RIGHTS.readFile | RIGHTS.readDir | RIGHTS.resolveUnix;

/** Changing what is in files that are there. */
export const CHANGE_RIGHTS = RIGHTS.writeFile | RIGHTS.truncate | RIGHTS.ioctlDev;

/** Making and removing files, but no directories: a directory that is writable itself, not below. */
export const ENTRY_RIGHTS =
  RIGHTS.removeFile | RIGHTS.makeReg | RIGHTS.makeSym | RIGHTS.makeFifo | RIGHTS.makeSock;

/**
 * Everything below a writable directory. Device nodes are never made: with one, root would write the
 * disk itself.
 */
export const WRITE_RIGHTS =
  CHANGE_RIGHTS | ENTRY_RIGHTS | RIGHTS.makeDir | RIGHTS.removeDir | RIGHTS.refer;

/** Network rights (ABI 4) and scopes (ABI 6), all of them. */
const NET_TCP = 0b11;
const SCOPES = 0b11;
/** The scope that keeps signals within a domain and those nested in it. */
export const SIGNAL_SCOPE = 0b10;

/** What a kernel can enforce. */
export interface KernelSupport {
  /** Landlock ABI version; 0 when the kernel has none, or not switched on. */
  readonly abi: number;
  /** Bits to handle in a ruleset. */
  readonly fs: number;
  readonly net: number;
  /** Scoped: abstract sockets and signals do not leave the domain. */
  readonly scoped: number;
}

/** What a kernel of Landlock version `abi` enforces; newer ones count as the newest known here. */
export function supportOf(abi: number): KernelSupport {
  if (abi < 1) return { abi: 0, fs: 0, net: 0, scoped: 0 };
  let fs = RIGHTS.refer - 1; // all before `refer`
  if (abi >= 2) fs |= RIGHTS.refer;
  if (abi >= 3) fs |= RIGHTS.truncate;
  if (abi >= 5) fs |= RIGHTS.ioctlDev;
  if (abi >= 9) fs |= RIGHTS.resolveUnix;
  return { abi, fs, net: abi >= 4 ? NET_TCP : 0, scoped: abi >= 6 ? SCOPES : 0 };
}

/** What the running kernel enforces; asked once. */
export const kernelSupport: () => KernelSupport = lazily(() => {
  if (process.platform !== "linux" || !(process.arch === "x64" || process.arch === "arm64")) {
    return supportOf(0);
  }
  return supportOf(landlockVersion() ?? 0);
});

/** What a kernel with Landlock does not enforce although the sandbox asks for it, one phrase each. */
export function missingProtections({ abi }: KernelSupport): string[] {
  const from = (version: number, kernel: string, what: string): string[] =>
    abi >= version ? [] : [`${what} (needs Linux ${kernel})`];
  return [
    ...from(3, "6.2", "truncating files outside the scope with truncate(2)"),
    ...from(5, "6.10", "device controls (ioctl) on open devices"),
    ...from(6, "6.12", "signals to other processes and connections to abstract sockets"),
  ];
}
