/**
 * The socket file of a Pod: private from its first moment, in place by rename, removed only by the
 * listener that made it. Bun's own `stop` removes by name, so it only ever knows a temporary one.
 */
import { chmodSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode, ioError } from "../base/errors.ts";
import { removeFile } from "../base/files.ts";
import { assertSocketPath } from "../base/paths.ts";

/** A listener that can be stopped without touching its connections. */
interface Stoppable {
  stop(closeActiveConnections?: boolean): void;
}

/** A listener together with the file that leads to it. */
interface BoundSocket {
  /** Removes the file if it is still ours, then stops accepting. Open connections stay. */
  stop(): void;
}

/** Shorter than `sock`, so it fits wherever the final path does. */
const TEMPORARY_NAME = ".s";
const SOCKET_MODE = 0o600;
const ATTEMPTS = 3;

/**
 * Calls `listen` with a temporary path in the directory of `path` and moves the new socket (mode
 * 0600) onto `path`, replacing whatever file is there. Throws `path_too_long` or `io`; nothing is
 * left behind then.
 */
export function bindPrivately(path: string, listen: (path: string) => Stoppable): BoundSocket {
  assertSocketPath(path);
  const temporary = join(dirname(path), TEMPORARY_NAME);
  for (let attempt = 1; ; attempt += 1) {
    let listener: Stoppable | undefined;
    try {
      removeFile(temporary); // of a process that died between bind and rename
      listener = listenWithUmask(temporary, listen);
      chmodSync(temporary, SOCKET_MODE); // a default ACL of the directory overrides the umask
      const file = statSync(temporary, { bigint: true });
      renameSync(temporary, path);
      return { stop: () => stop(path, file, listener) };
    } catch (error) {
      listener?.stop();
      // An older listener's stop in another process may have removed the name under our hands.
      if (errnoCode(error) === "ENOENT" && listener !== undefined && attempt < ATTEMPTS) continue;
      if (listener !== undefined) removeFile(temporary);
      throw ioError(`cannot listen on ${path}`, error);
    }
  }
}

function listenWithUmask(path: string, listen: (path: string) => Stoppable): Stoppable {
  // bind(2) happens inside the call, so nothing else in this process sees this umask.
  const umask = process.umask(0o777 & ~SOCKET_MODE);
  try {
    return listen(path);
  } finally {
    process.umask(umask);
  }
}

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

function stop(path: string, ours: FileIdentity, listener: Stoppable | undefined): void {
  try {
    // Compared while the listener still holds the inode: its number cannot have been given away.
    const there = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (there?.dev === ours.dev && there.ino === ours.ino) removeFile(path);
  } finally {
    listener?.stop();
  }
}
