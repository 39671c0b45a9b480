/**
 * A note in the runtime directory that, since the machine was started, commands of some Pod could use local
 * sockets. Without it no confined command of a Pod of this directory can have connected to one, and so a Pod
 * may listen to a client that is gone before it can be asked who it was. It is written before the first such command and never
 * taken back: nobody can say when the last of what such a command sent has arrived.
 */
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { writeAll } from "../base/files.ts";
import { bootId } from "../base/process.ts";

/** Name of the note in the runtime base directory; its text is the boot id (proc(5)). */
export const OPEN_SOCKETS_NOTE = "pods.sockets-open";

/** Writes the note, unless it is there. Throws what the file system throws. */
export function noteOpenSockets(base: string): void {
  if (hasOpenSockets(base)) return;
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  // In place: all write the same, and a file that is empty yet, or for ever, counts as the note.
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;
  const fd = openSync(join(base, OPEN_SOCKETS_NOTE), flags, 0o600);
  try {
    writeAll(fd, `${bootId() ?? ""}\n`);
  } finally {
    closeSync(fd);
  }
}

/** True when the note is of this boot, or cannot be judged. */
export function hasOpenSockets(base: string): boolean {
  try {
    const noted = readFileSync(join(base, OPEN_SOCKETS_NOTE), "utf8").trim();
    const boot = bootId();
    return boot === null || noted === "" || noted === boot;
  } catch (error) {
    return errnoCode(error) !== "ENOENT";
  }
}
