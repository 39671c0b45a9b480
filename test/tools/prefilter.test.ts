import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { prefilterFor } from "../../src/tools/prefilter.ts";
import { Regex, RegexSyntaxError } from "../../src/tools/regex.ts";
import { requiredTexts } from "../../src/tools/required-text.ts";

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
    expect(requiredTexts(pattern, false)).toEqual([literal]);
  });

  test.each([
    ["foo|barb", ["foo", "barb"]],
    ["(abc)", ["abc"]],
    ["(?:foo|bar)ba", ["foo", "bar"]],
    ["x(?P<name>needle|hay(stack|rick))+ab", ["needle", "stack", "rick"]],
    ["(foo|b)quux", ["quux"]],
    ["(foo|bar)?quux|(ab)", ["quux", "ab"]],
    ["foo|foo", ["foo"]],
  ])("of %j is one of %j", (pattern, texts) => {
    expect(requiredTexts(pattern, false)).toEqual(texts);
  });

  test.each([
    ["a|b"],
    ["foo|"],
    ["(?i)foo"],
    ["\\Qa*b\\E"],
    ["a"],
    ["[ab]+"],
    ["(abc)?"],
    ["(abc){0,2}"],
    ["(abc"],
    ["ab|cd|ef|gh|ij|kl|mn|op|qr"],
    [""],
  ])("of %j is not known", (pattern) => {
    expect(requiredTexts(pattern, false)).toBeUndefined();
  });

  test.each([
    [`\\x{${"41".padStart(46, "0")}}bc`, "Abc"],
    [`(?P<${"n".repeat(70)}>foo)`, "foo"],
    [`(?<${"n".repeat(61)}>foo)`, "foo"],
    [`ab{${"2".padStart(20, "0")}}`, `ab{${"2".padStart(20, "0")}}`], // no count, to RE2
  ])("is not taken from what the reader does not see whole: %j", (pattern, text) => {
    expect(requiredTexts(pattern, false)).toBeUndefined();
    let regex: Regex;
    try {
      regex = new Regex(pattern, { ignoreCase: false, multiline: false });
    } catch (error) {
      // What the engine refuses finds nothing anyway.
      expect(error).toBeInstanceOf(RegexSyntaxError);
      return;
    }
    expect(regex.test(text)).toBe(true);
  });

  test.each(["[a[:x]b|c]longtext", "[[:ab]|c]longtext", "[^a[:x]|longtext"])(
    "is not taken from behind the end of a class with a `[:` that begins no name: %s",
    (pattern) => {
      const regex = new Regex(pattern, { ignoreCase: false, multiline: false });
      const text = ["ab", "[ab", "a"].find((it) => regex.test(it)) ?? "";
      expect(text).not.toBe("");
      expect(prefilterFor(pattern, false, regex)(Buffer.from(text))).toBe(true);
    },
  );

  test("leaves out letters with relatives outside ASCII when case is ignored", () => {
    expect(requiredTexts("haystack", true)).toEqual(["hay"]);
    const kelvin = new Regex("Kelvin", { ignoreCase: true, multiline: false });
    expect(prefilterFor("Kelvin", true, kelvin)(Buffer.from("\u212aELVIN"))).toBe(true);
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
    "[:",
    ":]",
    ":",
    "[[:alpha:]]",
    "{2}",
    "{1,}",
    "(?:",
    "\\x61",
    "\\p{L}",
    "\\141",
    "(ab)",
    "(?P<n>",
    "ab|b1",
    "\\A",
    "\\z",
    "(?-m:",
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
      "[",
      ":",
      "]",
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 8 }),
      text,
      fc.boolean(),
      fc.boolean(),
      (pieces, parts, ignoreCase, multiline) => {
        const pattern = pieces.join("");
        let regex: Regex;
        try {
          regex = new Regex(pattern, { ignoreCase, multiline });
        } catch (error) {
          if (error instanceof RegexSyntaxError) return;
          throw error;
        }
        const content = parts.join("");
        if (!regex.test(content) && !content.split("\n").some((line) => regex.test(line))) return;
        const filter = prefilterFor(pattern, ignoreCase, regex);
        expect(filter(Buffer.from(content))).toBe(true);
        const marked = Buffer.from(`\ufeff${content}`);
        expect(filter(marked)).toBe(true);
      },
    ),
    { numRuns: 3000 },
  );
});
