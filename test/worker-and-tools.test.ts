/**
 * The scenarios of the specification "worker and tools", section 7, that concern loop, notices and
 * file tools (1 to 71), each with the test that is it: in `tools/` a title begins with the number
 * (`31: …`), in `worker/` it ends with it (`… (7)`), other tests are named here. Those of the shell
 * (72 to 82), of compaction and sessions (11, 22, 83 to 107) are with these parts.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LAST = 71;
const ELSEWHERE = [11, 22];

/** Scenarios whose tests carry numbers of another specification, or none. */
const NAMED: Readonly<Record<number, { readonly place: string; readonly title: string }>> = {
  23: { place: "controller/", title: "holds 128; the oldest goes when one more comes" },
  25: { place: "model/", title: "a 429 with Retry-After is tried again after that time" },
  30: {
    place: "controller/",
    title: "is in the history with its segments joined, and shown again",
  },
};

function sourcesBelow(place: string): string[] {
  return readdirSync(join(import.meta.dir, place), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => readFileSync(join(import.meta.dir, place, file), "utf8"));
}

/** Numbers in the titles of tests, where this specification's stand. */
function numbersIn(source: string, where: "begin" | "end"): number[] {
  const titles = [
    ...source.matchAll(/\btest(?:\.each\([^]*?\))?\(\s*(["'`])((?:\\.|(?!\1).)*)\1/g),
  ];
  return titles.flatMap(([, , title = ""]) => {
    const list =
      where === "begin"
        ? /^(\d+(?:(?:, | and )\d+)*): /.exec(title)?.[1]
        : / \(([\dW, ]+)\)$/.exec(title)?.[1];
    return (list?.match(/(?<![W\d])\d+/g) ?? []).map(Number);
  });
}

test("every scenario from 1 to 71 is a test", () => {
  const found = new Set([
    ...sourcesBelow("tools").flatMap((source) => numbersIn(source, "begin")),
    ...sourcesBelow("worker").flatMap((source) => numbersIn(source, "end")),
  ]);
  const missing = Array.from({ length: LAST }, (_, index) => index + 1).filter((number) => {
    if (ELSEWHERE.includes(number)) return false;
    const named = NAMED[number];
    if (named === undefined) return !found.has(number);
    return !sourcesBelow(named.place).some((source) => source.includes(named.title));
  });
  expect(missing).toEqual([]);
});

test("a number counts only where a title has it", () => {
  const source = 'test("31: Read", …); test("is kept (7, W6)", …); expect("40: no"); // (8)';
  expect(numbersIn(source, "begin")).toEqual([31]);
  expect(numbersIn(source, "end")).toEqual([7]);
});
