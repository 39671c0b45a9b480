/**
 * Replaces one file of a verified directory in one step: write a temporary sibling, flush, rename.
 * All names are relative to the open directory, so a parent that is moved or swapped meanwhile
 * cannot redirect the write. The old content stays until the new one is complete.
 */
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { fsyncAsync, writeAsync } from "../base/files.ts";
import { fileError, MovedError } from "./file-errors.ts";
import { assertNotCancelled } from "./pace.ts";
import type { VerifiedDirectory } from "./verified-path.ts";

const PERMISSION_BITS = 0o7777;
const SET_ID_BITS = 0o6000;

/** The file to replace. */
interface Target {
  readonly parent: VerifiedDirectory;
  readonly name: string;
  /** The path as given, for errors. */
  readonly path: string;
  /** What the file was when it was read; undefined for a new one. */
  readonly before: Stats | undefined;
}

/**
 * Gives the target the content `bytes`, or throws and leaves what was there. Mode and owner of an
 * existing file are kept; hard links to it are not, because they may lie outside the scope.
 */
export async function replaceIn(
  target: Target,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { parent, name, path, before } = target;
  assertUnchanged(target);
  // A file that its owner made read-only stays as it is, although renaming over it would succeed.
  if (before !== undefined) accessSync(parent.at(name), constants.W_OK);
  const temporary = parent.at(`.pod-${crypto.randomUUID()}.tmp`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  // A new file gets what the umask leaves; content of an existing one is private until its mode is set.
  const fd = openSync(temporary, flags, before === undefined ? 0o666 : 0o600);
  try {
    try {
      for (let offset = 0; offset < bytes.length;) {
        const bytesWritten = await writeAsync(fd, bytes, offset, bytes.length - offset);
        offset += bytesWritten;
      }
      if (before !== undefined) copyOwnerAndMode(fd, before);
      await fsyncAsync(fd);
    } finally {
      closeSync(fd);
    }
    assertNotCancelled(signal);
    if (!parent.inPlace) throw new MovedError(path);
    assertUnchanged(target);
    renameSync(temporary, parent.at(name));
  } catch (error) {
    discard(temporary);
    throw error;
  }
  // The content is safe already; a file system that cannot sync directories loses only the rename.
  await fsyncAsync(parent.fd).catch(() => {});
}

function discard(temporary: string): void {
  try {
    unlinkSync(temporary);
  } catch {
    // The failure that led here is the one to report.
  }
}

function copyOwnerAndMode(fd: number, from: Stats): void {
  const own = fstatSync(fd);
  let mode = from.mode & PERMISSION_BITS;
  if (own.uid !== from.uid || own.gid !== from.gid) {
    try {
      fchownSync(fd, from.uid, from.gid);
    } catch {
      mode &= ~SET_ID_BITS; // the file becomes ours: its owner's privileges must not
    }
  }
  fchmodSync(fd, mode);
}

function assertUnchanged({ parent, name, path, before }: Target): void {
  const now = parent.inspect(name);
  if (before === undefined) {
    if (now === undefined) return;
    throw now.isSymbolicLink() ? fileError.brokenLink(path) : fileError.appeared(path);
  }
  const same =
    now !== undefined &&
    now.dev === before.dev &&
    now.ino === before.ino &&
    now.size === before.size &&
    now.mtimeMs === before.mtimeMs;
  if (!same) throw fileError.changed(path);
}
