/**
 * Framing of JSON Lines: bytes to complete lines and back (spec protocol 1.2). A decoder holds at
 * most one incomplete line of bounded length, costs linear time however the bytes are cut, and
 * reports what is wrong with a line as a value. It knows nothing about sockets or JSON.
 */
import { encodeMessage, type Event } from "../protocol/event.ts";

/** Longest line in bytes, line end not counted (design, section 2: W14). */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** A complete line, or why there is none: longer than the limit, or not UTF-8. */
export type DecodedLine =
  | { readonly kind: "line"; readonly text: string }
  | { readonly kind: "bad"; readonly reason: "too_long" | "invalid_utf8" };

const LINE_FEED = 0x0a;
/** Room for an incomplete line that is kept from one line to the next. */
const KEPT_BUFFER_BYTES = 64 * 1024;
const FIRST_BUFFER_BYTES = 1024;

// A byte-order mark must reach the JSON parser, which refuses it (spec protocol 1.2).
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Cuts a stream of bytes into lines. Feed it every chunk in order and call `finish` at the end of
 * the stream. ASCII white space around a line is removed and blank lines are skipped; a line over
 * `maxBytes` is reported once, as soon as that is certain, and skipped up to its end.
 */
export class LineDecoder {
  readonly #maxBytes: number;
  /** The incomplete line is `#buffer[0, #length)`; grown by doubling, so a copy costs O(1) a byte. */
  #buffer = new Uint8Array(0);
  #length = 0;
  #skipping = false;

  constructor(maxBytes: number = MAX_LINE_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the incomplete line. */
  get heldBytes(): number {
    return this.#length;
  }

  /** Lines completed by `chunk`, in order. The chunk may be reused by the caller afterwards. */
  push(chunk: Uint8Array): DecodedLine[] {
    const lines: DecodedLine[] = [];
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(LINE_FEED, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      if (!this.#skipping && this.#length + piece.length > this.#maxBytes) {
        lines.push({ kind: "bad", reason: "too_long" });
        this.#skipping = true;
        this.#forget();
      }
      if (end === -1) {
        if (!this.#skipping) this.#keep(piece);
        return lines;
      }
      if (this.#skipping) this.#skipping = false;
      else this.#complete(piece, lines);
      start = end + 1;
    }
  }

  /** The last line when the stream ended without a line end; the decoder is empty afterwards. */
  finish(): DecodedLine[] {
    const lines: DecodedLine[] = [];
    if (!this.#skipping) this.#complete(new Uint8Array(0), lines);
    this.#skipping = false;
    return lines;
  }

  #complete(piece: Uint8Array, lines: DecodedLine[]): void {
    let bytes = piece;
    if (this.#length > 0) {
      this.#keep(piece);
      bytes = this.#buffer.subarray(0, this.#length);
    }
    const line = decode(bytes);
    this.#forget();
    if (line !== undefined) lines.push(line);
  }

  #keep(piece: Uint8Array): void {
    const needed = this.#length + piece.length;
    if (needed > this.#buffer.length) {
      const size = Math.max(needed, FIRST_BUFFER_BYTES, this.#buffer.length * 2);
      const grown = new Uint8Array(Math.min(size, this.#maxBytes));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = needed;
  }

  #forget(): void {
    this.#length = 0;
    if (this.#buffer.length > KEPT_BUFFER_BYTES) this.#buffer = new Uint8Array(0);
  }
}

/** Blank, tab, vertical tab, form feed, carriage return. */
function isWhiteSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

function decode(bytes: Uint8Array): DecodedLine | undefined {
  let start = 0;
  let end = bytes.length;
  while (start < end && isWhiteSpace(bytes[start])) start += 1;
  while (end > start && isWhiteSpace(bytes[end - 1])) end -= 1;
  if (start === end) return undefined;
  try {
    return { kind: "line", text: utf8.decode(bytes.subarray(start, end)) };
  } catch {
    return { kind: "bad", reason: "invalid_utf8" };
  }
}

/** A message as the bytes of one line, line end included, to be written in one piece (W12). */
export function encodeLine(message: object): Uint8Array {
  return Buffer.from(`${encodeMessage(message)}\n`);
}

/** An event as a line; one that no client would take is replaced by an error that says so. */
export function encodeEvent(event: Event, maxBytes: number = MAX_LINE_BYTES): Uint8Array {
  const line = encodeLine(event);
  if (line.length - 1 <= maxBytes) return line;
  const message = `event \`${event.event}\` of ${line.length - 1} bytes does not fit into a line`;
  const instead: Event = { event: "error", data: { code: "internal", message } };
  return encodeLine(instead);
}
