import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { FILE, withReference } from "../../scripts/manifest-reference.ts";
import { listKeys } from "../../src/manifest/keys.ts";

test("docs/manifest.md says what the schema says (else: bun run docs)", () => {
  const document = readFileSync(FILE, "utf8");
  expect(withReference(document)).toBe(document);
});

test("the reference has every key and shows none without a meaning", () => {
  const document = readFileSync(FILE, "utf8");
  for (const { key, type, description } of listKeys()) {
    if (/^\w+\.model\./.test(key) || !key.includes(".")) continue;
    expect(document).toContain(`\`${key}\``);
    if (type !== "table") expect([key, description]).not.toEqual([key, ""]);
  }
});

test("a document without its marks is refused", () => {
  expect(() => withReference("# manifest")).toThrow("has no line");
});
