/**
 * The last `pod.setup` of a log, looked for from its end: a Pod may have been started again with other
 * paths, in another directory. Ends of runs say where it stands (`setup_at`), so that little is read;
 * in a log that does not say so, everything behind it is. A line is believed when its hash fits its text.
 */
import { readSync } from "node:fs";
import { openLine } from "./chain.ts";
import { DOMAIN, type Setup, setupSchema } from "./setup.ts";

/** What a setup has, and what tells of one; in texts the quotes are escaped. */
const SETUP = `"domain":"${DOMAIN.setup}"`;
const POINTER = '"setup_at":';
/** A pointer is the last key of its line. */
const POINTER_END = /^(\d{1,15})\}\n/;
const POINTER_BYTES = POINTER.length + 17;

/** Bytes that are looked at first, and then at a time. */
const FIRST_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 * 1024;
/** Bytes of a line before its domain are fewer: two hashes, kind and time. */
const BEFORE_DOMAIN_BYTES = 1024;
/** A setup is read in one go up to this size, and not at all from the second on. */
const SETUP_BYTES = 16 * 1024;
const MAX_SETUP_BYTES = 16 * 1024 * 1024;

/**
 * The last good setup of the log of `size` bytes behind `fd`; without `checked` also one that was changed,
 * which says whose a damaged log is and no more. Throws what reading throws.
 */
export function lastSetup(
  fd: number,
  size: number,
  { checked = true }: { readonly checked?: boolean } = {},
): Setup | undefined {
  let believesPointers = true;
  for (let end = size, length = FIRST_BYTES; end > 0; length = CHUNK_BYTES) {
    const start = Math.max(0, end - length);
    // What begins in front of `end` may go on behind it.
    const bytes = readAt(fd, start, Math.min(size, end + POINTER_BYTES) - start);
    for (let from = end - start - 1; from >= 0;) {
      const setupAt = bytes.lastIndexOf(SETUP, from);
      const pointer = believesPointers ? bytes.lastIndexOf(POINTER, from) : -1;
      const found = Math.max(setupAt, pointer);
      if (found < 0) break;
      const at =
        found === pointer
          ? pointedAt(bytes.toString("latin1", found + POINTER.length, found + POINTER_BYTES))
          : lineStart(fd, start + found);
      const setup =
        at === undefined || at >= start + found ? undefined : readSetup(fd, at, checked);
      if (setup !== undefined) return setup;
      // Where one is wrong the log was changed: then only what is found counts.
      if (found === pointer && at !== undefined) believesPointers = false;
      from = found - 1;
    }
    end = start;
  }
  return undefined;
}

function pointedAt(text: string): number | undefined {
  const digits = POINTER_END.exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Where the line begins in which `position` is the place of the domain. */
function lineStart(fd: number, position: number): number {
  const from = Math.max(0, position - BEFORE_DOMAIN_BYTES);
  return from + readAt(fd, from, position - from).lastIndexOf("\n") + 1;
}

/** The setup in the line that begins there; undefined when it is none, or `checked` and not as it was written. */
function readSetup(fd: number, start: number, checked: boolean): Setup | undefined {
  let length = SETUP_BYTES;
  let bytes = readAt(fd, start, length);
  let end = bytes.indexOf("\n");
  while (end < 0 && bytes.length === length && length < MAX_SETUP_BYTES) {
    length *= 8;
    bytes = readAt(fd, start, length);
    end = bytes.indexOf("\n");
  }
  if (end < 0) return undefined;
  const line = bytes.subarray(0, end);
  const before = /^\{"hash":"[0-9a-f]{64}","prev_hash":"([0-9a-f]{64})"/.exec(
    line.toString("latin1", 0, BEFORE_DOMAIN_BYTES),
  )?.[1];
  if (checked && !openLine(line, before).ok) return undefined;
  try {
    const entry = JSON.parse(line.toString("utf8")) as Record<string, unknown>;
    if (entry.kind !== "extension" || entry.domain !== DOMAIN.setup) return undefined;
    return setupSchema().safeParse(entry.payload).data;
  } catch {
    return undefined;
  }
}

function readAt(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let held = 0;
  while (held < length) {
    const count = readSync(fd, buffer, held, length - held, position + held);
    if (count === 0) break;
    held += count;
  }
  return buffer.subarray(0, held);
}
