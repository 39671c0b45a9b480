/**
 * One Grep call: which files, what is counted, when to stop. A file that cannot be read or searched
 * is counted and passed over, never a failure of the whole search (W16).
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { isPodError } from "../base/errors.ts";
import type { Scope } from "../scope/set.ts";
import { type ContentOptions, ContentPrinter } from "./grep-content.ts";
import { matchingLines } from "./grep-match.ts";
import { PORTION_BYTES, portionsOf } from "./grep-text.ts";
import type { Pace } from "./pace.ts";
import type { Prefilter } from "./prefilter.ts";
import type { Regex } from "./regex.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { assertRegular } from "./verified-path.ts";
import type { DirectoryFilter, SearchBase } from "./walk.ts";
import { walk } from "./walk.ts";

/** Most output kept, in characters; far above what is shown to a model. */
const MAX_OUTPUT_CHARACTERS = 1024 * 1024;

/** What to search for and how to tell it. `limit` 0 means none; `offset` skips in the same unit. */
export interface GrepQuery extends ContentOptions {
  readonly regex: Regex;
  /** Tells files apart that cannot match. */
  readonly prefilter: Prefilter;
  readonly multiline: boolean;
  readonly mode: "files_with_matches" | "content" | "count";
  readonly limit: number;
  readonly offset: number;
}

/** What was found and is shown. `limited`: there is more, which `limit` leaves out. */
export interface GrepResult {
  readonly lines: readonly string[];
  readonly files: number;
  readonly matches: number;
  readonly skipped: number;
  /** Files of which nothing after a NUL was searched. */
  readonly torn: number;
  /** The base is a binary file. */
  readonly binary: boolean;
  readonly limited: boolean;
  readonly oversized: boolean;
}

/** Where to search. */
interface GrepPlace {
  readonly files: ScopedFiles;
  readonly scope: Scope;
  readonly base: SearchBase;
  readonly filter: (names: readonly string[]) => DirectoryFilter;
}

/** Searches until everything is seen, something is found above the limit, or the time is up. */
export async function search(place: GrepPlace, query: GrepQuery, pace: Pace): Promise<GrepResult> {
  return await new Search(place, query, pace).run();
}

class Search {
  readonly #place: GrepPlace;
  readonly #query: GrepQuery;
  readonly #pace: Pace;
  readonly #buffer = Buffer.allocUnsafe(PORTION_BYTES);
  readonly #lines: string[] = [];
  #size = 0;
  #toSkip: number;
  #files = 0;
  #matches = 0;
  #skipped = 0;
  #torn = 0;
  #binary = false;
  #limited = false;

  constructor(place: GrepPlace, query: GrepQuery, pace: Pace) {
    this.#place = place;
    this.#query = query;
    this.#pace = pace;
    this.#toSkip = query.offset;
  }

  async run(): Promise<GrepResult> {
    const { base, files, scope, filter } = this.#place;
    if (base.kind === "file") {
      await this.#file(base.shown, () => files.openChecked(base.canonical));
    }
    if (base.kind === "directory") {
      const skipped = (): void => void (this.#skipped += 1);
      const options = { files, scope, pace: this.#pace, filter, skipped };
      for await (const { canonical, relative, name, directory } of walk(base.canonical, options)) {
        const searching = this.#file(`${base.shown}/${relative}`, () =>
          directory === undefined ? files.openChecked(canonical) : directory.openEntry(name),
        );
        if (searching !== undefined) await searching;
        if (this.#full || this.#pace.expired) break;
        if (this.#pace.due) await this.#pace.rest();
      }
    }
    return {
      lines: this.#lines,
      files: this.#files,
      matches: this.#matches,
      skipped: this.#skipped,
      torn: this.#torn,
      binary: this.#binary,
      limited: this.#limited,
      oversized: this.#oversized,
    };
  }

  get #oversized(): boolean {
    return this.#size >= MAX_OUTPUT_CHARACTERS;
  }

  /** Nothing more is shown; what else matches is looked for only to say that there is more. */
  get #complete(): boolean {
    const { limit, mode } = this.#query;
    return limit > 0 && (mode === "content" ? this.#matches : this.#files) >= limit;
  }

  get #full(): boolean {
    return this.#limited || this.#oversized;
  }

  /** Searches one file; without a promise when it is known at once that nothing is in it. */
  #file(shown: string, open: () => number): Promise<void> | undefined {
    let fd: number;
    try {
      fd = open();
    } catch {
      this.#skipped += 1;
      return undefined;
    }
    let isDone = true;
    try {
      if (!this.#mayMatch(fd)) return undefined;
      isDone = false;
      return this.#searchOpen(fd, shown);
    } catch {
      this.#skipped += 1;
      return undefined;
    } finally {
      if (isDone) closeSync(fd);
    }
  }

  async #searchOpen(fd: number, shown: string): Promise<void> {
    try {
      if (this.#query.mode === "content") await this.#showContent(fd, shown);
      else await this.#countMatches(fd, shown);
    } catch (error) {
      if (isPodError(error, "cancelled")) throw error;
      this.#skipped += 1;
    } finally {
      closeSync(fd);
    }
  }

  /** Refuses what is no regular file; false when a look at the whole of it shows that nothing matches. */
  #mayMatch(fd: number): boolean {
    const info = fstatSync(fd);
    assertRegular(info, "");
    if (this.#place.base.kind === "file") return true; // whatever it is, the answer says so
    const { prefilter } = this.#query;
    // Files of /proc say 0 and have content all the same.
    if (info.size === 0 || info.size >= PORTION_BYTES) return true;
    // By place, so that the search proper begins at the start again.
    const length = readSync(fd, this.#buffer, 0, info.size, 0);
    return length !== info.size || prefilter(this.#buffer.subarray(0, length));
  }

  async #showContent(fd: number, shown: string): Promise<void> {
    const { regex, multiline, before } = this.#query;
    const printer = new ContentPrinter(shown, this.#query, (line) => this.#print(line));
    const options = { whole: multiline, overlap: before, stopped: this.#stopped };
    let any = false;
    try {
      for await (const portion of portionsOf(fd, this.#buffer, options, this.#pace)) {
        printer.enter(portion);
        if (this.#full) return; // of context
        const spans = matchingLines(regex, portion.text, portion.fresh, multiline, this.#pace);
        for await (const span of spans) {
          if (this.#toSkip > 0) {
            this.#toSkip -= 1;
            continue;
          }
          if (this.#complete) {
            printer.contextUntil(span.start);
            this.#limited = true;
            return;
          }
          if (!any) this.#files += 1;
          any = true;
          this.#matches += 1;
          printer.match(span);
          if (this.#full) return;
        }
      }
    } finally {
      // Also when the rest of the file cannot be searched.
      if (!this.#full) printer.finish();
    }
  }

  async #countMatches(fd: number, shown: string): Promise<void> {
    const { regex, multiline, mode } = this.#query;
    const options = { whole: multiline, overlap: 0, stopped: this.#stopped };
    const one = mode === "files_with_matches" || this.#complete;
    let count = 0;
    for await (const { text, fresh } of portionsOf(fd, this.#buffer, options, this.#pace)) {
      const spans = matchingLines(regex, text, fresh, multiline, this.#pace);
      for await (const _ of spans) {
        count += 1;
        if (one) break;
      }
      if (count > 0 && one) break;
    }
    if (count === 0) return;
    if (this.#toSkip > 0) {
      this.#toSkip -= 1;
      return;
    }
    if (this.#complete) {
      this.#limited = true;
      return;
    }
    this.#files += 1;
    this.#matches += count;
    this.#print(mode === "count" ? `${shown}:${count}` : shown);
  }

  /** Among other files, binary ones are left out without a word. */
  readonly #stopped = (at: "start" | "later"): void => {
    if (at === "later") this.#torn += 1;
    else this.#binary = this.#place.base.kind === "file";
  };

  #print(line: string): void {
    this.#lines.push(line);
    this.#size += line.length + 1;
  }
}
