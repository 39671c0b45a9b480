import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { prefilterFor, requiredLiteral } from "../../src/tools/prefilter.ts";
import { Regex, RegexSyntaxError } from "../../src/tools/regex.ts";

describe("the text that every match contains", () => {
  test.each([
    ["needle", "needle"],
    ["need(le|les) no [0-9]+", "need"],
    ["foo.*barbaz", "barbaz"],
    ["ab?cde", "cde"],
    ["abc+de", "abc"],
    ["abc{2}de", "ab"],
    ["foo{bar", "bar"],
    ["a\\.b\\(c", "a.b(c"],
    ["\\bword\\b", "word"],
    ["\\x41bcd\\p{Greek}xy", "bcd"],
    ["[]abc]xyz", "xyz"],
    ["[[:alpha:]]xyz", "xyz"],
    ["^import .* from$", "import "],
  ])("of %j is %j", (pattern, literal) => {
    expect(requiredLiteral(pattern, false)).toBe(literal);
  });

  test.each([["a|b"], ["foo|bar"], ["(?i)foo"], ["\\Qa*b\\E"], ["a"], ["[ab]+"], ["(abc)"], [""]])(
    "of %j is not known",
    (pattern) => {
      expect(requiredLiteral(pattern, false)).toBeUndefined();
    },
  );

  test("leaves out letters with relatives outside ASCII when case is ignored", () => {
    expect(requiredLiteral("haystack", true)).toBe("hay");
    expect(prefilterFor("Kelvin", true)?.(Buffer.from("\u212aELVIN"))).toBe(true);
  });
});

test("a file that matches is never filtered out", () => {
  const piece = fc.constantFrom(
    ..."abk\u017fé.*+?|(){}[]^$\\".split(""),
    "ab",
    "\\b",
    "\\d",
    "\\.",
    "[ab]",
    "[^a]",
    "{2}",
    "{1,}",
    "(?:",
    "\\x61",
    "\\p{L}",
    "\\141",
    "(ab)",
    "é",
  );
  const text = fc.array(
    fc.constantFrom(
      "a",
      "b",
      "k",
      "K",
      "\u212a",
      "s",
      "é",
      ".",
      "{",
      "}",
      "1",
      " ",
      "ab",
      "\n",
      "\ufffd",
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 8 }),
      text,
      fc.boolean(),
      (pieces, parts, ignoreCase) => {
        const pattern = pieces.join("");
        let regex: Regex;
        try {
          regex = new Regex(pattern, { ignoreCase, multiline: true });
        } catch (error) {
          if (error instanceof RegexSyntaxError) return;
          throw error;
        }
        const content = parts.join("");
        if (!regex.test(content) && !content.split("\n").some((line) => regex.test(line))) return;
        const filter = prefilterFor(pattern, ignoreCase);
        expect(filter?.(Buffer.from(content)) ?? true).toBe(true);
      },
    ),
    { numRuns: 1000 },
  );
});
