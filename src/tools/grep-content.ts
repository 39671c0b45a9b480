/**
 * Grep's `content` output: matching lines and the lines around them, each once, in order, with the
 * file's path and usually the line number (spec worker-and-tools 3.8).
 */
import { lineEnd, lineStart, type Portion } from "./grep-text.ts";
import type { Span } from "./regex.ts";

/** What surrounds a match, and whether lines are numbered. */
export interface ContentOptions {
  readonly numbers: boolean;
  readonly before: number;
  readonly after: number;
}

/** Collects the output of one file, portion by portion. */
export class ContentPrinter {
  readonly #path: string;
  readonly #options: ContentOptions;
  readonly #print: (line: string) => void;
  #text = "";
  /** Everything before this place of the text is printed, or will not be. */
  #printed = 0;
  /** Context lines still owed to the last match. */
  #owed = 0;
  /** Line number (1-based) of the line that begins at `#counted`. */
  #number = 1;
  #counted = 0;

  constructor(path: string, options: ContentOptions, print: (line: string) => void) {
    this.#path = path;
    this.#options = options;
    this.#print = print;
  }

  /** Goes on to the next portion of the file. */
  enter({ text, dropped }: Portion): void {
    this.contextUntil(this.#text.length);
    // The number is carried to the first line of the new text, which begins inside the old one.
    if (this.#options.numbers) this.#numberAt(dropped);
    this.#counted -= dropped;
    this.#printed = Math.max(0, this.#printed - dropped);
    this.#text = text;
  }

  /** Prints a match and what comes before it. */
  match({ start, end }: Span): void {
    this.contextUntil(start);
    let from = start;
    for (let count = 0; count < this.#options.before && from > this.#printed; count += 1) {
      from = lineStart(this.#text, from - 1);
    }
    for (let at = from; at < start;) at = this.#line(at, lineEnd(this.#text, at), "-");
    this.#printed = this.#line(start, end, ":");
    this.#owed = this.#options.after;
  }

  /** Prints what is owed after the last match. */
  finish(): void {
    this.contextUntil(this.#text.length);
  }

  /** Prints what is owed after the last match and lies before `end`. */
  contextUntil(end: number): void {
    while (this.#owed > 0 && this.#printed < end) {
      this.#printed = this.#line(this.#printed, lineEnd(this.#text, this.#printed), "-");
      this.#owed -= 1;
    }
  }

  /** Prints one line (or a match of several) and returns where the next begins. */
  #line(start: number, end: number, mark: ":" | "-"): number {
    const text = this.#text.slice(start, end).replace(/\r$/, "");
    const number = this.#options.numbers ? `${mark}${this.#numberAt(start)}` : "";
    this.#print(`${this.#path}${number}${mark}${text}`);
    return end + 1;
  }

  /** Number of the line at `place`; newlines are counted once, from the place asked last. */
  #numberAt(place: number): number {
    if (place < this.#counted) {
      // Context before a match lies behind the last place only by lines not printed yet.
      for (let at = place; at < this.#counted; at = lineEnd(this.#text, at) + 1) this.#number -= 1;
    } else {
      for (let at = this.#counted; at < place; at += 1) {
        if (this.#text.charCodeAt(at) === 10) this.#number += 1;
      }
    }
    this.#counted = place;
    return this.#number;
  }
}
