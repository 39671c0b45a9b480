/**
 * What a regular expression in the syntax of RE2 says about texts before any is read: some piece that
 * every match must contain. Sound, not clever: what it does not understand, it says nothing about.
 */

/** Shorter pieces are in nearly every file. */
const MIN_CHARACTERS = 2;
/** More pieces than this take as long to look for as the expression does. */
const MAX_TEXTS = 8;

/** Counts, operands of escapes and names of groups that are longer than the reader looks ahead. */
const LONG_WINDED = /\{[\d,]{13,}|\\[xpP]\{[^}]{30,}|\(\?P?<\w{59,}/;

/** Every match contains one of these; undefined when nothing is known. */
type Texts = readonly string[] | undefined;

/**
 * Texts of which every match of the pattern contains at least one, the longest that can be had;
 * undefined when there are none, or for anything unusual.
 */
export function requiredTexts(pattern: string, ignoreCase: boolean): Texts {
  // Flags inside the pattern, and quotation.
  if (/\(\?(?!:|P?<)|\\Q/.test(pattern)) return undefined;
  if (LONG_WINDED.test(pattern)) return undefined;
  return new Reader([...pattern], ignoreCase).read();
}

class Reader {
  readonly #chars: readonly string[];
  readonly #ignoreCase: boolean;
  #at = 0;

  constructor(chars: readonly string[], ignoreCase: boolean) {
    this.#chars = chars;
    this.#ignoreCase = ignoreCase;
  }

  read(): Texts {
    const texts = this.#alternatives();
    return this.#at === this.#chars.length ? texts : undefined;
  }

  /** Up to the bracket that closes, or the end: one text of each alternative, or nothing. */
  #alternatives(): Texts {
    let all: Texts = this.#sequence();
    while (this.#chars[this.#at] === "|") {
      this.#at += 1;
      const next = this.#sequence();
      all = all === undefined || next === undefined ? undefined : [...all, ...next];
    }
    return all === undefined || all.length > MAX_TEXTS ? undefined : [...new Set(all)];
  }

  #sequence(): Texts {
    const chars = this.#chars;
    let best: Texts;
    let run: string[] = [];
    const end = (): void => {
      best = better(best, [run.join("")]);
      run = [];
    };
    const take = (char: string): void => {
      if (isPlain(char, this.#ignoreCase)) run.push(char);
      else end();
    };
    for (; this.#at < chars.length; this.#at += 1) {
      const char = chars[this.#at] ?? "";
      switch (char) {
        case "|":
        case ")":
          end();
          return best;
        case "(":
          end();
          best = better(best, this.#group());
          break;
        case "[": {
          end();
          const close = classEnd(chars, this.#at);
          if (close === undefined) return undefined;
          this.#at = close;
          break;
        }
        case "\\": {
          const next = chars[this.#at + 1] ?? "";
          if (!/^[!-/:-@[-`{-~]$/.test(next)) {
            // A class, an assertion or a code: none of it is text as it stands.
            end();
            this.#at = escapeEnd(chars, this.#at);
          } else {
            this.#at += 1;
            take(next);
          }
          break;
        }
        case "*":
        case "?":
        case "{":
          // What is before it may be absent.
          run.pop();
          end();
          if (char === "{") this.#at += repeatLength(chars, this.#at);
          break;
        case "+":
        case ".":
        case "^":
        case "$":
        case "}":
          end();
          break;
        default:
          take(char);
      }
    }
    end();
    return best;
  }

  /** From its opening bracket to its closing one; nothing when the group may be absent. */
  #group(): Texts {
    const rest = this.#chars.slice(this.#at + 1, this.#at + 66).join("");
    this.#at += 1 + [...(/^\?(?::|P?<\w*>)/.exec(rest)?.[0] ?? "")].length;
    const texts = this.#alternatives();
    if (this.#chars[this.#at] !== ")") return undefined;
    return /^[*?{]$/.test(this.#chars[this.#at + 1] ?? "") ? undefined : texts;
  }
}

/** The one whose shortest text is longer; a text that is too short counts as nothing. */
function better(a: Texts, b: Texts): Texts {
  if (b === undefined || shortest(b) < MIN_CHARACTERS) return a;
  return a === undefined || shortest(b) > shortest(a) ? b : a;
}

function shortest(texts: readonly string[]): number {
  return Math.min(...texts.map((text) => text.length));
}

/** K and S have relatives outside ASCII that match when case is ignored; bad bytes match U+FFFD. */
function isPlain(char: string, ignoreCase: boolean): boolean {
  return ignoreCase ? /^[\u0001-\u007f]$/.test(char) && !/[ks]/i.test(char) : char !== "\ufffd";
}

/** Index of the bracket that closes a class. */
function classEnd(chars: readonly string[], start: number): number | undefined {
  let at = start + 1;
  if (chars[at] === "^") at += 1;
  for (let first = true; at < chars.length; at += 1, first = false) {
    if (chars[at] === "\\") at = escapeEnd(chars, at);
    else if (chars[at] === "[" && chars[at + 1] === ":") {
      // A name ends with `:]`, wherever that stands; without it the two are characters like others.
      const close = chars.findIndex((char, i) => i > at && char === ":" && chars[i + 1] === "]");
      if (close !== -1) at = close + 1;
    } else if (chars[at] === "]" && !first) return at;
  }
  return undefined;
}

/** Index of the last character of an escape: `\d`, `\x41`, `\x{1F600}`, `\pL`, `\p{Greek}`, `\012`. */
function escapeEnd(chars: readonly string[], at: number): number {
  const letter = chars[at + 1] ?? "";
  const rest = chars.slice(at + 2, at + 40).join("");
  const operand =
    letter === "x" || letter === "p" || letter === "P"
      ? (/^\{[^}]*\}/.exec(rest)?.[0] ?? rest.slice(0, letter === "x" ? 2 : 1))
      : /[0-7]/.test(letter)
        ? (/^[0-7]{0,2}/.exec(rest)?.[0] ?? "")
        : "";
  return at + 1 + [...operand].length;
}

/** Length of a counted repetition after its brace; 0 for a brace that is only a brace. */
function repeatLength(chars: readonly string[], at: number): number {
  const rest = chars.slice(at, at + 16).join("");
  return (/^\{\d+(?:,\d*)?\}/.exec(rest)?.[0].length ?? 1) - 1;
}
