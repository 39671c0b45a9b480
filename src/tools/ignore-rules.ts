/**
 * The patterns of ignore files, by gitignore(5): the npm package `ignore`. It judges a path by the
 * directories above it too; where somebody decides otherwise and goes into an ignored directory,
 * `enter` has to say so.
 */
import ignore, { type Ignore } from "ignore";

/** What the rules say about a path; undefined when they say nothing. */
export type IgnoreVerdict = "ignore" | "keep" | undefined;

/** Bounds for files that nobody wrote by hand, and for what the package remembers of each path. */
const MAX_RULES = 10_000;
const MAX_REMEMBERED = 10_000;

/** Rules for the paths below one directory. Of several that match, the last decides. */
export class IgnoreRules {
  #rules: Ignore = ignore({ ignorecase: false });
  #asked = 0;

  /** Rules of single patterns. One that cannot be read matches nothing, as in git. */
  static of(patterns: readonly string[]): IgnoreRules {
    const rules = new IgnoreRules();
    rules.#rules.add(patterns.slice(0, MAX_RULES));
    return rules;
  }

  /** Reads a file's text. */
  static parse(text: string): IgnoreRules {
    return IgnoreRules.of(text.split("\n"));
  }

  /** Verdict on `relative`, a path below the directory of the rules. */
  test(relative: string, isDirectory: boolean): IgnoreVerdict {
    this.#asked += 1;
    if (this.#asked % MAX_REMEMBERED === 0) {
      this.#rules = ignore({ ignorecase: false }).add(this.#rules);
    }
    const { ignored, unignored } = this.#rules.test(isDirectory ? `${relative}/` : relative);
    return ignored ? "ignore" : unignored ? "keep" : undefined;
  }

  /** Notes that the directory is searched whatever the rules say: they still judge what is in it. */
  enter(relative: string): void {
    if (this.test(relative, true) !== "ignore") return;
    this.#rules.add(`!/${relative.replace(/[\\*?[\]\s]/g, "\\$&")}/`);
  }
}
