/**
 * Regular expressions for text of unknown size: RE2 (npm `re2js`), because JavaScript's own RegExp
 * backtracks, for minutes on one unlucky line, and cannot be interrupted. RE2 takes linear time but
 * cannot be interrupted either: so callers search line by line and rest in between.
 */
import { RE2JS, RE2JSException } from "re2js";

/** Why a pattern cannot be used; the message completes `invalid regex: `. */
export class RegexSyntaxError extends Error {
  override readonly name = "RegexSyntaxError";
}

/** The most that any pattern may search at once, in characters: a line in 8 ms, `spans` in 100. */
export const MAX_SEARCHED_CHARACTERS = 1024 * 1024;
/** Instructions of a compiled pattern; repetitions are written out. */
const MAX_PROGRAM = 5000;
/**
 * Characters times instructions. Where RE2 must give up its automaton, which takes a pattern and a
 * text made for each other, each costs 20 ns, and the longest text 0.6 s.
 */
const MAX_WORK = 32_000_000;
/** Most characters of a block. */
const MAX_BLOCK = 16 * 1024;

/** `multiline`: `.` matches a newline (Grep's option). */
interface RegexOptions {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
}

/** Part of a text, in UTF-16 units; `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A compiled pattern. `^` and `$` mean lines. */
export class Regex {
  readonly #re2: RE2JS;
  /** Most characters to search at once; longer texts must be left out. */
  readonly longest: number;
  /** True when a line that matches by itself also does so among others: what is asked of many holds for each. */
  readonly linesAreAlone: boolean;
  /** Most characters to ask at once only to spare asking their lines. */
  readonly block: number;

  /** Throws `RegexSyntaxError`. */
  constructor(pattern: string, { ignoreCase, multiline }: RegexOptions) {
    this.#re2 = compile(pattern, `(?m${multiline ? "s" : ""}${ignoreCase ? "i" : ""})`);
    const size = this.#re2.programSize();
    if (size > MAX_PROGRAM) throw new RegexSyntaxError("expression too large");
    // Anchors of the text, or flags that make `^` and `$` such.
    this.linesAreAlone = !/\\[AzZ]|\(\?(?!:|P?<)/.test(pattern);
    this.longest = Math.min(MAX_SEARCHED_CHARACTERS, Math.floor(MAX_WORK / size));
    // A sixteenth: the pattern that costs most for each character still gets its rests.
    this.block = Math.min(MAX_BLOCK, Math.floor(this.longest / 16));
  }

  /** True when the pattern matches anywhere in the text. */
  test(text: string): boolean {
    return this.#re2.test(text);
  }

  /** All matches from left to right, not overlapping. */
  *spans(text: string): Generator<Span> {
    // Finding takes ten times as long as testing.
    if (!this.#re2.test(text)) return;
    const matcher = this.#re2.matcher(text);
    while (matcher.find()) yield { start: matcher.start(), end: matcher.end() };
  }
}

function compile(pattern: string, flags: string): RE2JS {
  try {
    return RE2JS.compile(flags + pattern);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    const detail = error.message.replace("error parsing regexp: ", "").replace(flags, "");
    throw new RegexSyntaxError(detail);
  }
}
