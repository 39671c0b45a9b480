/**
 * Where the commands of one Pod have room: `$TMPDIR` and long outputs, on the disk of the data directory.
 * Not in the runtime directory, which is often a small file system in memory: a command that filled it
 * would keep every Pod of this user from being registered. A lock in it is held while its Pod lives;
 * one whose Pod was killed is removed by the next that needs room.
 */
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
} from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { isDirectory, removeFile } from "../../base/files.ts";
import { tryFlock } from "../../base/libc.ts";
import { emptyDirectory } from "./empty-directory.ts";

/** A directory of one Pod. */
export interface Room {
  readonly temporary: string;
  readonly shellOutput: string;
  /** Removes it with all that is in it. Rejects with what could not be removed; then the lock is given up. */
  close(): Promise<void>;
}

const LOCK = "lock";
const OPEN = constants.O_RDWR | constants.O_NOFOLLOW;
/** Somebody who clears up may take a directory for an abandoned one before it is locked. */
const ATTEMPTS = 8;
/** Names of rooms, as `crypto.randomUUID` makes them. */
const ROOM = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** A room without a lock is being made, for an instant; or its removal was cut off. */
const LOCKLESS_MS = 60_000;

/**
 * Makes a room below `base` (made if missing, 0700), and begins to remove those of Pods that were killed.
 * Throws what the file system throws.
 */
export function makeRoom(base: string): Room {
  mkdirSync(base, { mode: 0o700, recursive: true });
  const leaving = new AbortController();
  void removeAbandonedRooms(base, leaving.signal).catch(() => undefined); // the next one tries again
  for (let attempt = 1; ; attempt += 1) {
    const directory = join(base, crypto.randomUUID());
    try {
      mkdirSync(directory, { mode: 0o700 });
      const fd = openSync(join(directory, LOCK), OPEN | constants.O_CREAT, 0o600);
      if (tryFlock(fd) === "taken") return furnish(directory, fd, leaving);
      closeSync(fd);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      continue;
    }
    if (attempt === ATTEMPTS) throw new Error(`${directory} is locked by another process`);
  }
}

function furnish(directory: string, fd: number, leaving: AbortController): Room {
  const [temporary, shellOutput] = [join(directory, "tmp"), join(directory, "bash-output")];
  try {
    for (const path of [temporary, shellOutput]) mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return {
    temporary,
    shellOutput,
    close: async () => {
      leaving.abort(); // no Pod stays for the rooms of others
      try {
        await remove(directory);
      } finally {
        closeSync(fd);
      }
    },
  };
}

/** What is in the directory for rooms: of live Pods, of Pods that were killed, and nothing of ours. */
export interface Rooms {
  readonly owned: readonly string[];
  readonly abandoned: readonly string[];
  readonly strange: readonly string[];
}

/** Looks at the rooms below `base`; changes nothing. Throws what the file system throws. */
export function roomsBelow(base: string): Rooms {
  const rooms = { owned: [] as string[], abandoned: [] as string[], strange: [] as string[] };
  for (const name of readdirSync(base)) {
    if (!isRoom(base, name)) {
      rooms.strange.push(name);
      continue;
    }
    const fd = openLock(join(base, name));
    if (fd === "missing") {
      // One that is just being made is in use.
      rooms[isOld(join(base, name)) ? "abandoned" : "owned"].push(name);
      continue;
    }
    rooms[tryFlock(fd) === "taken" ? "abandoned" : "owned"].push(name);
    closeSync(fd);
  }
  return rooms;
}

/** What became of abandoned rooms; `failed` says of each why it is still there. */
interface Removal {
  readonly removed: readonly string[];
  readonly failed: readonly string[];
}

/** Removes the rooms of Pods that were killed, until `signal` aborts. Rejects with what reading `base` throws. */
export async function removeAbandonedRooms(base: string, signal?: AbortSignal): Promise<Removal> {
  const removed: string[] = [];
  const failed: string[] = [];
  for (const name of readdirSync(base)) {
    if (signal?.aborted === true) break;
    const fd = claim(base, name);
    if (fd === undefined) continue;
    try {
      // Locked until all of it is gone: for others it is owned meanwhile.
      await remove(join(base, name), signal);
      removed.push(name);
    } catch (error) {
      failed.push(`${join(base, name)}: ${messageOf(error)}`);
    } finally {
      closeSync(fd);
    }
  }
  return { removed, failed };
}

/** The locked lock of a room that nobody owns; undefined for any other. */
function claim(base: string, name: string): number | undefined {
  if (!isRoom(base, name)) return undefined;
  const directory = join(base, name);
  let fd = openLock(directory);
  if (fd === "missing" && isOld(directory)) fd = openLock(directory, constants.O_CREAT);
  if (fd === "missing") return undefined;
  if (tryFlock(fd) === "taken") return fd;
  closeSync(fd);
  return undefined;
}

/** The lock goes last: a removal that is cut off is taken up again by its lock. */
async function remove(directory: string, signal?: AbortSignal): Promise<void> {
  await emptyDirectory(directory, LOCK, signal);
  removeFile(join(directory, LOCK));
  rmdirSync(directory);
}

function openLock(directory: string, flags = 0): number | "missing" {
  try {
    return openSync(join(directory, LOCK), OPEN | flags, 0o600);
  } catch {
    return "missing";
  }
}

/** True for a directory with the name of a room; nothing else here is ours to touch. */
function isRoom(base: string, name: string): boolean {
  return ROOM.test(name) && isDirectory(join(base, name));
}

function isOld(path: string): boolean {
  const changed = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs;
  return changed !== undefined && Date.now() - changed > LOCKLESS_MS;
}
