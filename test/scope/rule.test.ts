import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import {
  type CanonicalPath,
  canonicalPath,
  canonicalRule,
  canonicalTarget,
  componentsOf,
  describeRule,
  describeRules,
  type ScopeRule,
  scopeRuleSchema,
} from "../../src/scope/rule.ts";
import { temp } from "../support/temp.ts";

/** The path of a successful resolution, or the reason of a refusal marked as such. */
const shown = (result: CanonicalPath): string =>
  result.ok ? result.path : `refused: ${result.reason}`;

/** The message with which `run` is refused as an invalid argument. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (isPodError(error, "invalid_argument")) return error.message;
    throw error;
  }
  throw new Error("expected a refusal");
}

const directory = temp();
afterAll(() => directory[Symbol.asyncDispose]());
const at = directory.join;

mkdirSync(at("in", "deep"), { recursive: true });
mkdirSync(at("out"));
writeFileSync(at("in", "file"), "");
symlinkSync(at("out"), at("in", "absolute"));
symlinkSync("../out", at("in", "relative"));
symlinkSync("relative", at("in", "chain"));
symlinkSync("deep", at("in", "inside"));
symlinkSync("file", at("in", "to-file"));
symlinkSync("loop-b", at("in", "loop-a"));
symlinkSync("loop-a", at("in", "loop-b"));
symlinkSync(at("out", "missing"), at("in", "broken"));

/** An absolute path below the directory of this file, spelled exactly as given. */
const below = (spelling: string): string => `${directory.path}/${spelling}`;

describe("a canonical path", () => {
  test.each([
    ["in/deep", "in/deep"],
    ["in//deep/./", "in/deep"],
    ["in/file/", "in/file"],
    ["in/absolute", "out"],
    ["in/relative", "out"],
    ["in/chain", "out"],
    ["in/inside", "in/deep"],
    ["in/to-file", "in/file"],
  ])("of what exists is where the links lead: %s", (spelling, expected) => {
    expect(shown(canonicalPath(below(spelling)))).toBe(below(expected));
  });

  test.each(["/", "//", "/./"])("of the root is `/`: %s", (spelling) => {
    expect(shown(canonicalPath(spelling))).toBe("/");
  });

  test.each([
    ["in/new", "in/new"],
    ["in/a/b/new", "in/a/b/new"],
    ["in/chain/new", "out/new"],
    ["in/relative/a/b", "out/a/b"],
    ["in//a/.//b/", "in/a/b"],
  ])("of what is missing keeps the names below the deepest ancestor: %s", (spelling, expected) => {
    expect(shown(canonicalPath(below(spelling)))).toBe(below(expected));
  });

  test("of an entry that the root does not have is kept", () => {
    expect(shown(canonicalPath("/no-such-entry/x"))).toBe("/no-such-entry/x");
  });

  test("climbs over a file used as a directory, a broken link and a circle of links", () => {
    for (const path of [at("in", "file", "x"), at("in", "broken"), at("in", "loop-a", "x")]) {
      expect(shown(canonicalPath(path))).toBe(path);
    }
  });

  test.each(["", "in/deep", "./x", "~/x"])("does not exist for a relative path: %p", (path) => {
    expect(shown(canonicalPath(path))).toBe("refused: path is not absolute");
  });

  test.each([
    "..",
    "in/../out",
    "in/a/../../out/x", // 51: below what is missing
    "in/chain/../x", // with a link in the way it means another directory than it says
  ])("does not exist for a path with `..`: %s", (spelling) => {
    expect(shown(canonicalPath(below(spelling)))).toBe("refused: path contains `..`");
  });

  test("takes names that only begin with dots for ordinary ones", () => {
    expect(shown(canonicalPath(at("in", "...")))).toBe(at("in", "..."));
    expect(shown(canonicalPath(at("in", "..x")))).toBe(at("in", "..x"));
  });

  test("does not exist for NUL and for lone surrogates", () => {
    expect(shown(canonicalPath(`${at("in")}\0`))).toBe("refused: path contains a NUL character");
    for (const name of ["\ud800", "\udc00x", "x\udbff"]) {
      // Not with `join`, which turns lone surrogates into U+FFFD.
      expect(shown(canonicalPath(below(`in/${name}`)))).toBe("refused: path is not valid Unicode");
    }
    expect(shown(canonicalPath(at("in", "\u{1f600}")))).toBe(at("in", "\u{1f600}"));
  });

  test("does not exist when the way leads over a name that is not UTF-8", () => {
    const bytes = Buffer.concat([Buffer.from(at("out") + "/"), Buffer.from([0xff])]);
    mkdirSync(bytes);
    symlinkSync(bytes, at("in", "to-bytes"));
    expect(shown(canonicalPath(at("in", "to-bytes", "x")))).toBe(
      "refused: path is not valid UTF-8",
    );
  });

  test("does not exist for more bytes than the kernel takes, and is refused at once", () => {
    const deep = at("in") + "/x".repeat(1_000_000);
    expect(shown(canonicalPath(deep))).toBe("refused: path is longer than 4095 bytes");
    const fits = `${at("in")}/${"é".repeat((4095 - Buffer.byteLength(at("in")) - 1) >> 1)}`;
    expect(canonicalPath(fits).ok).toBe(true);
    expect(canonicalPath(`${fits}éé`).ok).toBe(false);
  });

  test("is the same when resolved again", () => {
    for (const path of [at("in", "chain", "a"), at("in", "inside"), at("in", "a", "b")]) {
      const once = shown(canonicalPath(path));
      expect(shown(canonicalPath(once))).toBe(once);
    }
  });
});

describe("a canonical target", () => {
  test("is the canonical path where every link leads somewhere", () => {
    expect(shown(canonicalTarget(at("in", "chain", "new")))).toBe(at("out", "new"));
    expect(shown(canonicalTarget(at("in", "a", "b")))).toBe(at("in", "a", "b"));
    expect(shown(canonicalTarget(at("in", "file", "x")))).toBe(at("in", "file", "x"));
    expect(shown(canonicalTarget("/"))).toBe("/");
  });

  test("does not exist behind a link that leads nowhere or in a circle", () => {
    expect(shown(canonicalTarget(at("in", "broken")))).toBe(
      `refused: ${at("in", "broken")} is a broken link`,
    );
    expect(shown(canonicalTarget(at("in", "broken", "a", "b")))).toBe(
      `refused: ${at("in", "broken")} is a broken link`,
    );
    expect(shown(canonicalTarget(at("in", "loop-a", "x")))).toBe(
      `refused: ${at("in", "loop-a")} is a broken link`,
    );
  });

  test("changes when a directory on the way becomes a link, which a later check can see", () => {
    mkdirSync(at("in", "swapped"));
    const before = shown(canonicalTarget(at("in", "swapped", "x")));
    renameSync(at("in", "swapped"), at("in", "moved"));
    symlinkSync(at("out"), at("in", "swapped"));
    expect(shown(canonicalTarget(before))).toBe(at("out", "x"));
    unlinkSync(at("in", "swapped"));
  });
});

describe("a canonical rule", () => {
  const rule = (target: string): ScopeRule => ({ target, permission: "write", recursive: false });

  test("keeps everything but the target", () => {
    expect(canonicalRule(rule(at("in", "chain")))).toEqual(rule(at("out")));
  });

  test.each([
    ["relative", "path is not absolute"],
    ["/a/../b", "path contains `..`"],
    ["/a\0", "path contains a NUL character"],
  ])("is refused with target and reason: %p", (target, reason) => {
    expect(refusal(() => canonicalRule(rule(target)))).toBe(
      `scope.target cannot be resolved: ${target} (${reason})`,
    );
  });

  test("is refused behind a broken link, which is named", () => {
    expect(refusal(() => canonicalRule(rule(at("in", "broken", "x"))))).toBe(
      `scope.target cannot be resolved: ${at("in", "broken", "x")} (${at("in", "broken")} is a broken link)`,
    );
  });
});

describe("components", () => {
  test("are the names without empty ones and `.`, while `..` stays", () => {
    expect(componentsOf("/p//a/./b/")).toEqual(["p", "a", "b"]);
    expect(componentsOf("/p/../etc")).toEqual(["p", "..", "etc"]);
    expect(componentsOf("/")).toEqual([]);
  });
});

describe("a rule", () => {
  test("is recursive unless it says otherwise", () => {
    expect(scopeRuleSchema().parse({ target: "/p", permission: "read" }).recursive).toBe(true);
    expect(
      scopeRuleSchema().parse({ target: "/p", permission: "read", recursive: false }).recursive,
    ).toBe(false);
  });

  test("permits `read` or `write` and nothing else", () => {
    expect(scopeRuleSchema().safeParse({ target: "/p", permission: "none" }).success).toBe(false);
    expect(scopeRuleSchema().safeParse({ target: "/p" }).success).toBe(false);
  });

  test("is named by permission, target and reach", () => {
    const read: ScopeRule = { target: "/p", permission: "read", recursive: true };
    const write: ScopeRule = { target: "/q", permission: "write", recursive: false };
    expect(describeRule(read)).toBe("read:/p");
    expect(describeRules([read, write])).toBe("read:/p, write:/q [non-recursive]");
    expect(describeRules([])).toBe("(none)");
  });
});
