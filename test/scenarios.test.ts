/**
 * Every scenario of the specification "registry and spawn", section 9, is a test: its number closes
 * the title of one, in parentheses, alone or in a list: `is refused (21)`, `(75, 100)`, `(61, W34)`.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LAST = 108;

/** Where they are looked for; other folders count the scenarios of other specifications. */
const PLACES = [
  "base",
  "controller",
  "e2e",
  "faults",
  "races",
  "registry",
  "scope",
  "session",
  "spawn",
  "tools/scoped-fs.test.ts",
  "tools/write.test.ts",
];

/** Restoring a session (105, 106) comes with the session store. */
const LATER = [105, 106];

/** The numbers that close a string in this source. */
function numbersIn(source: string): number[] {
  const closing = / \(((?:W?[\d.]+)(?:, W?[\d.]+)*)\)["'`]/g;
  return [...source.matchAll(closing)]
    .flatMap(([, list = ""]) => list.split(", "))
    .filter((item) => /^\d+$/.test(item))
    .map(Number);
}

function testFiles(): string[] {
  const all = readdirSync(import.meta.dir, { recursive: true, encoding: "utf8" });
  return all.filter(
    (file) => file.endsWith(".test.ts") && PLACES.some((at) => file.startsWith(at)),
  );
}

test("every scenario from 1 to 108 closes the title of a test", () => {
  const found = new Set(
    testFiles().flatMap((file) => numbersIn(readFileSync(join(import.meta.dir, file), "utf8"))),
  );
  const all = Array.from({ length: LAST }, (_, index) => index + 1);
  expect(all.filter((number) => !found.has(number))).toEqual(LATER);
});

test("a number counts only where it closes a title", () => {
  expect(numbersIn('test("is refused (21)", … "a (75, W3, 100)" …')).toEqual([21, 75, 100]);
  expect(numbersIn('"x".repeat(65); expect(f(7)).toBe("a (8) b")')).toEqual([]);
});
