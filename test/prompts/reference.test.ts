import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseReference, qualifiedName } from "../../src/prompts/reference.ts";

describe("a reference", () => {
  test.each([
    ["$insomnia/default", "$insomnia/default"],
    ["  $user/my-agent\n", "$user/my-agent"],
    ["$workspace//a/b/", "$workspace/a/b"],
    ["$user/a//b", "$user/a/b"],
    ["$user/a.md", "$user/a.md"],
    ["$user/..a", "$user/..a"],
  ])("%j names %s", (raw, name) => {
    expect(qualifiedName(parseReference(raw))).toBe(name);
  });

  test.each([
    ["common/workspace", "$insomnia/default", "$insomnia/common/workspace"],
    ["nested", "$user/common/header", "$user/common/nested"],
    ["/nested/", "$user/common/header", "$user/common/nested"],
    ["$workspace/x", "$user/common/header", "$workspace/x"],
  ])("%j inside %s names %s", (raw, from, name) => {
    expect(qualifiedName(parseReference(raw, parseReference(from)))).toBe(name);
  });

  test("its qualified name parses to itself", () => {
    const part = fc.stringMatching(/^[a-z.-]{1,6}$/).filter((text) => !/^\.\.?$/.test(text));
    const prefix = fc.constantFrom("insomnia" as const, "user" as const, "workspace" as const);
    fc.assert(
      fc.property(prefix, fc.array(part, { minLength: 1 }), (library, parts) => {
        const reference = { prefix: library, path: parts.join("/") };
        expect(parseReference(qualifiedName(reference))).toEqual(reference);
      }),
    );
  });
});

describe("a wrong reference", () => {
  const invalid = (raw: string, reason: string) => `invalid prompt reference '${raw}': ${reason}`;
  test.each([
    ["", invalid("", "reference must not be empty")],
    [" \n", invalid(" \n", "reference must not be empty")],
    ["$user", invalid("$user", "prefix must be followed by '/'")],
    ["$user/", invalid("$user/", "path component must not be empty")],
    ["$user///", invalid("$user///", "path component must not be empty")],
    ["$user/../x", invalid("$user/../x", "path must not contain '.' or '..' segments")],
    ["$user/a/./b", invalid("$user/a/./b", "path must not contain '.' or '..' segments")],
    ["../x", invalid("../x", "path must not contain '.' or '..' segments")],
    ["$nope/x", "unknown prompt prefix '$nope' in reference '$nope/x'"],
    ["$/x", "unknown prompt prefix '$' in reference '$/x'"],
    [
      "default",
      "unqualified prompt reference 'default' requires a current prefix " +
        "(include it from inside another template, or use an explicit $prefix/path form)",
    ],
  ])("%j is refused: %s", (raw, message) => {
    expect(() => parseReference(raw)).toThrow(
      expect.objectContaining({ code: "invalid_argument", message }),
    );
  });

  test("cannot climb out of its library from inside an asset", () => {
    const from = parseReference("$user/common/header");
    expect(() => parseReference("../secret", from)).toThrow("must not contain '.' or '..'");
  });
});
