/**
 * The output of one command: counted, its end kept in memory, and written to a file once it is too
 * long to be shown whole (spec worker-and-tools 3.9, W18). Memory and file are bounded.
 */
import { closeSync, fstatSync } from "node:fs";
import { errnoCode, messageOf } from "../../base/errors.ts";
import { writeAll } from "../../base/files.ts";

/** Output up to both of these is shown as it is. */
export const INLINE_BYTES = 12_288;
export const INLINE_LINES = 80;
/** How much of the end is kept to be shown. */
const TAIL_BYTES = 262_144;
/** Largest file; what comes later is only counted, and its end shown. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Makes the file for the whole output: an open descriptor and the path the model reads it by. */
type OpenSpill = () => { readonly fd: number; readonly path: string };

/** What is shown of an output. */
interface ShownOutput {
  readonly text: string;
  /** The file with the whole output, when there is one. */
  readonly path?: string;
}

const NEWLINE = 10;

/** Collects an output as it comes. */
export class CommandOutput {
  readonly #open: OpenSpill;
  #chunks: Buffer[] = [];
  #kept = 0;
  #bytes = 0;
  #newlines = 0;
  #endsOpen = false;
  #file: { readonly fd: number; readonly path: string } | undefined;
  #failure: string | undefined;
  /** Bytes in the file when it could not be written any more. */
  #stoppedAt: number | undefined;

  constructor(open: OpenSpill) {
    this.#open = open;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Lines so far; a last one without its end counts. */
  get lines(): number {
    return this.#newlines + (this.#endsOpen ? 1 : 0);
  }

  /** Why the file could not be written, if so; the output is still shown from memory. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Takes the next piece. */
  add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    const chunk = Buffer.from(piece); // a copy: the reader may use its memory again
    const before = this.#bytes;
    this.#bytes += chunk.length;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) {
      this.#newlines += 1;
    }
    this.#endsOpen = chunk.at(-1) !== NEWLINE;
    if (this.#file !== undefined) this.#write(chunk, before);
    this.#chunks.push(chunk);
    this.#kept += chunk.length;
    if (this.#file === undefined && !this.#fits) this.spill();
    this.#forget();
  }

  /** Makes the file now, with all that came so far; a no-op when there is one. */
  spill(): void {
    if (this.#file !== undefined || this.#failure !== undefined) return;
    try {
      this.#file = this.#open();
    } catch (error) {
      this.#failure = messageOf(error);
      return;
    }
    let offset = this.#bytes - this.#kept;
    for (const chunk of this.#chunks) {
      this.#write(chunk, offset);
      offset += chunk.length;
    }
  }

  /** No more is written; the file stays. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
  }

  /** The output, or its end behind a line that says what is missing; undefined when there is none. */
  shown(): ShownOutput | undefined {
    if (this.#bytes === 0) return undefined;
    if (this.#fits) return { text: this.#tail().toString("utf8") };
    const { tail, shownLines } = this.#end();
    const path = this.#file?.path;
    return {
      text: `[${this.#heading(shownLines)}${this.#where()}]\n${tail}`,
      ...(path === undefined ? {} : { path }),
    };
  }

  /** What a command had written when its time was over. */
  shownPartial(): ShownOutput | undefined {
    if (this.#bytes === 0) return undefined;
    this.spill();
    const path = this.#file?.path;
    const where = this.where === undefined ? "" : ` — ${this.where}`;
    return {
      text: `[partial output before timeout${where}]\n${this.#end().tail}`,
      ...(path === undefined ? {} : { path }),
    };
  }

  /** What came after the first `offset` bytes, at most the inline size of its end. */
  since(offset: number): { readonly text: string; readonly skipped: number } {
    const fresh = this.#bytes - offset;
    const bytes = this.#tail();
    const from = Math.max(0, bytes.length - Math.min(fresh, INLINE_BYTES));
    const start = fresh > INLINE_BYTES ? characterStart(bytes, from) : from;
    return {
      text: bytes.subarray(start).toString("utf8"),
      skipped: Math.max(0, fresh - (bytes.length - start)),
    };
  }

  /** Path of the file with the whole output, if there is one. */
  get path(): string | undefined {
    return this.#file?.path;
  }

  /** How much of the output is in which file, if there is one: "full at …", "first 512 bytes at …". */
  get where(): string | undefined {
    if (this.#file === undefined) return undefined;
    const { path } = this.#file;
    if (this.#stoppedAt !== undefined) {
      return `first ${this.#stoppedAt} bytes at ${path} (${this.#failure ?? "not written"})`;
    }
    if (this.#bytes > MAX_FILE_BYTES) return `first ${MAX_FILE_BYTES} bytes at ${path}`;
    return `full at ${path}`;
  }

  get #fits(): boolean {
    return this.#bytes <= INLINE_BYTES && this.lines <= INLINE_LINES;
  }

  #write(chunk: Buffer, offset: number): void {
    if (this.#file === undefined || offset >= MAX_FILE_BYTES) return;
    // After a gap the rest would be somebody else's text.
    if (this.#stoppedAt !== undefined) return;
    try {
      writeAll(this.#file.fd, chunk.subarray(0, MAX_FILE_BYTES - offset));
    } catch (error) {
      this.#stoppedAt = fstatSync(this.#file.fd).size;
      this.#failure = errnoCode(error) === "ENOSPC" ? "disk full" : messageOf(error);
    }
  }

  #forget(): void {
    for (;;) {
      const first = this.#chunks[0];
      if (first === undefined || this.#kept - first.length < TAIL_BYTES) return;
      this.#chunks.shift();
      this.#kept -= first.length;
    }
  }

  #tail(): Buffer {
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }

  /** The last lines that fit both limits. */
  #end(): { readonly tail: string; readonly shownLines: number } {
    const bytes = this.#tail();
    let start = Math.max(0, bytes.length - INLINE_BYTES);
    // A line that is cut in two is shown only when it is the only one.
    const isCut = start > 0 && bytes[start - 1] !== NEWLINE;
    const nextLine = isCut ? bytes.indexOf(NEWLINE, start) + 1 : start;
    start = nextLine === 0 || nextLine === bytes.length ? characterStart(bytes, start) : nextLine;
    const end = bytes.at(-1) === NEWLINE ? bytes.length - 1 : bytes.length;
    let shownLines = 1;
    for (let at = end - 1; at >= start; at -= 1) {
      if (bytes[at] !== NEWLINE) continue;
      if (shownLines === INLINE_LINES) {
        start = at + 1;
        break;
      }
      shownLines += 1;
    }
    return { tail: bytes.subarray(start).toString("utf8"), shownLines };
  }

  #heading(shownLines: number): string {
    if (this.#bytes > TAIL_BYTES) {
      return `showing last ${shownLines} lines (tail of ${this.#bytes}-byte output)`;
    }
    // One line, wider than what is shown.
    if (this.lines === 1) return `showing the last bytes of 1 line`;
    return `showing last ${shownLines} of ${this.lines} lines`;
  }

  #where(): string {
    const path = this.#file?.path;
    if (path === undefined) return ` — the rest is lost: ${this.#failure ?? "no file"}`;
    if (this.#stoppedAt === undefined && this.#bytes <= TAIL_BYTES) {
      return ` — full output (${this.#bytes} bytes) at ${path}`;
    }
    return ` — ${this.where}`;
  }
}

/** The first byte at or after `at` that begins a character (UTF-8). */
function characterStart(bytes: Uint8Array, at: number): number {
  let start = at;
  while (start < bytes.length && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return start;
}
