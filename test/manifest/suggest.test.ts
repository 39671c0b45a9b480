import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, nearestName } from "../../src/manifest/suggest.ts";

const known = ["ref", "scheme", "max_turns", "max_tokens", "stop_sequences"];

test.each([
  ["max_turn", "max_turns"],
  ["max-tokens", "max_tokens"],
  ["MAX_TURNS", "max_turns"],
  ["sheme", "scheme"],
  ["shceme", "scheme"],
  ["rev", "ref"],
  ["stop_sequence", "stop_sequences"],
])("`%s` was meant to be `%s`", (written, meant) => {
  expect(nearestName(written, known)).toBe(meant);
});

test.each(["", "x", "abc", "temperature", "reference_manual", "s".repeat(10_000)])(
  "nothing is near `%s`",
  (written) => {
    expect(nearestName(written, known)).toBeUndefined();
  },
);

test("the distance is symmetric, zero only for equals, and at most the longer length", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 8 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      expect(distance).toBe(editDistance(b, a));
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
      expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }),
  );
});
