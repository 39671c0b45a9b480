import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { isPodError, type ErrorKind } from "../../src/base/errors.ts";
import { canonicalPath, type Permission, type ScopeRule } from "../../src/scope/rule.ts";
import {
  type Access,
  accessTo,
  buildScope,
  containsRegion,
  covers,
  delegatedDenies,
  deniesTouching,
  inheritedDenies,
  denyingRule,
  overlaps,
  ruleMatches,
  type Scope,
  summarizeScope,
  writeDenied,
} from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";

/** A rule in short: `R` is recursive, `N` is not. */
function rule(permission: Permission, kind: "R" | "N", target: string): ScopeRule {
  return { target, permission, recursive: kind === "R" };
}
const write = (target: string): ScopeRule => rule("write", "R", target);
const read = (target: string): ScopeRule => rule("read", "R", target);

/** The message with which `run` is refused, checked to be of one kind. */
function refusal(run: () => unknown, kind: ErrorKind): string {
  try {
    run();
  } catch (error) {
    if (isPodError(error, kind)) return error.message;
    throw error;
  }
  throw new Error(`expected a refusal of kind ${kind}`);
}

const KINDS = ["R", "N"] as const;
const PAIRS = KINDS.flatMap((left) => KINDS.map((right) => [left, right] as const));

describe("a rule matches (3.2)", () => {
  test.each([
    ["R", "/p", true],
    ["R", "/p/a", true],
    ["R", "/p/a/b/c", true],
    ["N", "/p", true],
    ["N", "/p/a", true],
    ["N", "/p/a/b", false],
    ["R", "/", false],
    ["R", "/pp", false],
    ["R", "/q/p", false],
    ["N", "/pp", false],
  ] as const)("%s on /p against %s: %p", (kind, path, expected) => {
    expect(ruleMatches(rule("read", kind, "/p"), path)).toBe(expected);
  });

  test("everything when it is recursive on the root, else the root and its entries", () => {
    expect(ruleMatches(read("/"), "/a/b/c")).toBe(true);
    expect(ruleMatches(rule("read", "N", "/"), "/a")).toBe(true);
    expect(ruleMatches(rule("read", "N", "/"), "/a/b")).toBe(false);
  });

  test("by components, however target and path are spelled (3.1)", () => {
    expect(ruleMatches(write("/p//src/"), "/p/./src/a")).toBe(true);
    expect(ruleMatches(rule("write", "N", "/p/"), "//p//a/")).toBe(true);
  });
});

describe("the permission of a path (3.3)", () => {
  const denies: readonly (readonly [string, readonly ScopeRule[]])[] = [
    ["no deny", []],
    ["deny write", [write("/d")]],
    ["deny read", [read("/d")]],
    ["both denies", [write("/d"), read("/d")]],
  ];
  const table: readonly (readonly [string, readonly ScopeRule[], readonly Access[]])[] = [
    ["no allow", [], ["none", "none", "none", "none"]],
    ["allow read", [read("/d")], ["read", "read", "none", "none"]],
    ["allow write", [write("/d")], ["write", "read", "none", "none"]],
    ["both allows", [read("/d"), write("/d")], ["write", "read", "none", "none"]],
  ];
  const rows = table.flatMap(([allowed, allow, row]) =>
    denies.map(([denied, deny], column) => ({
      name: `${allowed}, ${denied}`,
      allow,
      deny,
      expected: row[column],
    })),
  );
  test.each(rows)(
    "$name is $expected, in every order of the rules",
    ({ allow, deny, expected }) => {
      for (const scope of [
        { allow, deny },
        { allow: allow.toReversed(), deny: deny.toReversed() },
      ]) {
        expect(String(accessTo(scope, "/d/f"))).toBe(String(expected));
      }
    },
  );

  const access = (scope: Scope, ...paths: string[]): Access[] =>
    paths.map((path) => accessTo(scope, path));

  test("is read below a denied write inside an allowed one (47)", () => {
    const scope = { allow: [write("/d")], deny: [write("/d/sub")] };
    expect(access(scope, "/d/sub/f", "/d/f")).toEqual(["read", "write"]);
  });

  test("is none where read is denied (48)", () => {
    expect(access({ allow: [write("/d")], deny: [read("/d/s")] }, "/d/s")).toEqual(["none"]);
  });

  test("is the highest of the allow rules that match (49)", () => {
    const scope = { allow: [read("/d"), write("/d/docs")], deny: [] };
    expect(access(scope, "/d/docs/a", "/d/a")).toEqual(["write", "read"]);
  });

  test("ends one level below a rule that is not recursive (50)", () => {
    const scope = { allow: [rule("write", "N", "/d")], deny: [] };
    expect(access(scope, "/d", "/d/t", "/d/a/b/t")).toEqual(["write", "write", "none"]);
  });

  test("is denied by a general rule although a special one allows it", () => {
    const scope = { allow: [write("/d/docs")], deny: [write("/d")] };
    expect(access(scope, "/d/docs/a")).toEqual(["read"]);
  });

  test("is denied one level deep by a rule that is not recursive", () => {
    const scope = { allow: [write("/d")], deny: [rule("read", "N", "/d/s")] };
    expect(access(scope, "/d/s", "/d/s/a", "/d/s/a/b")).toEqual(["none", "none", "write"]);
  });
});

describe("overlap (3.7)", () => {
  // Columns are the kinds of a and b: R,R  R,N  N,R  N,N.
  test.each([
    ["equal", "/p/a", "/p/a", [true, true, true, true]],
    ["a is the direct parent", "/p/a", "/p/a/b", [true, true, true, true]],
    ["a is a higher ancestor", "/p/a", "/p/a/b/c", [true, true, false, false]],
    ["a is a direct child", "/p/a/b", "/p/a", [true, true, true, true]],
    ["a is deeper inside", "/p/a/b/c", "/p/a", [true, false, true, false]],
    ["a is only a string prefix", "/p/src", "/p/src2", [false, false, false, false]],
    ["unrelated", "/p/a", "/q/a", [false, false, false, false]],
    ["the root and far below", "/", "/p/a/b", [true, true, false, false]],
  ] as const)("%s: tabulated, in both argument orders (26)", (_, a, b, expected) => {
    for (const [column, [left, right]] of PAIRS.entries()) {
      for (const [pa, pb] of [
        ["write", "write"],
        ["read", "write"],
        ["read", "read"],
      ] as const) {
        const one = rule(pa, left, a);
        const other = rule(pb, right, b);
        expect(overlaps(one, other)).toBe(expected[column] === true);
        expect(overlaps(other, one)).toBe(expected[column] === true);
      }
    }
  });

  test("of a flat rule on /src ends below its entries (25)", () => {
    const flat = rule("write", "N", "/src");
    expect(overlaps(flat, write("/src/a/b"))).toBe(false);
    expect(overlaps(flat, rule("write", "N", "/src/child"))).toBe(true);
  });

  test("and cover follow components, not letters (27)", () => {
    for (const [a, b] of [
      ["/p/src", "/p/src2"],
      ["/p/src2", "/p/src"],
    ] as const) {
      expect(overlaps(write(a), write(b))).toBe(false);
      expect(covers(write(a), write(b))).toBe(false);
    }
  });
});

describe("cover (3.7)", () => {
  // Columns are the kinds of the covering and the covered rule: R,R  R,N  N,R  N,N.
  const rows = [
    ["equal", "/p/a", "/p/a", [true, true, false, true]],
    ["a direct child", "/p/a", "/p/a/b", [true, true, false, false]],
    ["deep below", "/p/a", "/p/a/b/c", [true, true, false, false]],
    ["the direct parent", "/p/a/b", "/p/a", [false, false, false, false]],
    ["far above", "/p/a/b/c", "/p/a", [false, false, false, false]],
    ["a string prefix", "/p/src2", "/p/src", [false, false, false, false]],
    ["unrelated", "/p/a", "/q", [false, false, false, false]],
    ["all below the root", "/", "/q/a", [true, true, false, false]],
  ] as const;
  test.each(rows)("of %s is tabulated (26)", (_, outer, inner, expected) => {
    for (const [column, [left, right]] of PAIRS.entries()) {
      const o = (permission: Permission): ScopeRule => rule(permission, left, outer);
      const i = (permission: Permission): ScopeRule => rule(permission, right, inner);
      const region = expected[column] === true;
      expect(containsRegion(o("read"), i("write"))).toBe(region);
      expect(covers(o("write"), i("write"))).toBe(region);
      expect(covers(o("write"), i("read"))).toBe(region);
      expect(covers(o("read"), i("read"))).toBe(region);
      expect(covers(o("read"), i("write"))).toBe(false);
    }
  });

  test("of a flat rule is that rule alone, not one rooted at an entry (32)", () => {
    const held = rule("write", "N", "/r");
    expect(covers(held, rule("write", "N", "/r/child"))).toBe(false);
    expect(covers(held, rule("write", "N", "/r"))).toBe(true);
  });
});

describe("deny rules of a holder", () => {
  test("travel with a grant when they touch its region, in their order (W22)", () => {
    const denies = [
      read("/proj/.env"),
      write("/other"),
      rule("write", "N", "/"),
      write("/proj/a/b"),
    ];
    expect(deniesTouching(denies, [read("/proj")])).toEqual([
      read("/proj/.env"),
      rule("write", "N", "/"),
      write("/proj/a/b"),
    ]);
    expect(deniesTouching(denies, [rule("write", "N", "/proj/x")])).toEqual([]);
    expect(deniesTouching(denies, [])).toEqual([]);
    // What hides contents travels from everywhere: commands read whatever no rule hides.
    expect(inheritedDenies(denies, [write("/proj/a")])).toEqual([
      read("/proj/.env"),
      write("/proj/a/b"),
    ]);
  });

  test("are found when they take away what is asked for at its target (W22)", () => {
    const scope = { allow: [write("/p")], deny: [write("/p/ro"), read("/p/secret")] };
    expect(denyingRule(scope, write("/p/ro/a"))).toEqual(write("/p/ro"));
    expect(denyingRule(scope, read("/p/ro/a"))).toBeUndefined();
    expect(denyingRule(scope, read("/p/secret"))).toEqual(read("/p/secret"));
    expect(denyingRule(scope, write("/p/secret"))).toEqual(read("/p/secret"));
    // A hole below the target leaves the target its permission; the deny travels along instead.
    expect(denyingRule(scope, write("/p"))).toBeUndefined();
  });

  test("free a region that they cover whole, and no other (W23)", () => {
    const held = write("/proj");
    expect(writeDenied([write("/proj/vendor")], held, write("/proj/vendor"))).toBe(true);
    expect(writeDenied([write("/proj/vendor")], held, write("/proj/vendor/x"))).toBe(true);
    expect(writeDenied([read("/proj/vendor")], held, write("/proj/vendor"))).toBe(true);
    expect(writeDenied([write("/proj")], held, write("/proj/vendor"))).toBe(true);
    expect(writeDenied([write("/proj")], held, write("/"))).toBe(true);
    expect(writeDenied([write("/proj/vendor/x")], held, write("/proj/vendor"))).toBe(false);
    expect(writeDenied([rule("write", "N", "/proj/vendor")], held, write("/proj/vendor"))).toBe(
      false,
    );
    expect(writeDenied([], held, write("/proj"))).toBe(false);
  });

  test("of a spawner are the write rules that its children hold (W32)", () => {
    const grants = [write("/p/a"), read("/p"), rule("write", "N", "/p/b")];
    expect(delegatedDenies(grants)).toEqual([write("/p/a"), rule("write", "N", "/p/b")]);
    const scope = { allow: [write("/p")], deny: delegatedDenies(grants) };
    expect(["/p/a/x", "/p/b/x", "/p/b/x/y", "/p/c"].map((path) => accessTo(scope, path))).toEqual([
      "read",
      "read",
      "write",
      "write",
    ]);
  });
});

describe("a scope built from rules as written", () => {
  const directory = temp();
  afterAll(() => directory[Symbol.asyncDispose]());
  const at = directory.join;
  mkdirSync(at("d"));
  mkdirSync(at("out"));
  symlinkSync(at("out"), at("d", "l"));
  symlinkSync(at("d"), at("way"));

  /** Access to a path as it is given: what cannot be resolved has none. */
  const access = (scope: Scope, path: string): Access => {
    const canonical = canonicalPath(path);
    return canonical.ok ? accessTo(scope, canonical.path) : "none";
  };

  test("permits what is missing below a target, and nothing by way of `..` (51)", () => {
    const scope = buildScope([write(at("d"))], []);
    expect(access(scope, `${at("d")}/a/b/new`)).toBe("write");
    expect(access(scope, `${at("d")}/a/../../etc/x`)).toBe("none");
  });

  test("permits nothing behind a link that leads out of it (52)", () => {
    const scope = buildScope([write(at("d"))], []);
    expect(access(scope, at("d", "l", "x"))).toBe("none");
    expect(access(scope, at("d", "l"))).toBe("none");
  });

  test("has canonical targets, allowed and denied", () => {
    expect(buildScope([write(at("way"))], [read(at("way", "l", "new"))])).toEqual({
      allow: [write(at("d"))],
      deny: [read(at("out", "new"))],
    });
  });

  test.each([
    ["no allow rule", [], [], "scope must declare at least one [[scope.allow]] rule"],
    ["only deny rules", [], [write("/d")], "scope must declare at least one [[scope.allow]] rule"],
    ["a relative allow", [write("d")], [], "scope target must be absolute: d"],
    ["a relative deny", [write("/")], [read("./d")], "scope target must be absolute: ./d"],
    ["an empty target", [write("")], [], "scope target must be absolute: "],
  ])("is refused with %s (53)", (_, allow, deny, message) => {
    expect(refusal(() => buildScope(allow, deny), "invalid_manifest")).toBe(message);
  });

  test("is refused with a target that cannot be resolved, and says why", () => {
    symlinkSync(at("out", "missing"), at("d", "broken"));
    const cases: readonly (readonly [string, string])[] = [
      ["/d/../x", "path contains `..`"],
      [at("d", "broken"), `${at("d", "broken")} is a broken link`],
    ];
    for (const [target, reason] of cases) {
      for (const build of [
        () => buildScope([write(target)], []),
        () => buildScope([write("/d")], [write(target)]),
      ]) {
        expect(refusal(build, "invalid_manifest")).toBe(
          `failed to resolve scope target ${target}: ${reason}`,
        );
      }
    }
  });
});

describe("the summary of a scope (3.6)", () => {
  test("lists allow rules in their order, write rules again, and no deny (54)", () => {
    const scope = {
      allow: [write("/work/proj"), rule("read", "N", "/work/docs"), rule("write", "N", "/tmp/x")],
      deny: [read("/work/proj/.env")],
    };
    expect(summarizeScope(scope)).toBe(
      "Readable:\n  - /work/proj\n  - /work/docs [non-recursive]\n  - /tmp/x [non-recursive]\n" +
        "Writable:\n  - /work/proj\n  - /tmp/x [non-recursive]",
    );
  });

  test("has no second section where nothing is writable (54)", () => {
    expect(summarizeScope({ allow: [read("/a")], deny: [] })).toBe("Readable:\n  - /a");
  });
});
