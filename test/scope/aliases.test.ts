/** Names of one place, against a model: a small file system that is seen at several places. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Mount } from "../../src/base/mounts.ts";
import { aliasesOf, PLAIN_NAMES, sharesFiles } from "../../src/scope/aliases.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { overlaps, ruleMatches } from "../../src/scope/set.ts";

const rule = (target: string, recursive = true): ScopeRule => ({
  target,
  permission: "write",
  recursive,
});
const mount = (device: string, root: string, point: string): Mount => ({ device, root, point });
const targets = (rules: readonly ScopeRule[]): string[] => rules.map(({ target }) => target);

describe("a region under a bind mount (W31)", () => {
  const mounts = [mount("8:1", "/", "/"), mount("8:1", "/proj/src", "/mnt/b")];

  test("has the name of its source, and the source that of the mount", () => {
    expect(targets(aliasesOf(rule("/mnt/b/x"), mounts))).toEqual(["/proj/src/x"]);
    expect(targets(aliasesOf(rule("/proj/src/x"), mounts))).toEqual(["/mnt/b/x"]);
    expect(targets(aliasesOf(rule("/proj/other"), mounts))).toEqual([]);
  });

  test("is reached from above on both sides", () => {
    expect(targets(aliasesOf(rule("/proj"), mounts))).toEqual(["/mnt/b"]);
    expect(targets(aliasesOf(rule("/mnt"), mounts))).toEqual(["/proj/src"]);
    expect(targets(aliasesOf(rule("/"), mounts))).toEqual([]);
  });

  test("keeps its reach: a flat rule has flat aliases, and none below its entries", () => {
    expect(aliasesOf(rule("/mnt/b", false), mounts)).toEqual([rule("/proj/src", false)]);
    expect(aliasesOf(rule("/", false), mounts)).toEqual([]);
  });

  test("follows a file that is mounted alone", () => {
    const one = [mount("8:1", "/", "/"), mount("8:1", "/etc/conf", "/srv/conf")];
    expect(targets(aliasesOf(rule("/srv/conf"), one))).toEqual(["/etc/conf"]);
    expect(targets(aliasesOf(rule("/etc", false), one))).toEqual(["/srv/conf"]);
  });

  test("knows the mount that is on top, and names that only begin alike", () => {
    const stacked = [...mounts, mount("8:1", "/other", "/mnt/b")];
    expect(targets(aliasesOf(rule("/mnt/b/x"), stacked))).toContain("/other/x");
    expect(aliasesOf(rule("/mnt/bb"), mounts)).toEqual([]);
  });
});

describe("two rules share files", () => {
  test("where letters are folded and the directory is the same one", () => {
    const same = (a: string, b: string): boolean => a === "/w/Src" && b === "/w/src";
    const shares = (a: string, b: string, isSame = same): boolean =>
      sharesFiles(rule(a), rule(b), [], { mounts: [], isSame });
    expect(shares("/w/Src", "/w/src/x")).toBe(true);
    expect(shares("/w/Src", "/w/src/x", () => false)).toBe(false);
    expect(shares("/w/Src/a", "/w/src/b")).toBe(false);
    const always = (): boolean => true;
    expect(shares("/w/caf\u00e9/x", "/w/Cafe\u0301", always)).toBe(true);
    expect(shares("/w/cafe/x", "/w/cafe\u0301", always)).toBe(false);
    expect(shares("/W", "/w/deep/er", always)).toBe(true);
    expect(shares("/w1", "/wQ", always)).toBe(false);
  });

  test("as plain rules do, where every name is its own", () => {
    expect(sharesFiles(rule("/a"), rule("/a/b"), [], PLAIN_NAMES)).toBe(true);
    expect(sharesFiles(rule("/a"), rule("/A"), [], PLAIN_NAMES)).toBe(false);
  });
});

// The model: two devices with all paths of up to three names, and a name space of mounts over them.
const NAMES = ["a", "b"];
const DEPTH = 4;
function tree(depth: number): string[] {
  let level = [""];
  const paths = ["/"];
  for (let i = 0; i < depth; i += 1) {
    level = level.flatMap((parent) => NAMES.map((name) => `${parent}/${name}`));
    paths.push(...level);
  }
  return paths;
}
const TREE = tree(DEPTH);
const path = (depth: number): fc.Arbitrary<string> => fc.constantFrom(...tree(depth));
const anyRule = fc
  .record({ target: path(2), recursive: fc.boolean() })
  .map((r) => rule(r.target, r.recursive));
const anyMounts = fc
  .array(fc.record({ device: fc.constantFrom("8:1", "8:2"), root: path(2), point: path(2) }), {
    maxLength: 3,
  })
  .map((more) => [mount("8:1", "/", "/"), ...more.filter(({ point }) => point !== "/")]);

/** The file that a path of the name space means: device and path inside. */
function fileAt(name: string, mounts: readonly Mount[]): string {
  const within = (base: string): boolean =>
    base === "/" || name === base || name.startsWith(`${base}/`);
  let best = mounts[0];
  for (const candidate of mounts) {
    if (within(candidate.point) && candidate.point.length >= (best?.point.length ?? 0))
      best = candidate;
  }
  if (best === undefined) throw new Error("nothing is mounted");
  const tail = name.slice(best.point === "/" ? 0 : best.point.length);
  return `${best.device} ${`${best.root}${tail}`.replace(/\/+/g, "/").replace(/(.)\/$/, "$1")}`;
}

test("no two regions that share a file under any name are taken for apart", () => {
  fc.assert(
    fc.property(anyRule, anyRule, anyMounts, (held, wanted, mounts) => {
      const files = (region: ScopeRule): Set<string> =>
        new Set(
          TREE.filter((name) => ruleMatches(region, name)).map((name) => fileAt(name, mounts)),
        );
      const mine = files(held);
      const common = [...files(wanted)].filter((file) => mine.has(file));
      const found = sharesFiles(held, wanted, aliasesOf(wanted, mounts), PLAIN_NAMES);
      if (common.length > 0) expect(found).toBe(true);
      // Without a second view of anything there is nothing to be careful about.
      if (mounts.length === 1) expect(found).toBe(overlaps(held, wanted));
    }),
    { numRuns: 1000 },
  );
});
