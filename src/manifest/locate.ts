/**
 * Where a key stands in TOML text: smol-toml keeps no positions of what it parsed, so a scanner over
 * headers and keys finds them again. It reads text that smol-toml has accepted and judges nothing;
 * on other text it still ends and gives some line, never an error.
 */

/** Names of tables and keys, and indices of array elements, from the document's root. */
export type KeyPath = readonly (string | number)[];

const BARE_KEY = /[A-Za-z0-9_-]/;
const DIGITS_OF_ESCAPE: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const ESCAPES: Readonly<Record<string, string>> = {
  b: "\b",
  t: "\t",
  n: "\n",
  f: "\f",
  r: "\r",
  e: "\u001b",
};

/** Deeper than any key that means something; a name of a hundred thousand parts must not hold us up. */
const MAX_DEPTH = 64;

const keyOf = (path: KeyPath): string => JSON.stringify(path);

/** One pass over a document; `lines` then knows every key, table and array element. */
class Scanner {
  readonly lines = new Map<string, number>();
  /** Lines of tables that are only implied by a longer name; a header of their own replaces them. */
  readonly implied = new Map<string, number>();
  readonly #text: string;
  #at = 0;
  #line = 1;
  /** Elements so far of each array of tables. */
  readonly #elements = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  run(): void {
    let table: KeyPath = [];
    while (this.#at < this.#text.length) {
      this.#skipBlank();
      const before = this.#at;
      if (this.#peek() === "[") table = this.#header();
      else if (this.#at < this.#text.length) this.#pair(table);
      // A stray character: text that is not TOML must not hold us up.
      if (this.#at === before) this.#advance();
    }
  }

  #peek(ahead = 0): string {
    return this.#text[this.#at + ahead] ?? "";
  }

  #advance(count = 1): void {
    for (let i = 0; i < count && this.#at < this.#text.length; i += 1) {
      if (this.#text[this.#at] === "\n") this.#line += 1;
      this.#at += 1;
    }
  }

  /** Blanks, line ends and comments. */
  #skipBlank(): void {
    for (;;) {
      const character = this.#peek();
      if (character === "#") this.#skipLine();
      else if (character !== "" && " \t\r\n".includes(character)) this.#advance();
      else return;
    }
  }

  #skipLine(): void {
    while (this.#at < this.#text.length && this.#peek() !== "\n") this.#advance();
  }

  #record(path: KeyPath, line: number): void {
    const key = keyOf(path);
    if (!this.lines.has(key)) this.lines.set(key, line);
    for (let length = path.length - 1; length > 0; length -= 1) {
      const prefix = keyOf(path.slice(0, length));
      if (!this.implied.has(prefix)) this.implied.set(prefix, line);
    }
  }

  /** `[a.b]` or `[[a.b]]`: the path of the table that the following keys belong to. */
  #header(): KeyPath {
    const line = this.#line;
    const isArray = this.#peek(1) === "[";
    this.#advance(isArray ? 2 : 1);
    const names = this.#dottedKey();
    this.#skipLine();
    const path: (string | number)[] = [];
    for (const [index, name] of names.entries()) {
      path.push(name);
      const key = keyOf(path);
      const isLast = index === names.length - 1;
      if (isArray && isLast) {
        this.#record(path, line);
        this.#elements.set(key, (this.#elements.get(key) ?? 0) + 1);
      }
      const elements = this.#elements.get(key);
      if (elements !== undefined) path.push(elements - 1);
    }
    this.#record(path, line);
    return path;
  }

  /** `key = value` below `table`, at the top level or inside an inline table. */
  #pair(table: KeyPath): void {
    const line = this.#line;
    const path = [...table, ...this.#dottedKey()];
    if (this.#peek() !== "=") return;
    this.#advance();
    this.#record(path, line);
    this.#value(path);
  }

  /** Names separated by dots, the first of very many, with the blanks around them consumed. */
  #dottedKey(): string[] {
    const names: string[] = [];
    for (;;) {
      this.#skipSpaces();
      const name = this.#name();
      if (names.length < MAX_DEPTH) names.push(name);
      this.#skipSpaces();
      if (this.#peek() !== ".") return names;
      this.#advance();
    }
  }

  #skipSpaces(): void {
    while (this.#peek() === " " || this.#peek() === "\t") this.#advance();
  }

  #name(): string {
    if (this.#peek() === '"' || this.#peek() === "'") return this.#string();
    const start = this.#at;
    while (BARE_KEY.test(this.#peek())) this.#advance();
    return this.#text.slice(start, this.#at);
  }

  #value(path: KeyPath): void {
    this.#skipSpaces();
    const character = this.#peek();
    if (character === '"' || character === "'") this.#string();
    else if (character === "[") this.#array(path);
    else if (character === "{") this.#inlineTable(path);
    else while (!/^[,\]}#\n]?$/.test(this.#peek())) this.#advance();
  }

  #array(path: KeyPath): void {
    this.#advance();
    for (let index = 0; ; index += 1) {
      this.#skipBlank();
      if (this.#peek() === "]" || this.#peek() === "") break;
      this.#record([...path, index], this.#line);
      const before = this.#at;
      this.#value([...path, index]);
      this.#skipBlank();
      if (this.#peek() === "," || this.#at === before) this.#advance();
    }
    this.#advance();
  }

  #inlineTable(path: KeyPath): void {
    this.#advance();
    for (;;) {
      this.#skipBlank();
      if (this.#peek() === "}" || this.#peek() === "") break;
      const before = this.#at;
      this.#pair(path);
      this.#skipBlank();
      if (this.#peek() === "," || this.#at === before) this.#advance();
    }
    this.#advance();
  }

  /** Consumes a string of any of the four kinds and gives its text (that of keys is what matters). */
  #string(): string {
    const quote = this.#peek();
    const isLong = this.#peek(1) === quote && this.#peek(2) === quote;
    const end = isLong ? quote.repeat(3) : quote;
    this.#advance(end.length);
    let text = "";
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at)) {
      if (quote === '"' && this.#peek() === "\\") text += this.#escape();
      else {
        text += this.#peek();
        this.#advance();
      }
    }
    this.#advance(end.length);
    // Up to two quotes may stand directly before the closing three.
    while (isLong && this.#peek() === quote) this.#advance();
    return text;
  }

  #escape(): string {
    const letter = this.#peek(1);
    const digits = DIGITS_OF_ESCAPE[letter];
    if (digits === undefined) {
      this.#advance(2);
      return ESCAPES[letter] ?? letter;
    }
    const code = Number.parseInt(this.#text.slice(this.#at + 2, this.#at + 2 + digits), 16);
    this.#advance(2 + digits);
    return code <= 0x10_ffff ? String.fromCodePoint(code) : "";
  }
}

function scanned(text: string): Scanner {
  const scanner = new Scanner(text);
  scanner.run();
  return scanner;
}

/**
 * A function from a key path to the line (from 1) on which it stands in `text`. Of a key that is
 * not there it gives the line of the nearest table or value around it, and 1 for the document itself.
 */
export function lineFinder(text: string): (path: KeyPath) => number {
  const { lines, implied } = scanned(text);
  return (path) => {
    for (let length = path.length; length > 0; length -= 1) {
      const key = keyOf(path.slice(0, length));
      const line = lines.get(key) ?? implied.get(key);
      if (line !== undefined) return line;
    }
    return 1;
  };
}

/** As `lineFinder`, but undefined for a key that is not written there. */
export function writtenLines(text: string): (path: KeyPath) => number | undefined {
  const { lines } = scanned(text);
  return (path) => lines.get(keyOf(path));
}
