/**
 * The scenarios of the specification "worker and tools", section 7, each with the test that is it. In
 * `tools/` a title begins with the number (`31: …`), or ends with it where a shell runs; in `worker/`
 * and `session/` it ends with it (`… (7)`); elsewhere, where other specifications number theirs, it
 * stands as `(worker 87)`.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LAST = 107;

/** Where titles have numbers, and how they stand there. */
const NUMBERED: readonly (readonly [place: string, where: Where])[] = [
  ["tools", "begin"],
  ["tools/bash", "end"],
  ["worker", "end"],
  ["session", "end"],
  ["controller", "marked"],
  ["model", "marked"],
  ["e2e", "marked"],
];

type Where = "begin" | "end" | "marked";

const PATTERNS: Readonly<Record<Where, RegExp>> = {
  begin: /^(\d+(?:(?:, | and )\d+)*): /,
  end: / \(([\dW, ]+)\)$/,
  marked: / \(worker ([\dW, ]+)\)$/,
};

function sourcesBelow(place: string): string[] {
  return readdirSync(import.meta.dir, { recursive: true, encoding: "utf8" })
    .filter((file) => file.startsWith(place) && file.endsWith(".test.ts"))
    .map((file) => readFileSync(join(import.meta.dir, file), "utf8"));
}

/** Numbers in the titles of tests, where this specification's stand. */
function numbersIn(source: string, where: Where): number[] {
  const titles = [
    ...source.matchAll(/\btest(?:\.each\([^]*?\))?\(\s*(["'`])((?:\\.|(?!\1).)*)\1/g),
  ];
  return titles.flatMap(([, , title = ""]) => {
    const list = PATTERNS[where].exec(title)?.[1];
    return (list?.match(/(?<![W\d])\d+/g) ?? []).map(Number);
  });
}

test("every scenario from 1 to 107 is a test", () => {
  const found = new Set(
    NUMBERED.flatMap(([place, where]) =>
      sourcesBelow(place).flatMap((source) => numbersIn(source, where)),
    ),
  );
  const missing = Array.from({ length: LAST }, (_, index) => index + 1).filter(
    (number) => !found.has(number),
  );
  expect(missing).toEqual([]);
});

test("a number counts only where a title has it", () => {
  const source =
    'test("31: Read", …); test("is kept (7, W6)", …); test("it (worker 87)", …); expect("40: no"); // (8)';
  expect(numbersIn(source, "begin")).toEqual([31]);
  expect(numbersIn(source, "end")).toEqual([7]);
  expect(numbersIn(source, "marked")).toEqual([87]);
});
