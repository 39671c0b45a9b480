/**
 * Reads a session log from its beginning, line by line, with memory for one line only, and checks
 * the chain on the way. It tells an unfinished end (a crash while writing) from damage in the middle
 * and changes nothing.
 */
import { closeSync, constants, fstatSync, readSync } from "node:fs";
import { errnoCode, ioError, PodError } from "../base/errors.ts";
import { openRegular } from "../base/files.ts";
import { openLine, type Head } from "./chain.ts";
import { type Entry, parseEntry } from "./entry.ts";

/** Bytes that are read at once. */
const CHUNK_BYTES = 256 * 1024;
/** Longest line that is read; no writer of ours comes near it. */
const MAX_LOG_LINE_BYTES = 64 * 1024 * 1024;

const NEWLINE = 10;

/** One good line. `entry` is undefined for a kind that this version does not know. */
interface ScannedEntry {
  readonly entry: Entry | undefined;
  readonly head: string;
  /** Line number, from 1. */
  readonly line: number;
  /** Where it begins, and the position behind its line end. */
  readonly start: number;
  readonly end: number;
}

/** How a log ends. `goodBytes` is where its last good line ends. */
export type LogEnd = { readonly goodBytes: number; readonly head: Head; readonly lines: number } & (
  | { readonly kind: "whole" }
  /** Behind the good lines stands a rest that no complete line follows: a write that a crash cut. */
  | { readonly kind: "torn"; readonly line: number; readonly reason: string }
  /** A bad line with complete lines behind it: not the work of a crash. */
  | { readonly kind: "corrupt"; readonly line: number; readonly reason: string }
);

/** Opens a log for reading. Throws what the system says, and `not a regular file` (`io`). */
export function openForReading(path: string): number {
  return openRegular(path, constants.O_RDONLY | constants.O_NOFOLLOW);
}

/** The error for a log that could not be opened. */
export function missingOr(error: unknown, path: string, id: string): PodError {
  if (errnoCode(error) === "ENOENT") {
    return new PodError("unknown_session", `session not found: ${id}`);
  }
  return ioError(`cannot open session log ${path}`, error);
}

/**
 * Scans the whole log behind `fd`; `visit` gets each good line in order and may return false to stop.
 * `chunkBytes` are read at once: few for who wants the beginning only.
 */
export function scanLog(
  fd: number,
  visit: (entry: ScannedEntry) => boolean | void,
  chunkBytes: number = CHUNK_BYTES,
): LogEnd {
  let head: Head;
  let line = 0;
  let goodBytes = 0;
  let bad: { readonly line: number; readonly reason: string } | undefined;
  for (const { bytes, end, complete } of linesOf(fd, chunkBytes)) {
    line += 1;
    if (bytes === undefined) {
      if (complete && bad !== undefined) {
        return { kind: "corrupt", ...bad, goodBytes, head, lines: line };
      }
      bad ??= { line, reason: `is longer than ${MAX_LOG_LINE_BYTES / 1024 / 1024} MiB` };
      continue;
    }
    if (isBlank(bytes) && complete && bad === undefined) {
      goodBytes = end;
      continue;
    }
    if (bad !== undefined) {
      // Nothing but a rest of zeros, as some file systems leave behind a power cut, may follow.
      if (complete && !isBlank(bytes))
        return { kind: "corrupt", ...bad, goodBytes, head, lines: line };
      continue;
    }
    const opened = openLine(bytes, head);
    if (!complete) {
      bad = { line, reason: "the line is not complete" };
      continue;
    }
    if (!opened.ok) {
      bad = { line, reason: opened.reason };
      continue;
    }
    const parsed = parseEntry(opened.json);
    // Its hash is right, so it was written like this: no crash did it.
    if (!parsed.ok) {
      return { kind: "corrupt", line, reason: parsed.reason, goodBytes, head, lines: line };
    }
    ({ head } = opened);
    const start = end - bytes.length - 1;
    goodBytes = end;
    if (visit({ entry: parsed.entry, head, line, start, end }) === false) break;
  }
  if (bad !== undefined) return { kind: "torn", ...bad, goodBytes, head, lines: line };
  return { kind: "whole", goodBytes, head, lines: line };
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 32 || byte === 13 || byte === 9);
}

interface RawLine {
  /** Undefined for a line that is too long to be read. */
  readonly bytes: Uint8Array | undefined;
  /** Position behind it, its line end included. */
  readonly end: number;
  readonly complete: boolean;
}

/** The lines of a file as bytes; what one holds is overwritten when the next is asked for. */
function* linesOf(fd: number, chunkBytes: number): Generator<RawLine> {
  const { size } = fstatSync(fd);
  let buffer = Buffer.allocUnsafe(chunkBytes);
  let start = 0; // of the line that is being looked for
  let held = 0; // end of the bytes in use
  let searched = 0; // up to here there is no line end
  let position = 0; // of the file, behind the bytes held
  let tooLong = false; // its beginning is not held any more
  for (;;) {
    const found = buffer.subarray(0, held).indexOf(NEWLINE, searched);
    if (found >= 0) {
      const end = position - held + found + 1;
      yield { bytes: tooLong ? undefined : buffer.subarray(start, found), end, complete: true };
      start = searched = found + 1;
      tooLong = false;
      continue;
    }
    buffer.copyWithin(0, start, held);
    held -= start;
    start = 0;
    searched = held;
    if (held === buffer.length) {
      if (tooLong || held >= MAX_LOG_LINE_BYTES) {
        // What follows says whether a crash cut it, or somebody else wrote it.
        tooLong = true;
        held = searched = 0;
      } else {
        const larger = Buffer.allocUnsafe(Math.min(buffer.length * 4, MAX_LOG_LINE_BYTES));
        buffer.copy(larger, 0, 0, held);
        buffer = larger;
      }
    }
    const room = Math.min(buffer.length - held, size - position);
    const count = room === 0 ? 0 : readSync(fd, buffer, held, room, position);
    if (count === 0) break;
    held += count;
    position += count;
  }
  if (held === 0 && !tooLong) return;
  yield { bytes: tooLong ? undefined : buffer.subarray(0, held), end: position, complete: false };
}

/**
 * Runs `read` on a log opened for reading, without its lock. Throws `unknown_session` when there is none,
 * or `io`.
 */
export function withLog<Result>(path: string, id: string, read: (fd: number) => Result): Result {
  let fd: number;
  try {
    fd = openForReading(path);
  } catch (error) {
    throw missingOr(error, path, id);
  }
  try {
    return read(fd);
  } finally {
    closeSync(fd);
  }
}
