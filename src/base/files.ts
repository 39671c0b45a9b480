/**
 * Files that other processes rely on: replaced whole or not at all, private to the user.
 * Nothing here knows what the files mean.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fdatasync,
  fstatSync,
  fsync,
  fsyncSync,
  lstatSync,
  openSync,
  read,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  write,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { errnoCode, PodError } from "./errors.ts";

const PRIVATE_MODE = 0o600;

/** Writes all of `data` to an open descriptor; a short write is continued, never ignored. */
export function writeAll(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  let offset = 0;
  while (offset < bytes.length) {
    offset += writeSync(fd, bytes, offset, bytes.length - offset);
  }
}

// Not `promisify`: loading `node:util` costs every Pod 2 ms and 2.5 MiB.

/** Reads into a part of `buffer` off the event loop; the number of bytes read, 0 at the end. */
export function readAsync(
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, offset, length, null, (error, count) =>
      error === null ? resolve(count) : reject(error),
    );
  });
}

/** Writes a part of `bytes` off the event loop; the number of bytes written. */
export function writeAsync(
  fd: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, offset, length, null, (error, count) =>
      error === null ? resolve(count) : reject(error),
    );
  });
}

/** Flushes a file or directory to disk off the event loop. */
export function fsyncAsync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** Flushes a directory's entries to disk, so that a rename in it survives a power cut (fsync(2)). */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** How `replaceFile` writes; `durable` adds fsync of file and directory. */
interface ReplaceOptions {
  readonly durable?: boolean;
  readonly mode?: number;
  /** Name of the temporary sibling; the caller must be the only writer of it. */
  readonly temporary?: string;
}

/**
 * Replaces `path` by `data` in one step (write a sibling, rename over): a reader sees the old or the
 * new content, never a part. On any error the old content is still there and the sibling is gone.
 * With `durable` the new content is flushed before it is in place; that a power cut cannot bring the
 * old one back is only promised where the file system can flush a directory.
 */
export function replaceFile(
  path: string,
  data: string | Uint8Array,
  options: ReplaceOptions = {},
): void {
  const temporary = options.temporary ?? `${path}.tmp`;
  // O_NOFOLLOW: a planted link must not redirect the write.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  try {
    const mode = options.mode ?? PRIVATE_MODE;
    const fd = openSync(temporary, flags, mode);
    try {
      fchmodSync(fd, mode); // one that was left there keeps its own mode otherwise
      writeAll(fd, data);
      if (options.durable === true) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    removeFile(temporary);
    throw error;
  }
  if (options.durable !== true) return;
  try {
    syncDirectory(dirname(path));
  } catch {
    // The new content stands, whole and for all to see: an error would make the caller undo or retry
    // what has happened.
  }
}

/** Opens a private append-only file (0600), for reading too; made empty when `truncate` is set. */
export function openPrivateLog(path: string, truncate: boolean): number {
  const flags =
    constants.O_RDWR |
    constants.O_APPEND |
    constants.O_CREAT |
    constants.O_NOFOLLOW |
    (truncate ? constants.O_TRUNC : 0);
  return openSync(path, flags, PRIVATE_MODE);
}

/** Text of a file, or undefined when there is none; a pipe is empty. Other failures are thrown. */
export function readIfExists(path: string): string | undefined {
  return readBytes(path)?.toString("utf8");
}

/** As `readIfExists`, as bytes. */
function readBytes(path: string): Buffer | undefined {
  try {
    // O_NONBLOCK: a pipe that somebody put there is not waited for.
    return readFileSync(path, { flag: constants.O_RDONLY | constants.O_NONBLOCK });
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Opens a regular file, in a place where anybody may have put something else: nothing of another kind
 * is waited for or used. Throws the failures of the system, and `not a regular file` (`io`).
 */
export function openRegular(path: string, flags: number, mode = PRIVATE_MODE): number {
  let fd: number;
  try {
    fd = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOCTTY, mode);
  } catch (error) {
    // A directory, a socket or a pipe that nobody reads.
    if (["EISDIR", "ENXIO"].includes(errnoCode(error) ?? "")) throw notRegular();
    throw error;
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw notRegular();
}

function notRegular(): PodError {
  return new PodError("io", "not a regular file");
}

/**
 * The bytes of a regular file of at most `limit` bytes, for files that anybody may have put there: a
 * pipe or device is neither waited for nor read, and what grows meanwhile is not read without end.
 * With `within`, a path without links, the opened file must lie there, whatever links led to it.
 * Throws the failures of the system, and errors that say `not a regular file`, where it really is, or what
 * the limit is.
 */
export function readRegularFile(path: string, limit: number, within?: string): Uint8Array {
  const fd = openRegular(path, constants.O_RDONLY);
  try {
    const info = fstatSync(fd);
    const real = within === undefined ? undefined : placeOf(fd, path);
    if (real !== undefined && real !== within && !real.startsWith(`${within}/`)) {
      throw new Error(`it is a link that leads to ${real}, and must lie at or below ${within}`);
    }
    if (info.size > limit) throw new Error(`${info.size} bytes, limit is ${limit}`);
    // One byte more than it has, to see its end; files of /proc say that they have none.
    let buffer = Buffer.allocUnsafe(info.size + 1);
    let length = 0;
    for (;;) {
      const count = readSync(fd, buffer, length, buffer.length - length, null);
      if (count === 0) return buffer.subarray(0, length);
      length += count;
      if (length > limit) throw new Error(`more than ${limit} bytes`);
      if (length < buffer.length) continue;
      const larger = Buffer.allocUnsafe(Math.min(buffer.length * 2 + 4096, limit + 1));
      buffer.copy(larger);
      buffer = larger;
    }
  } finally {
    closeSync(fd);
  }
}

/** Where an open file is; without /proc, where its path leads now. */
function placeOf(fd: number, path: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return realpathSync.native(path);
  }
}

/** The last `bytes` bytes of an open file as text, trimmed; characters cut in half are replaced. */
export function readTailOf(fd: number, bytes: number): string {
  const { size } = fstatSync(fd);
  const buffer = Buffer.alloc(Math.min(size, bytes));
  const length = readSync(fd, buffer, 0, buffer.length, size - buffer.length);
  return buffer.subarray(0, length).toString("utf8").trim();
}

/** As `readTailOf` for a path; empty when the file cannot be read. */
export function readTail(path: string, bytes: number): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return "";
  }
  try {
    return readTailOf(fd, bytes);
  } catch {
    return "";
  } finally {
    closeSync(fd);
  }
}

/** True for a directory itself, not for a link to one. Throws where nobody can tell, as below a file. */
export function isDirectory(path: string | Buffer): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** True when something has that name, a link that leads nowhere too; false where nobody can tell. */
export function isSeen(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false; // below a file, for example
  }
}

/** Removes a file; one that is not there is fine. Other failures are thrown. */
export function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
}

/** Flushes a file's content, of which its size is part, to disk off the event loop (fdatasync(2)). */
export function syncDataAsync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** True when the open file is the one that the path names now: nobody replaced it meanwhile. */
export function isStillAt(fd: number, path: string): boolean {
  try {
    const open = fstatSync(fd);
    const named = statSync(path);
    return open.ino === named.ino && open.dev === named.dev;
  } catch {
    return false;
  }
}
