/**
 * Opening what was checked, and nothing else (W27). A path that was canonical when the scope was
 * asked may have a link in it a moment later; so descriptors are opened without following links and
 * then asked where they really are. Below a verified directory, names are used relative to its
 * descriptor (`/proc/self/fd/N/name`), so that moving or swapping a parent cannot redirect them.
 * Where there is no /proc, plain paths and inode numbers are compared instead, which is weaker.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { fileError, MovedError } from "./file-errors.ts";

const LINUX = process.platform === "linux";
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** True when descriptor `fd` is at the canonical `path` at this moment. */
function isAt(fd: number, path: string): boolean {
  if (LINUX) {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      // No /proc here: fall through.
    }
  }
  try {
    const opened = fstatSync(fd);
    const named = lstatSync(path);
    return (
      opened.dev === named.dev && opened.ino === named.ino && realpathSync.native(path) === path
    );
  } catch {
    return false;
  }
}

/** What kind of thing that is no regular file this is, as an error text names it. */
function kindOf(info: Stats): string {
  if (info.isFIFO()) return "FIFO";
  if (info.isSocket()) return "socket";
  if (info.isCharacterDevice() || info.isBlockDevice()) return "device";
  return "special file";
}

/** Throws the refusal for a directory or a special file; `path` is the path as given. */
export function assertRegular(info: Stats, path: string): void {
  if (info.isDirectory()) throw fileError.directory(path);
  if (!info.isFile()) throw fileError.special(path, kindOf(info));
}

/**
 * Opens a regular file for reading and proves that it is the one at the canonical path. Never waits
 * for the other end of a FIFO. Throws `MovedError` when the proof fails, else the system's error.
 */
export function openVerifiedFile(canonical: string, path: string): number {
  let fd: number;
  try {
    fd = openSync(canonical, FILE_FLAGS); // close-on-exec is set by the runtime
  } catch (error) {
    throw errnoCode(error) === "ELOOP" ? new MovedError(path) : error;
  }
  try {
    assertRegular(fstatSync(fd), path);
    if (!isAt(fd, canonical)) throw new MovedError(path);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** An open directory that was at `path` when it was opened. Close it with `using`. */
export class VerifiedDirectory implements Disposable {
  readonly fd: number;
  readonly path: string;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
  }

  /** Opens the canonical `path`; `MovedError` (naming `given`) when a link is in the way. */
  static open(path: string, given: string): VerifiedDirectory {
    return VerifiedDirectory.#open(path, path, given);
  }

  static #open(where: string, path: string, given: string): VerifiedDirectory {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
    let fd: number;
    try {
      fd = openSync(where, flags);
    } catch (error) {
      throw isLink(where) ? new MovedError(given) : error;
    }
    if (isAt(fd, path)) return new VerifiedDirectory(fd, path);
    closeSync(fd);
    throw new MovedError(given);
  }

  /** A path of the entry `name` that holds wherever the directory has moved to. */
  at(name: string): string {
    return LINUX ? `/proc/self/fd/${this.fd}/${name}` : join(this.path, name);
  }

  /**
   * Opens the entry `name` for reading, never through a link and never waiting. On Linux it is the
   * entry of this very directory; elsewhere the proof is `openVerifiedFile`'s.
   */
  openEntry(name: string): number {
    if (LINUX) return openSync(this.at(name), FILE_FLAGS);
    const path = join(this.path, name);
    return openVerifiedFile(path, path);
  }

  /** A path of the directory itself, for listing it. */
  get self(): string {
    return LINUX ? `/proc/self/fd/${this.fd}` : this.path;
  }

  /** True while the directory is still where it was opened. */
  get inPlace(): boolean {
    return isAt(this.fd, this.path);
  }

  /** Makes the directory `name`; false when something of that name is there. */
  make(name: string): boolean {
    try {
      mkdirSync(this.at(name));
      return true;
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
      return false;
    }
  }

  /** Removes the directory `name` if it is empty. */
  removeEmpty(name: string): void {
    try {
      rmdirSync(this.at(name));
    } catch {
      // Someone uses it, or took it away.
    }
  }

  /** Opens the directory `name` under the same proof. */
  enter(name: string, given: string): VerifiedDirectory {
    return VerifiedDirectory.#open(this.at(name), join(this.path, name), given);
  }

  /** What the name in this directory is, links not followed; undefined when there is nothing. */
  inspect(name: string): Stats | undefined {
    try {
      return lstatSync(this.at(name));
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}
