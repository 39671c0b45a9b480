/**
 * Files as numbered lines, the form in which Read and Edit show them (spec worker-and-tools 3.4).
 * Lines end at `\n` only; one `\r` before it is dropped; there is no empty line after the last `\n`.
 */

const NEWLINE = 10;
const NUMBER_WIDTH = 6;
/** Most lines rendered at once, whatever was asked for: keeps one call from blocking the event loop. */
const MAX_LINES = 100_000;

/** What the output of a tool can hold of one line, at least with the limit that a Pod has by default. Bytes. */
export const LONG_LINE_BYTES = 16_000;

/** Lines `offset` (0-based) and following, at most `limit`, and how many the file has. */
interface LineSlice {
  readonly text: string;
  readonly shown: number;
  readonly total: number;
  /** The first of the lines that is longer than `LONG_LINE_BYTES`; `number` is 1-based. */
  readonly long: { readonly number: number; readonly bytes: number } | undefined;
}

/**
 * Renders part of a file: each line as its 1-based number right-aligned to 6, a tab, its text and a
 * newline. Bytes that are not UTF-8 appear as replacement characters; a BOM stays.
 */
export function renderLines(bytes: Uint8Array, offset: number, limit: number): LineSlice {
  const end = offset + Math.min(limit, MAX_LINES);
  let total = 0;
  let from = offset === 0 ? 0 : bytes.length;
  let to = bytes.length;
  let start = 0;
  let long: LineSlice["long"];
  const ended = (at: number): void => {
    total += 1;
    const isLong = at - start > LONG_LINE_BYTES && total > offset && total <= end;
    if (isLong) long ??= { number: total, bytes: at - start };
    start = at + 1;
  };
  // Lines are found in the bytes: no other byte of UTF-8 is 0x0A, and only the slice is decoded.
  for (let position = 0; position < bytes.length; position += 1) {
    if (bytes[position] !== NEWLINE) continue;
    ended(position);
    if (total === offset) from = position + 1;
    if (total === end) to = position + 1;
  }
  if (start < bytes.length) ended(bytes.length);
  const shown = Math.max(0, Math.min(total, end) - offset);
  if (shown === 0) return { text: "", shown, total, long };
  const decoded = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(from, to));
  const text = splitLines(decoded)
    .map((line, index) => `${String(offset + index + 1).padStart(NUMBER_WIDTH)}\t${line}\n`)
    .join("");
  return { text, shown, total, long };
}

/** Lines of a text by the rules above. */
export function splitLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
}
