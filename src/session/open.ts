/**
 * Takes a session over: lock first, then read (W13), then mend what a crash left. The cut-off end of
 * a log is kept beside it; a log that is damaged elsewhere is never changed, only copied up to its
 * last good entry when asked for (spec worker-and-tools 5.6).
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
} from "node:fs";
import { dirname } from "node:path";
import { ioError, PodError } from "../base/errors.ts";
import { isStillAt, openRegular, removeFile, syncDirectory, writeAll } from "../base/files.ts";
import { lockLog, SessionLog } from "./log.ts";
import { logPath } from "./log-names.ts";
import { Replay, type SessionState } from "./replay.ts";
import { type LogEnd, missingOr, scanLog } from "./scan.ts";
import { isSetup } from "./setup.ts";

/** Bytes of a cut-off end that are copied at once. */
const COPY_BYTES = 1024 * 1024;

/** A session that this process may go on writing. */
export interface OpenedSession {
  readonly log: SessionLog;
  readonly state: SessionState;
  /** What had to be mended, one sentence each. */
  readonly repairs: readonly string[];
}

/**
 * Opens a session for writing. Throws `unknown_session` (no log, or an empty one), `session_conflict`
 * (another process writes it), `session_corrupt` with file and line, or `io`; nothing is changed then.
 */
export function openSession(directory: string, id: string): OpenedSession {
  const path = logPath(directory, id);
  const fd = openLocked(path, id);
  try {
    const replay = new Replay();
    let setupAt: number | undefined;
    const end = scanLog(fd, ({ entry, start }) => {
      if (isSetup(entry)) setupAt = start;
      replay.add(entry);
    });
    const state = replay.state();
    if (end.kind === "corrupt") throw corrupt(path, id, end, state);
    if (state.entries === 0) {
      throw new PodError("unknown_session", `session ${id} has no entries to restore`);
    }
    const repairs = mend(fd, path, end);
    const log = new SessionLog(directory, id, fd, {
      head: end.head,
      end: end.goodBytes,
      setupAt,
      isNew: false,
    });
    return { log, state, repairs };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openLocked(path: string, id: string): number {
  let fd: number;
  try {
    fd = openRegular(path, constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW);
  } catch (error) {
    throw missingOr(error, path, id);
  }
  lockLog(fd, path);
  if (isStillAt(fd, path)) return fd;
  closeSync(fd);
  throw new PodError("session_conflict", `session log ${path} was replaced just now; try again`);
}

/** The refusal of a damaged log: where, why, and what can be done. `before` is what stands before the damage. */
export function corrupt(
  path: string,
  id: string,
  end: LogEnd & { kind: "corrupt" },
  before: SessionState,
): PodError {
  return new PodError(
    "session_corrupt",
    `session log ${path}:${end.line} ${end.reason}; nothing was changed. ${
      isWorthSaving(before)
        ? `To go on with a copy of what stands before that line: pod resume --salvage ${id}`
        : "Before that line there is nothing to go on with: it has to be mended"
    }`,
    { data: { path, line: end.line } },
  );
}

/** True when a Pod can be started from it, or has something to go on with when a person starts it. */
function isWorthSaving({ setup, items }: SessionState): boolean {
  return setup !== undefined || items.length > 0;
}

/** Cuts an unfinished end off, after it was copied to a file beside the log. */
function mend(fd: number, path: string, end: LogEnd): string[] {
  if (end.kind !== "torn") return [];
  const { size } = fstatSync(fd);
  const aside = asideOf(path);
  try {
    copyRest(fd, end.goodBytes, aside);
    syncDirectory(dirname(path));
    ftruncateSync(fd, end.goodBytes);
  } catch (error) {
    throw ioError(`cannot mend the unfinished end of session log ${path}`, error);
  }
  return [
    `the end of ${path} was not written completely (line ${end.line}: ${end.reason}); ` +
      `${size - end.goodBytes} bytes were cut off and kept in ${aside}`,
  ];
}

/** A name beside the log that is free: two ends may be cut off in one millisecond. */
function asideOf(path: string): string {
  let time = Date.now();
  while (existsSync(`${path}.${time}.corrupt`)) time += 1;
  return `${path}.${time}.corrupt`;
}

/** Copies what stands behind `from`, all of it, into a new file; on the disk when it returns. */
function copyRest(fd: number, from: number, target: string): void {
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  const copy = openSync(target, O_WRONLY | O_CREAT | O_EXCL, 0o600);
  try {
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    for (let position = from; ;) {
      const count = readSync(fd, buffer, 0, buffer.length, position);
      if (count === 0) break;
      writeAll(copy, buffer.subarray(0, count));
      position += count;
    }
    fsyncSync(copy);
  } catch (error) {
    removeFile(target);
    throw error;
  } finally {
    closeSync(copy);
  }
}

/**
 * Reads a damaged session up to its last good entry and sets the log aside under a name that is no
 * session's. The caller writes what was read into a new session, with `at` as its origin, and then
 * calls `setAside`. Throws as `openSession` does: `session_corrupt` when nothing to go on with stands
 * before the damage, and `invalid_argument` for a log without damage.
 */
export function salvageSession(
  directory: string,
  id: string,
): {
  readonly state: SessionState;
  readonly at: string;
  readonly line: number;
  setAside(): string;
} {
  const path = logPath(directory, id);
  const fd = openLocked(path, id);
  try {
    const replay = new Replay();
    const end = scanLog(fd, ({ entry }) => replay.add(entry));
    if (end.kind !== "corrupt") {
      throw new PodError("invalid_argument", `session ${id} is not damaged; use: pod resume ${id}`);
    }
    const state = replay.state();
    if (end.head === undefined || !isWorthSaving(state)) throw corrupt(path, id, end, state);
    return {
      state,
      at: end.head,
      line: end.line,
      setAside: () => {
        const aside = asideOf(path);
        renameSync(path, aside);
        syncDirectory(directory);
        closeSync(fd);
        return aside;
      },
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
