/** Names of one place, against a model: a small file system that is seen at several places. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MountTree } from "../../src/base/mounts.ts";
import {
  aliasesOf,
  isContested,
  type Names,
  PLAIN_NAMES,
  viewsOf,
} from "../../src/scope/aliases.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { overlaps, ruleMatches } from "../../src/scope/set.ts";

const rule = (target: string, recursive = true): ScopeRule => ({
  target,
  permission: "write",
  recursive,
});
/** Device, path inside it, and where it is mounted. */
type Put = readonly [device: string, root: string, point: string];
const targets = (rules: readonly ScopeRule[]): string[] => rules.map(({ target }) => target);

const covers = (point: string, name: string): boolean =>
  point === "/" || name === point || name.startsWith(`${point}/`);

/** Of all that were put over a name the last one shows: the model of a name space. */
function shownAt(name: string, puts: readonly Put[]): Put | undefined {
  return puts.findLast(([, , point]) => covers(point, name));
}

/** The mounts as the kernel lists them, in the order in which they were made. */
function mounted(...puts: readonly Put[]): MountTree {
  const id = (put: Put | undefined): number => (put === undefined ? 1 : 10 + puts.indexOf(put));
  return new MountTree(
    puts.map((put, index) => {
      const [device, root, point] = put;
      return { id: id(put), parent: id(shownAt(point, puts.slice(0, index))), device, root, point };
    }),
  );
}

/** Whether two rules share files, with what their owners deny themselves. */
function contested(
  held: ScopeRule,
  wanted: ScopeRule,
  names: Names,
  denies: { readonly held?: readonly ScopeRule[]; readonly wanted?: readonly ScopeRule[] } = {},
): boolean {
  return isContested(
    { rule: held, denies: denies.held ?? [] },
    { rule: wanted, denies: denies.wanted ?? [] },
    viewsOf(wanted, names.mounts),
    names,
  );
}

describe("a region under a bind mount (W31)", () => {
  const mounts = mounted(["8:1", "/", "/"], ["8:1", "/proj/src", "/mnt/b"]);

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
    const one = mounted(["8:1", "/", "/"], ["8:1", "/etc/conf", "/srv/conf"]);
    expect(targets(aliasesOf(rule("/srv/conf"), one))).toEqual(["/etc/conf"]);
    expect(targets(aliasesOf(rule("/etc", false), one))).toEqual(["/srv/conf"]);
  });

  test("knows the mount that is on top, and names that only begin alike", () => {
    const stacked = mounted(
      ["8:1", "/", "/"],
      ["8:1", "/proj/src", "/mnt/b"],
      ["8:1", "/other", "/mnt/b"],
    );
    expect(targets(aliasesOf(rule("/mnt/b/x"), stacked))).toEqual(["/other/x"]);
    expect(aliasesOf(rule("/mnt/bb"), mounts)).toEqual([]);
  });

  test("does not go through a mount that a later one hides", () => {
    const hidden = mounted(
      ["8:1", "/", "/"],
      ["8:2", "/x", "/a/b"],
      ["8:1", "/proj", "/a"],
      ["8:2", "/", "/c"],
    );
    expect(targets(aliasesOf(rule("/a/b"), hidden))).toEqual(["/proj/b"]);
    expect(aliasesOf(rule("/c/x"), hidden)).toEqual([]);
  });
});

describe("a deny", () => {
  const names = { ...PLAIN_NAMES, mounts: mounted(["8:1", "/", "/"], ["8:1", "/proj", "/mnt/p"]) };

  test("under another name than the one that is used leaves a region contested", () => {
    const [held, wanted] = [rule("/proj"), rule("/mnt/p")];
    expect(contested(held, wanted, names)).toBe(true);
    expect(contested(held, wanted, names, { held: [rule("/mnt/p")] })).toBe(true);
    expect(contested(held, wanted, names, { wanted: [rule("/proj")] })).toBe(true);
  });

  test("under the name that is used leaves it to the other", () => {
    const [held, wanted] = [rule("/proj"), rule("/mnt/p/x")];
    expect(contested(held, wanted, names, { held: [rule("/proj/x")] })).toBe(false);
    expect(contested(held, wanted, names, { wanted: [rule("/mnt/p")] })).toBe(false);
  });
});

describe("two rules share files", () => {
  test("where letters are folded and the directory is the same one", () => {
    const same = (a: string, b: string): boolean => a === "/w/Src" && b === "/w/src";
    const shares = (a: string, b: string, isSame = same): boolean =>
      contested(rule(a), rule(b), { ...PLAIN_NAMES, isSame });
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
    expect(contested(rule("/a"), rule("/a/b"), PLAIN_NAMES)).toBe(true);
    expect(contested(rule("/a"), rule("/A"), PLAIN_NAMES)).toBe(false);
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
const denies = fc.array(anyRule, { maxLength: 1 });
const anyPuts = fc
  .array(
    fc.tuple(
      fc.constantFrom("8:1", "8:2"),
      path(2),
      path(2).filter((point) => point !== "/"),
    ),
    { maxLength: 3 },
  )
  .map((more): Put[] => [["8:1", "/", "/"], ...more]);

/** The file that a name means: device and path inside. */
function fileAt(name: string, puts: readonly Put[]): string {
  const [device, root, point] = shownAt(name, puts) ?? ["", "", ""];
  const tail = name.slice(point === "/" ? 0 : point.length);
  return `${device} ${`${root}${tail}`.replace(/\/+/g, "/").replace(/(.)\/$/, "$1")}`;
}

/** What a claim may write: names that its rule matches and no deny does, as files. */
function filesOf(
  claim: ScopeRule,
  denied: readonly ScopeRule[],
  puts: readonly Put[],
): Set<string> {
  const own = TREE.filter((name) => ruleMatches(claim, name));
  const left = own.filter((name) => !denied.some((deny) => ruleMatches(deny, name)));
  return new Set(left.map((name) => fileAt(name, puts)));
}

test("no two claims that share a file under any name are taken for apart", () => {
  let found = 0;
  const claims = [
    anyRule,
    denies,
    anyRule,
    denies,
    anyPuts,
    fc.oneof(fc.constant(0), fc.nat(7)),
  ] as const;
  fc.assert(
    fc.property(...claims, (held, kept, wanted, others, puts, some) => {
      const names = { ...PLAIN_NAMES, mounts: mounted(...puts) };
      const mine = filesOf(held, kept, puts);
      // Some of the names of what is held are those that an asker would leave.
      const known = [held, ...aliasesOf(held, names.mounts)];
      const left = [...others, ...known.filter((_, index) => ((some >> index) & 1) === 1)];
      const common = [...filesOf(wanted, left, puts)].some((file) => mine.has(file));
      const answer = contested(held, wanted, names, { held: kept, wanted: left });
      if (common) expect(answer).toBe(true);
      if (common && !overlaps(held, wanted)) found += 1;
      // Without a second view of anything there is nothing to be careful about.
      if (puts.length === 1 && !overlaps(held, wanted)) expect(answer).toBe(false);
    }),
    { numRuns: 10_000 },
  );
  expect(found).toBeGreaterThan(100);
});

test("a region that its asker denies itself under all of its names is not contested", () => {
  // Of a directory that is shown inside of itself, more is feared than there is.
  const apart = fc
    .tuple(path(2), path(2))
    .filter(([root, point]) => !covers(root, point) && !covers(point, root));
  let found = 0;
  fc.assert(
    fc.property(anyRule, anyRule, apart, (held, wanted, [root, point]) => {
      const mounts = mounted(["8:1", "/", "/"], ["8:1", root, point]);
      const names = { ...PLAIN_NAMES, mounts };
      if (contested(held, wanted, names, { wanted: [held] })) found += 1;
      const denied = [held, ...aliasesOf(held, mounts)];
      expect(contested(held, wanted, names, { wanted: denied })).toBe(false);
    }),
    { numRuns: 5000 },
  );
  expect(found).toBeGreaterThan(100);
});
