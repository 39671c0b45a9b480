/**
 * File name patterns turned into regular expressions for paths. One syntax, two habits: for Glob `*`
 * and `?` also match `/`, which no library has, for Grep's filter they stop at it.
 * Syntax: `*`, `?`, `**` between slashes (or the ends of a choice), `[ab]`, `[!a]`, `[a-z]`, `{a,b}`, backslash escapes.
 */
import { Regex, RegexSyntaxError } from "./regex.ts";

/** Why a pattern cannot be used, worded as the reference's library words it. */
export class GlobSyntaxError extends Error {
  override readonly name = "GlobSyntaxError";

  constructor(glob: string, detail: string) {
    super(`error parsing glob '${glob}': ${detail}`);
  }
}

/** What the special characters mean. */
interface GlobOptions {
  /** `*` and `?` match `/` too; classes do anyway. */
  readonly crossSlash: boolean;
}

const MAX_PATTERN_CHARACTERS = 4096;

/** Compiles a pattern that must match a whole path; throws `GlobSyntaxError`. */
export function compileGlob(glob: string, options: GlobOptions): Regex {
  if (glob.length > MAX_PATTERN_CHARACTERS) {
    throw new GlobSyntaxError(`${glob.slice(0, 40)}…`, "pattern is too long");
  }
  const body = new Translator(glob, options).translate();
  try {
    return new Regex(`\\A(?:${body})\\z`, { ignoreCase: false, multiline: true });
  } catch (error) {
    // An unknown `[:class:]`, or far too much of everything.
    throw error instanceof RegexSyntaxError ? new GlobSyntaxError(glob, error.message) : error;
  }
}

class Translator {
  readonly #glob: string;
  readonly #chars: readonly string[];
  readonly #any: string;
  #at = 0;
  /** Where a name of the path, or a choice in braces, begins. */
  #begin = 0;
  /** Braces that are open. */
  #open = 0;

  constructor(glob: string, options: GlobOptions) {
    this.#glob = glob;
    this.#chars = [...glob];
    this.#any = options.crossSlash ? "." : "[^/]";
  }

  translate(): string {
    let result = "";
    for (; this.#at < this.#chars.length; this.#at += 1) {
      const char = this.#chars[this.#at] ?? "";
      if (char === "*") result += this.#stars();
      else if (char === "?") result += this.#any;
      else if (char === "[") result += this.#class();
      else if (char === "\\") result += this.#escaped();
      else if (char === "{") {
        this.#open += 1;
        result += this.#beginWith("(?:");
      } else if (char === "}") {
        if (this.#open === 0) throw this.#error("unopened alternate group; missing '{'");
        this.#open -= 1;
        result += ")";
      } else if (char === "," && this.#open > 0) result += this.#beginWith("|");
      else if (char === "/") result += this.#beginWith("/");
      else result += literal(char);
    }
    if (this.#open > 0) throw this.#error("unclosed alternate group; missing '}'");
    return result;
  }

  #error(detail: string): GlobSyntaxError {
    return new GlobSyntaxError(this.#glob, detail);
  }

  #beginWith(result: string): string {
    this.#begin = this.#at + 1;
    return result;
  }

  /** `**` is any number of directories when it stands alone between slashes or ends of a choice, else like `*`. */
  #stars(): string {
    const start = this.#at;
    while (this.#chars[this.#at + 1] === "*") this.#at += 1;
    const after = this.#chars[this.#at + 1];
    if (this.#at === start || start !== this.#begin) return `${this.#any}*`;
    if (after === "/") {
      this.#at += 1; // the slash belongs to the directories
      return this.#beginWith("(?:.*/)?");
    }
    const ends = after === undefined || (this.#open > 0 && (after === "," || after === "}"));
    return ends ? ".*" : `${this.#any}*`;
  }

  #escaped(): string {
    this.#at += 1;
    const char = this.#chars[this.#at];
    if (char === undefined) throw this.#error("dangling '\\'");
    return literal(char);
  }

  #class(): string {
    const unclosed = "unclosed character class; missing ']'";
    let members = "";
    let at = this.#at + 1;
    const negated = this.#chars[at] === "!" || this.#chars[at] === "^";
    if (negated) at += 1;
    const first = at;
    for (; at === first || this.#chars[at] !== "]"; at += 1) {
      const named = /^\[:\w+:\]/.exec(this.#chars.slice(at, at + 12).join(""))?.[0];
      if (named !== undefined) {
        members += named; // means the same in the regular expression
        at += named.length - 1;
        continue;
      }
      if (this.#chars[at] === "\\") at += 1;
      const from = this.#chars[at];
      if (from === undefined) throw this.#error(unclosed);
      const to = this.#chars[at + 2];
      if (this.#chars[at + 1] !== "-" || to === "]" || to === undefined) {
        members += literal(from);
        continue;
      }
      if (to < from) throw this.#error(`invalid range; '${from}' > '${to}'`);
      members += `${literal(from)}-${literal(to)}`;
      at += 2;
    }
    this.#at = at;
    return `[${negated ? "^" : ""}${members}]`;
  }
}

/** A character that stands for itself, whatever it means to the regular expression. */
function literal(char: string): string {
  return `\\x{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}
