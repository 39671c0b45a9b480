/**
 * A file as text to search: decoded piece by piece, so that a log of any size needs little memory.
 * Pieces end at line breaks. Binary files yield nothing; UTF-16 is known by its mark; bytes that are
 * no text become replacement characters rather than failures (W16).
 */
import { readSync } from "node:fs";
import { BINARY_CHECK_BYTES } from "./file-kind.ts";
import type { Pace } from "./pace.ts";
import { MAX_SEARCHED_CHARACTERS } from "./regex.ts";

/** Bytes read at once; also what the buffer given to `portionsOf` must hold. */
export const PORTION_BYTES = 1024 * 1024;
/** Most text repeated at the start of a portion for the sake of context lines. */
const MAX_OVERLAP_CHARACTERS = 64 * 1024;

/** Part of a file. Text before `fresh` was in the one before, whose first `dropped` characters are gone. */
export interface Portion {
  readonly text: string;
  readonly fresh: number;
  readonly dropped: number;
}

/** Why a file cannot be searched although it can be read. */
export class UnsearchableError extends Error {
  override readonly name = "UnsearchableError";
}

/** How to cut: `whole` for one portion of all, `overlap` lines repeated otherwise. */
interface PortionOptions {
  readonly whole: boolean;
  readonly overlap: number;
  /** Told when a NUL ended the reading: so early that the file is binary and yielded nothing, or later. */
  readonly stopped?: (at: "start" | "later") => void;
}

/**
 * Reads `fd` to its end. `buffer` is scratch space that several files may share one after another.
 * Throws `UnsearchableError` when a line, or a `whole` text, is longer than can ever be searched.
 */
export async function* portionsOf(
  fd: number,
  buffer: Buffer,
  { whole, overlap, stopped }: PortionOptions,
  pace: Pace,
): AsyncGenerator<Portion> {
  let decoder: TextDecoder | undefined;
  let rest = "";
  let kept = "";
  let dropped = 0;
  for (;;) {
    let bytes = fill(fd, buffer);
    let last = bytes.length < buffer.length;
    const first = decoder === undefined;
    decoder ??= new TextDecoder(encodingOf(bytes)); // drops the byte order mark
    const nul = decoder.encoding === "utf-8" ? bytes.indexOf(0) : -1;
    if (nul >= 0) {
      if (first && nul < BINARY_CHECK_BYTES) {
        stopped?.("start");
        return;
      }
      bytes = bytes.subarray(0, nul);
      last = true;
    }
    const text = rest + decoder.decode(bytes, { stream: !last });
    // A line that is not complete waits for the next portion; one that runs into a NUL is no text.
    const complete = text.lastIndexOf("\n") + 1;
    const end = nul >= 0 ? complete : last ? text.length : whole ? 0 : complete;
    rest = text.slice(end);
    if (rest.length > MAX_SEARCHED_CHARACTERS) throw new UnsearchableError("too long");
    if (end > 0) {
      const portion = kept + text.slice(0, end);
      yield { text: portion, fresh: kept.length, dropped };
      kept = portion.slice(tailStart(portion, overlap));
      dropped = portion.length - kept.length;
    }
    // Not earlier: who has seen enough does not come back for more.
    if (nul >= 0) stopped?.("later");
    if (last) return;
    if (pace.due) await pace.rest();
    if (pace.expired) return;
  }
}

/** Fills the buffer unless the file ends before; a short read alone is not the end (files of /proc). */
function fill(fd: number, buffer: Buffer): Buffer {
  let length = 0;
  while (length < buffer.length) {
    const count = readSync(fd, buffer, length, buffer.length - length, null);
    if (count === 0) break;
    length += count;
  }
  return buffer.subarray(0, length);
}

function encodingOf(bytes: Uint8Array): "utf-8" | "utf-16le" | "utf-16be" {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  return "utf-8";
}

/** Where the last `lines` lines of a text that ends with a newline begin. */
function tailStart(text: string, lines: number): number {
  let start = text.length;
  for (let count = 0; count < lines && start > 0; count += 1) {
    const before = lineStart(text, start - 1);
    if (text.length - before > MAX_OVERLAP_CHARACTERS) return start;
    start = before;
  }
  return start;
}

/** Where the line that holds `place` begins; the newline at its end belongs to a line. */
export function lineStart(text: string, place: number): number {
  return place === 0 ? 0 : text.lastIndexOf("\n", place - 1) + 1;
}

/** Where the line that holds `place` ends: at its newline, or at the end of the text. */
export function lineEnd(text: string, place: number): number {
  const newline = text.indexOf("\n", place);
  return newline < 0 ? text.length : newline;
}
