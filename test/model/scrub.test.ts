import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createScrub, MAX_ERROR_BYTES } from "../../src/model/scrub.ts";

const VALUE = "ab/cd+ef==&g<0123456789>\"'h-_.~z";
const scrubOf = (value: string) => createScrub({ value, source: "x" });

describe("a key is not shown", () => {
  const json = JSON.stringify(VALUE).slice(1, -1);
  const html = VALUE.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  test.each([
    ["as it is", VALUE],
    ["in JSON", json],
    ["in JSON within JSON", JSON.stringify(json).slice(1, -1)],
    ["in JSON with every slash escaped", json.replaceAll("/", "\\/")],
    [
      "in JSON fit for HTML",
      json.replace(/[<>&'+]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
    ],
    ["in HTML", html.replaceAll('"', "&quot;").replaceAll("'", "&#39;")],
    ["in XML", html.replaceAll('"', "&#x22;").replaceAll("'", "&apos;").replaceAll("/", "&#x2F;")],
    ["in a URL", encodeURIComponent(VALUE)],
    ["in a URL in lower case", encodeURIComponent(VALUE).replace(/%../g, (e) => e.toLowerCase())],
    ["in a URL where only some characters are encoded", encodeURI(VALUE)],
  ])("%s", (_, spelled) => {
    expect(scrubOf(VALUE)(`bad key ${spelled}!`)).toBe("bad key [key]!");
  });

  test("when only the beginning of it is told", () => {
    const scrub = scrubOf(VALUE);
    expect(scrub(`bad key ${VALUE.slice(0, 20)}...`)).toBe("bad key [key]...");
    expect(scrub(`bad key ab\\/cd+ef==&g<…`)).toBe("bad key [key]…");
    // A few letters are no secret, and vendors show them so that one knows which key it was.
    expect(scrub(`bad key ${VALUE.slice(0, 8)}...`)).toBe(`bad key ${VALUE.slice(0, 8)}...`);
  });

  test("wherever it stands and however often", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: "grapheme-ascii", maxLength: 5 }), { maxLength: 5 }),
        (around) => {
          const text = scrubOf("key-ABCDEFGHIJKLMNOP")(around.join("key-ABCDEFGHIJKLMNOP"));
          return !text.includes("ABCDEFGHIJ");
        },
      ),
    );
  });

  test("though it is as long as a token of a login", () => {
    const long = "eyJhbGciOi/".repeat(1400);
    expect(scrubOf(long)(`a ${long} b ${long.slice(0, 5000)}`)).toBe("a [key] b [key]");
  });
});

test("a word in place of a key does not spoil the texts", () => {
  for (const dummy of ["k", "no", "xxx"]) {
    const text = "model option maxOutputTokens (unsupported): no xxx";
    expect(scrubOf(dummy)(text)).toBe(text);
  }
  expect(scrubOf("test")("the key test")).toBe("the key [key]");
});

test("a key that looks as if something in it were escaped is hidden whole", () => {
  for (const value of ["abc%2fdef&amp;ghijklmnopq%41z", "abcdefghijkl%25m\\u0041n"]) {
    expect(scrubOf(value)(`(${value})`)).toBe("([key])");
  }
});

test("scrubbing removes keys, credentials and line breaks, then bounds", () => {
  const value = "ab/cd+ef==0123456789";
  const scrub = createScrub({ value, source: "x" });
  expect(scrub(`bad key ${value} (${encodeURIComponent(value)})\n again`)).toBe(
    "bad key [key] ([key]) again",
  );
  expect(scrub("https://u:p@h/?key=zzz&x=1 sk-ant-api03-abcdefghijklmnop")).toBe(
    "https://h/?key=[key]&x=1 [key]",
  );
  // The key is removed before the text is cut, so that no part of it survives at the cut.
  const long = scrub("é".repeat(MAX_ERROR_BYTES / 2 - 5) + value + "é".repeat(5000));
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(MAX_ERROR_BYTES);
  expect(long).not.toContain("ab/");
  expect(long).toEndWith("…");
  expect(long).not.toContain("\ufffd");
});
