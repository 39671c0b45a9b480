/**
 * A note that, since the machine was started, commands of some Pod of this user could use local sockets.
 * Without it no confined command can have connected to one, and so a Pod may listen to a client that is gone
 * before it can be asked who it was. It is written before the first such command, in the runtime directory
 * and in the data directory, which Pods of other runtime directories see as well; and never taken back:
 * nobody can say when the last of what such a command sent has arrived.
 */
import { closeSync, constants, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { writeAll } from "../base/files.ts";
import { bootId } from "../base/process.ts";

/** Name of the note; its text is the boot id (proc(5)). */
export const OPEN_SOCKETS_NOTE = "pods.sockets-open";

/** Writes the note into each of the directories, unless it is there. Throws what the file system throws. */
export function noteOpenSockets(directories: readonly string[]): void {
  for (const directory of directories) if (!isNoted(directory)) note(directory);
}

/** True when the note in one of the directories is of this boot, or cannot be judged. */
export function hasOpenSockets(directories: readonly string[]): boolean {
  return directories.some(isNoted);
}

function note(directory: string): void {
  mkdirSync(directory, { mode: 0o700, recursive: true });
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  // In place: all write the same, and a file that is empty yet, or for ever, counts as the note.
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
  const fd = openSync(join(directory, OPEN_SOCKETS_NOTE), flags, 0o600);
  try {
    writeAll(fd, `${bootId() ?? ""}\n`);
  } finally {
    closeSync(fd);
  }
}

function isNoted(directory: string): boolean {
  try {
    const noted = readFileSync(join(directory, OPEN_SOCKETS_NOTE), "utf8").trim();
    const boot = bootId();
    return boot === null || noted === "" || noted === boot;
  } catch (error) {
    return errnoCode(error) !== "ENOENT";
  }
}
