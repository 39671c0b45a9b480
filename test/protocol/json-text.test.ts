import { expect, test } from "bun:test";
import fc from "fast-check";
import { textExcess } from "../../src/protocol/json-text.ts";
import { decodeMethod } from "../../src/protocol/method.ts";

const LIMITS = { depth: 3, values: 4 };

test.each([
  ["[[[]]]", undefined],
  ["[[[[", "depth"],
  ['{"a":[{"b":[', "depth"],
  ["[][][][][]", undefined],
  ["[1,2,3,4,5]", undefined],
  ["1,2,3,4,5,6", "values"],
  ['"[[[[,,,,,,\\"[[[["', undefined],
  ['"\\\\"[[[[', "depth"],
  ['"never ended [[[[[ ,,,,,,,', undefined],
] as const)("of %s", (text, excess) => {
  expect(textExcess(text, LIMITS)).toBe(excess);
});

test("JSON within the limits is never refused, and deeper JSON always", () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? 1 + Math.max(0, ...Object.values(value).map(depthOf))
      : 0;
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
      const excess = textExcess(JSON.stringify(value), { depth: 3, values: 1_000_000 });
      expect(excess).toBe(depthOf(value) > 3 ? "depth" : undefined);
    }),
  );
});

test("a line of brackets or commas is refused before it is parsed", () => {
  // Unfinished: a parser would complain of that.
  expect(decodeMethod("[".repeat(1_000_000))).toEqual({
    ok: false,
    reason: "nested deeper than 128 levels",
  });
  const { ok, reason } = { reason: "", ...decodeMethod(`[${"1,".repeat(2_000_001)}`) };
  expect(ok).toBe(false);
  expect(reason).toStartWith("more than 32768 values in a line");
});
