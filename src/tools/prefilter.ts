/**
 * Most files of a search do not match, and most of them show it by a piece of text that every match
 * must contain and they do not. Looking for that piece in the bytes is a hundred times faster than
 * asking the expression line by line. Wrong only in one direction: "maybe" where there is no match.
 */

/** Shorter pieces are in nearly every file. */
const MIN_LITERAL_CHARACTERS = 2;

/** False when the bytes of a whole file cannot match. */
export type Prefilter = (bytes: Buffer) => boolean;

/** A filter for a pattern in the syntax of RE2; undefined when nothing is known of its matches. */
export function prefilterFor(pattern: string, ignoreCase: boolean): Prefilter | undefined {
  const literal = requiredLiteral(pattern, ignoreCase);
  if (literal === undefined) return undefined;
  if (ignoreCase) {
    const lower = literal.toLowerCase();
    // Latin-1 leaves every ASCII byte what it is, wherever it stands.
    return (bytes) => isUtf16(bytes) || bytes.toString("latin1").toLowerCase().includes(lower);
  }
  const wanted = Buffer.from(literal);
  return (bytes) => isUtf16(bytes) || bytes.indexOf(wanted) !== -1;
}

/** UTF-16 with its mark is decoded before it is searched: its bytes are not those of the pattern. */
function isUtf16(bytes: Buffer): boolean {
  return (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
}

/**
 * The longest text that every match of the pattern contains, as far as it can be seen without
 * understanding groups; undefined when there is none, or for anything unusual.
 */
export function requiredLiteral(pattern: string, ignoreCase: boolean): string | undefined {
  // Flags inside the pattern, and quotation.
  if (/\(\?(?!:|P?<)|\\Q/.test(pattern)) return undefined;
  const chars = [...pattern];
  let best: string[] = [];
  let run: string[] = [];
  let depth = 0;
  const end = (): void => {
    if (run.length > best.length) best = run;
    run = [];
  };
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] ?? "";
    switch (char) {
      case "|":
        if (depth === 0) return undefined;
        end();
        break;
      case "(":
        depth += 1;
        end();
        break;
      case ")":
        depth -= 1;
        end();
        break;
      case "[": {
        end();
        const close = classEnd(chars, at);
        if (close === undefined) return undefined;
        at = close;
        break;
      }
      case "\\": {
        const next = chars[at + 1] ?? "";
        if (!/^[!-/:-@[-`{-~]$/.test(next)) {
          // A class, an assertion or a code: none of it is text as it stands.
          end();
          at = escapeEnd(chars, at);
        } else {
          at += 1;
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
        if (char === "{") at += repeatLength(chars, at);
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
  return best.length < MIN_LITERAL_CHARACTERS ? undefined : best.join("");

  function take(char: string): void {
    if (depth === 0 && isPlain(char, ignoreCase)) run.push(char);
    else end();
  }
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
      const close = chars.indexOf("]", at);
      if (close === -1) return undefined;
      at = close;
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
