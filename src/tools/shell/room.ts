/**
 * Where the commands of one Pod have room: `$TMPDIR` and long outputs, on the disk of the data directory.
 * Not in the runtime directory, which is often a small file system in memory: a command that filled it
 * would keep every Pod of this user from being registered. A lock in it is held while its Pod lives;
 * one whose Pod was killed is removed by the next that needs room.
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { tryFlock } from "../../base/libc.ts";

/** A directory of one Pod. */
export interface Room {
  readonly temporary: string;
  readonly shellOutput: string;
  /** Removes it with all that is in it. */
  close(): void;
}

const LOCK = "lock";
const OPEN = constants.O_RDWR | constants.O_NOFOLLOW;
/** Somebody who clears up may take a directory for an abandoned one before it is locked. */
const ATTEMPTS = 8;

/** Makes a room below `base` (made if missing, 0700). Throws what the file system throws. */
export function makeRoom(base: string): Room {
  mkdirSync(base, { mode: 0o700, recursive: true });
  for (const name of readdirSync(base)) removeAbandoned(join(base, name));
  for (let attempt = 1; ; attempt += 1) {
    const directory = join(base, crypto.randomUUID());
    try {
      mkdirSync(directory, { mode: 0o700 });
      const fd = openSync(join(directory, LOCK), OPEN | constants.O_CREAT, 0o600);
      if (tryFlock(fd) === "taken") return furnish(directory, fd);
      closeSync(fd);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      continue;
    }
    if (attempt === ATTEMPTS) throw new Error(`${directory} is locked by another process`);
  }
}

function furnish(directory: string, fd: number): Room {
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
    close: () => {
      rmSync(directory, { recursive: true, force: true });
      closeSync(fd);
    },
  };
}

function removeAbandoned(directory: string): void {
  let fd: number;
  try {
    fd = openSync(join(directory, LOCK), OPEN);
  } catch {
    return; // gone, just being made, or not one of ours
  }
  try {
    if (tryFlock(fd) === "taken") rmSync(directory, { recursive: true, force: true });
  } catch {
    // Removed by somebody else at the same time; or the next one tries again.
  } finally {
    closeSync(fd);
  }
}
