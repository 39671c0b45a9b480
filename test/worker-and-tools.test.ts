/**
 * The scenarios of the specification "worker and tools", section 7, each with the test that is it. In
 * `tools/` a title begins with the number (`31: …`), or ends with it where a shell runs; in `worker/`
 * and `session/` it ends with it (`… (7)`); elsewhere, where other specifications number theirs, it
 * stands as `(worker 87)`, or the test is named here.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LAST = 107;

/** Scenarios whose tests carry numbers of another specification, or none. */
const NAMED: Readonly<Record<number, { readonly place: string; readonly title: string }>> = {
  11: {
    place: "e2e/",
    title: "a call that was under way is closed as interrupted and not run again",
  },
  23: { place: "controller/", title: "holds 128 notes; the oldest go when more come" },
  25: { place: "model/", title: "a 429 with Retry-After %p is tried again after that time" },
  30: {
    place: "controller/",
    title: "is in the history with its segments joined, and shown again",
  },
};

/** Where titles have numbers, and how they stand there. */
const NUMBERED: readonly (readonly [place: string, where: Where])[] = [
  ["tools", "begin"],
  ["tools/bash.test.ts", "end"],
  ["worker", "end"],
  ["session", "end"],
  ["controller", "marked"],
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
  const missing = Array.from({ length: LAST }, (_, index) => index + 1).filter((number) => {
    const named = NAMED[number];
    if (named === undefined) return !found.has(number);
    return !sourcesBelow(named.place).some((source) => source.includes(named.title));
  });
  expect(missing).toEqual([]);
});

test("a number counts only where a title has it", () => {
  const source =
    'test("31: Read", …); test("is kept (7, W6)", …); test("it (worker 87)", …); expect("40: no"); // (8)';
  expect(numbersIn(source, "begin")).toEqual([31]);
  expect(numbersIn(source, "end")).toEqual([7]);
  expect(numbersIn(source, "marked")).toEqual([87]);
});
