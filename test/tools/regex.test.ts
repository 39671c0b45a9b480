import { expect, test } from "bun:test";
import fc from "fast-check";
import { matchingLines } from "../../src/tools/grep-match.ts";
import { Pace } from "../../src/tools/pace.ts";
import { Regex, RegexSyntaxError } from "../../src/tools/regex.ts";

const pace = (limitMs?: number): Pace => new Pace(new AbortController().signal, limitMs);

/** Measures the work between two rests, and nothing else that the process does meanwhile. */
class SliceWatch extends Pace {
  /** Milliseconds of this thread on a processor: on a busy machine it also waits for one. */
  longest = 0;
  #began = worked();

  override async rest(): Promise<void> {
    this.ended();
    await super.rest();
    this.#began = worked();
  }

  ended(): void {
    this.longest = Math.max(this.longest, worked() - this.#began);
  }
}

function worked(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

const compile = (pattern: string, multiline = false, ignoreCase = false): Regex =>
  new Regex(pattern, { multiline, ignoreCase });
const matches = (pattern: string, text: string): boolean => compile(pattern).test(text);

/** Line numbers (0-based) that match. */
async function linesOf(regex: Regex, text: string, watch = pace()): Promise<number[]> {
  const found: number[] = [];
  let line = 0;
  let counted = 0;
  for await (const { start } of matchingLines(regex, text, 0, false, watch)) {
    for (; counted < start; counted += 1) if (text[counted] === "\n") line += 1;
    found.push(line);
  }
  return found;
}

/** Patterns that mean the same to us and to JavaScript. A repeated part is never empty. */
const pattern = fc.letrec<{ any: string; solid: string }>((tie) => ({
  solid: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom("a", "b", "c", ".", "[ab]", "[^a]", "\\x62", "\\.", "\\n"),
    fc.tuple(tie("any"), tie("solid")).map((parts) => parts.join("")),
    fc.tuple(tie("solid"), tie("solid")).map(([a, b]) => `(?:${a}|${b})`),
    fc
      .tuple(tie("solid"), fc.constantFrom("+", "+?", "{2}", "{1,2}", "{1,}?"))
      .map(([node, times]) => `(${node})${times}`),
  ),
  any: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom("", "^", "$", "\\b", "\\B"),
    tie("solid"),
    fc
      .tuple(tie("solid"), fc.constantFrom("*", "*?", "?", "??", "{0,2}", "{0,2}?"))
      .map(([node, times]) => `(?:${node})${times}`),
    fc.tuple(tie("any"), tie("any")).map(([a, b]) => `(?:${a}|${b})`),
    fc.tuple(tie("any"), tie("any")).map((parts) => parts.join("")),
  ),
})).any;
const text = fc.string({ unit: fc.constantFrom("a", "b", "c", ".", " ", "\n"), maxLength: 24 });

test("the lines found are those that JavaScript's RegExp finds one by one", async () => {
  const inLines = pattern.filter((source) => !source.includes("\\n"));
  await fc.assert(
    fc.asyncProperty(inLines, text, async (source, content) => {
      const lines = content.split("\n");
      if (lines.at(-1) === "") lines.pop();
      const expected = lines.flatMap((line, index) =>
        new RegExp(source, "u").test(line) ? [index] : [],
      );
      expect(await linesOf(compile(source), content)).toEqual(expected);
    }),
    { numRuns: 3000 },
  );
});

test("matches over several lines are those of JavaScript's RegExp", () => {
  fc.assert(
    fc.property(pattern, text, (source, content) => {
      const expected = [...content.matchAll(new RegExp(source, "gmsu"))].map((match) => ({
        start: match.index,
        end: match.index + match[0].length,
      }));
      expect([...compile(source, true).spans(content)]).toEqual(expected);
    }),
    { numRuns: 3000 },
  );
});

test("lines are told apart from the text they are part of", async () => {
  const content = "one\ntwo\n\nthree";
  for (const [source, lines] of [
    ["\\Ao", [0]],
    ["\\At", [1, 3]],
    ["o\\z", [1]],
    ["(?-m)^t", [1, 3]],
    ["(?-m:e$)", [0, 3]],
    ["^$", [2]],
    ["e\\s", []],
    ["[^x]t", []],
  ] as const) {
    expect(await linesOf(compile(source), content), source).toEqual([...lines]);
  }
  expect([...compile("\\At|o\\z", true).spans(content)]).toEqual([]);
});

test("a line that is too long for the pattern makes a text unsearchable", async () => {
  const regex = compile("x{500}y");
  const fits = `a\n${"z".repeat(regex.longest - 1)}\n`;
  expect(await linesOf(regex, fits)).toEqual([]);
  await expect(linesOf(regex, `a\nzz${fits.slice(2)}`)).rejects.toThrow("line too long");
});

test("the dialect is that of RE2", () => {
  expect(matches("^\\p{Greek}\\pL\\P{L}$", "λx1")).toBe(true);
  expect(matches("^[^a]$", "😀")).toBe(true);
  expect(matches("^.$", "😀")).toBe(true);
  expect(matches("\\x{1F600}", "😀")).toBe(true);
  expect(matches("^[[:alpha:]_]+$", "a_B")).toBe(true);
  expect(matches("^[]a-]+$", "]a-")).toBe(true);
  expect(matches("\\Qa.b\\E", "a.b")).toBe(true);
  expect(matches("interface{}", "interface{}")).toBe(true);
  expect(matches("fn \\w+\\(.*\\) {$", "fn main() {")).toBe(true);
  expect(matches("foo$", "foo\r")).toBe(false);
  // Only what is in ASCII is a word, a digit or a blank.
  expect(matches("^\\w+$", "größe")).toBe(false);
  expect(matches("\\d|\\s", "٣\u3000")).toBe(false);
  expect([...compile("😀+.b", true).spans("x😀😀😁b")]).toEqual([{ start: 1, end: 8 }]);
});

test("case is ignored as Unicode folds it", () => {
  expect(compile("straße", false, true).test("STRAßE")).toBe(true);
  expect(compile("[k]", false, true).test("\u212a")).toBe(true);
  expect(compile("[^x]", false, true).test("X")).toBe(false);
  expect(matches("(?i)a(?-i)b", "Ab")).toBe(true);
  expect(matches("(?i)a(?-i)b", "AB")).toBe(false);
  expect(matches("(?i:a)b", "AB")).toBe(false);
});

const invalid: readonly (readonly [string, string])[] = [
  ["(", "missing closing ): `(`"],
  [")", "unexpected ): `)`"],
  ["[a", "missing closing ]: `[a`"],
  ["*a", "missing argument to repetition operator: `*`"],
  ["a(?=b)", "invalid or unsupported Perl syntax: `(?=`"],
  ["a(?!b)", "invalid or unsupported Perl syntax: `(?!`"],
  ["(?<=a)b", "invalid named capture: `(?<=a)b`"],
  ["(?<!a)b", "invalid named capture: `(?<!a)b`"],
  ["(a)\\1", "invalid escape sequence: `\\1`"],
  ["\\", "trailing backslash at end of expression"],
  ["\\y", "invalid escape sequence: `\\y`"],
  ["\\p{Nonsense}", "invalid character class range: `\\p{Nonsense}`"],
  ["[b-a]", "invalid character class range: `b-a`"],
  ["a{3,2}", "invalid repeat count: `{3,2}`"],
  ["a{2000}", "invalid repeat count: `{2000}`"],
  ["((a{100}){100}){100}", "invalid repeat count: `{100}`"],
  ["(?:abcdefgh){900}", "expression too large"],
  [`${"(".repeat(2000)}${")".repeat(2000)}`, "expression nests too deeply"],
];

test("what the dialect does not have is refused with a reason", () => {
  for (const [source, reason] of invalid) {
    expect(() => compile(source), source).toThrow(new RegexSyntaxError(reason));
  }
});

test("any text is either compiled or refused with a syntax error", () => {
  const source = fc.string({ unit: fc.constantFrom(..."ab\\()[]{}|*+?^$.-:=!<>&P1,pwu i") });
  fc.assert(
    fc.property(source, (candidate) => {
      try {
        compile(candidate, true).test("a(b)[1]{2}");
      } catch (error) {
        expect(error).toBeInstanceOf(RegexSyntaxError);
      }
    }),
    { numRuns: 5000 },
  );
});

test("patterns that make a backtracking engine hang take linear time in short slices", async () => {
  const long = "const a=1;".repeat(50_000); // on a line like this `a.*b` took minutes in JavaScript
  // Makes RE2 give up its automaton: no two places of this text look the same.
  let random = 1;
  const ab = Array.from({ length: 200_000 }, () => {
    random = (random * 48_271) % 2_147_483_647;
    return random % 2 === 0 ? "a" : "b";
  }).join("");
  const lines = ab.replace(/.{400}/g, "$&\n");
  const evil: readonly (readonly [string, string])[] = [
    ["a.*[bd]", long],
    ["(x+x+)+y", "x".repeat(500_000)],
    ["(\\w+\\s*)+:$", long],
    ["(a|aa)+$", `${"a".repeat(500_000)}!`],
    ["(.*)(.*)(.*)(.*)[qz]", long],
    ["(a|b|c|[0-9]){300}x$", "abc123\n".repeat(200_000)],
    ["[ab]*a[ab]{20}[cd]", lines],
    ["[ab]*a[ab]{14}[cd]", lines],
    ["a[ab]{300}[cd]", lines],
  ];
  for (const [source, content] of evil) {
    const regex = compile(source);
    const watch = new SliceWatch(new AbortController().signal);
    expect(await linesOf(regex, content, watch)).toEqual([]);
    watch.ended();
    // 50 ms is the project's limit (I7); the rest is for a slow machine.
    expect(watch.longest, source).toBeLessThan(250);
  }
  // Seconds of work, and a busy machine has other things to do: the slices are what is measured.
}, 180_000);

test("a search ends when its time is up, and when it is cancelled", async () => {
  const content = "ab\n".repeat(4_000_000);
  expect(await linesOf(compile("b$"), content, pace(0))).not.toContain(50_000);
  const controller = new AbortController();
  const searching = linesOf(compile("[ab]*[cd]"), content, new Pace(controller.signal));
  controller.abort();
  await expect(searching).rejects.toThrow("cancelled");
});
