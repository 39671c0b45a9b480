/**
 * The scope algebra against a model that knows nothing of positions: a rule is the set of paths that
 * it matches, written out over a small tree. Targets lie at most three names deep and the tree is
 * two levels deeper, so that every difference between two rules shows in it. `ab` begins like `a`,
 * to catch comparison by letters.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ScopeRule } from "../../src/scope/rule.ts";
import {
  type Access,
  accessTo,
  containsRegion,
  covers,
  delegatedDenies,
  deniesTouching,
  denyingRule,
  overlaps,
  ruleMatches,
  type Scope,
  writeDenied,
} from "../../src/scope/set.ts";

const NAMES = ["a", "ab", "b"];
const TARGET_DEPTH = 3;
const TREE_DEPTH = TARGET_DEPTH + 2;

/** All paths below `/` of at most `depth` names, the root included. */
function tree(depth: number): string[] {
  const paths = ["/"];
  let level = [""];
  for (let i = 0; i < depth; i += 1) {
    level = level.flatMap((parent) => NAMES.map((name) => `${parent}/${name}`));
    paths.push(...level);
  }
  return paths;
}

const TREE = tree(TREE_DEPTH);
const ORDER: readonly Access[] = ["none", "read", "write"];

/** The model of 3.2: the target, its children, and when recursive everything that starts with it. */
function isMatched(rule: ScopeRule, path: string): boolean {
  if (path === rule.target) return true;
  const prefix = rule.target === "/" ? "/" : `${rule.target}/`;
  if (!path.startsWith(prefix)) return false;
  return rule.recursive || !path.slice(prefix.length).includes("/");
}

const region = (rule: ScopeRule): string[] => TREE.filter((path) => isMatched(rule, path));

/** The model of 3.3, row by row. */
function modelAccess(scope: Scope, path: string): Access {
  const allows = scope.allow.filter((rule) => isMatched(rule, path));
  const denies = scope.deny.filter((rule) => isMatched(rule, path));
  if (allows.length === 0 || denies.some((rule) => rule.permission === "read")) return "none";
  const isWritable = allows.some((rule) => rule.permission === "write") && denies.length === 0;
  return isWritable ? "write" : "read";
}

const rules: fc.Arbitrary<ScopeRule> = fc.record({
  target: fc.constantFrom(...tree(TARGET_DEPTH)),
  permission: fc.constantFrom("read", "write"),
  recursive: fc.boolean(),
});
const lists = (minLength = 0): fc.Arbitrary<ScopeRule[]> =>
  fc.array(rules, { minLength, maxLength: 4 });
const scopes: fc.Arbitrary<Scope> = fc.record({ allow: lists(1), deny: lists() });
const paths = fc.constantFrom(...TREE);

/** Checks `property` on many cases; a failure prints the smallest counterexample and its seed. */
function holds<Values extends [unknown, ...unknown[]]>(
  arbitraries: { [Index in keyof Values]: fc.Arbitrary<Values[Index]> },
  property: (...values: Values) => void,
): void {
  fc.assert(fc.property(...arbitraries, property), { numRuns: 1000 });
}

describe("for any rule and path", () => {
  test("a rule matches exactly its region", () => {
    holds<[ScopeRule, string]>([rules, paths], (rule, path) => {
      expect(ruleMatches(rule, path)).toBe(isMatched(rule, path));
    });
  });

  test("spelling does not matter", () => {
    const spell = (path: string): string => `/.${path.replaceAll("/", "//./")}/`;
    holds<[ScopeRule, ScopeRule]>([rules, rules], (one, other) => {
      const spelled = { ...one, target: spell(one.target) };
      expect(overlaps(spelled, other)).toBe(overlaps(one, other));
      expect(containsRegion(spelled, other)).toBe(containsRegion(one, other));
      expect(ruleMatches(other, spell(one.target))).toBe(ruleMatches(other, one.target));
    });
  });
});

describe("for any two rules", () => {
  test("they overlap when some path is matched by both, in either order", () => {
    holds<[ScopeRule, ScopeRule]>([rules, rules], (one, other) => {
      const shared = region(one).some((path) => isMatched(other, path));
      expect(overlaps(one, other)).toBe(shared);
      expect(overlaps(other, one)).toBe(shared);
    });
  });

  test("one contains the other when it matches every path of it", () => {
    holds<[ScopeRule, ScopeRule]>([rules, rules], (outer, inner) => {
      const contained = region(inner).every((path) => isMatched(outer, path));
      expect(containsRegion(outer, inner)).toBe(contained);
    });
  });

  test("one covers the other when granting the other adds nothing to it", () => {
    holds<[ScopeRule, ScopeRule]>([rules, rules], (outer, inner) => {
      const alone = { allow: [outer], deny: [] };
      const both = { allow: [outer, inner], deny: [] };
      const addsNothing = TREE.every(
        (path) => modelAccess(alone, path) === modelAccess(both, path),
      );
      expect(covers(outer, inner)).toBe(addsNothing);
    });
  });

  test("covering implies overlapping, and both ways means the same grant", () => {
    holds<[ScopeRule, ScopeRule]>([rules, rules], (one, other) => {
      if (covers(one, other)) expect(overlaps(one, other)).toBe(true);
      if (covers(one, other) && covers(other, one)) expect(one).toEqual(other);
    });
  });

  test("covering goes from rule to rule to rule", () => {
    holds<[ScopeRule, ScopeRule, ScopeRule]>([rules, rules, rules], (one, two, three) => {
      if (covers(one, two) && covers(two, three)) expect(covers(one, three)).toBe(true);
    });
  });
});

describe("for any scope", () => {
  test("the permission of a path is the model's, whatever the order of the rules", () => {
    holds<[Scope, string]>([scopes, paths], (scope, path) => {
      const expected = modelAccess(scope, path);
      expect(accessTo(scope, path)).toBe(expected);
      const reversed = { allow: scope.allow.toReversed(), deny: scope.deny.toReversed() };
      expect(accessTo(reversed, path)).toBe(expected);
    });
  });

  test("one more deny never permits more, one more allow never less", () => {
    const rank = (scope: Scope, path: string): number => ORDER.indexOf(accessTo(scope, path));
    holds<[Scope, ScopeRule, string]>([scopes, rules, paths], (scope, extra, path) => {
      const now = rank(scope, path);
      expect(rank({ ...scope, deny: [...scope.deny, extra] }, path)).toBeLessThanOrEqual(now);
      expect(rank({ ...scope, allow: [...scope.allow, extra] }, path)).toBeGreaterThanOrEqual(now);
    });
  });

  test("a rule is denied at its target exactly when the target loses the permission", () => {
    holds<[Scope, ScopeRule]>([scopes, rules], (scope, wanted) => {
      const granted = { allow: [wanted], deny: scope.deny };
      const isLost = modelAccess(granted, wanted.target) !== wanted.permission;
      expect(denyingRule(scope, wanted) !== undefined).toBe(isLost);
    });
  });
});

describe("for any grant of a holder", () => {
  test("the denies that touch it are all that matter in its region, and each does", () => {
    holds<[ScopeRule[], ScopeRule[]]>([lists(), lists(1)], (denies, grants) => {
      const kept = deniesTouching(denies, grants);
      const withKept = { allow: grants, deny: kept };
      const withAll = { allow: grants, deny: denies };
      expect(
        TREE.filter((path) => modelAccess(withKept, path) !== modelAccess(withAll, path)),
      ).toEqual([]);
      const isGranted = (path: string): boolean => grants.some((grant) => isMatched(grant, path));
      expect(kept.filter((deny) => !region(deny).some(isGranted))).toEqual([]);
    });
  });

  test("a child with the grant and those denies never exceeds the holder", () => {
    holds<[Scope, ScopeRule]>([scopes, rules], (holder, grant) => {
      if (!holder.allow.some((rule) => covers(rule, grant))) return;
      const child = { allow: [grant], deny: deniesTouching(holder.deny, [grant]) };
      const excess = TREE.filter(
        (path) => ORDER.indexOf(accessTo(child, path)) > ORDER.indexOf(modelAccess(holder, path)),
      );
      expect(excess).toEqual([]);
    });
  });

  test("what the children hold for writing, the spawner may only read", () => {
    holds<[Scope, ScopeRule[]]>([scopes, lists()], (scope, grants) => {
      const spawner = { ...scope, deny: [...scope.deny, ...delegatedDenies(grants)] };
      const children = { allow: grants, deny: [] };
      const expected = (path: string): Access => {
        const before = modelAccess(scope, path);
        return before === "write" && modelAccess(children, path) === "write" ? "read" : before;
      };
      expect(TREE.filter((path) => accessTo(spawner, path) !== expected(path))).toEqual([]);
    });
  });

  test("a region called denied has no path that the holder can write", () => {
    let denied = 0;
    holds<[ScopeRule[], ScopeRule, ScopeRule]>([lists(), rules, rules], (denies, held, wanted) => {
      if (!writeDenied(denies, held, wanted)) return;
      denied += 1;
      const holder = { allow: [{ ...held, permission: "write" as const }], deny: denies };
      const writable = region(wanted).filter((path) => modelAccess(holder, path) === "write");
      expect(writable).toEqual([]);
    });
    expect(denied).toBeGreaterThan(50); // the property is not empty
  });

  test("a region whose target the holder can write is never called denied", () => {
    holds<[ScopeRule[], ScopeRule, ScopeRule]>([lists(), rules, rules], (denies, held, wanted) => {
      const holder = { allow: [{ ...held, permission: "write" as const }], deny: denies };
      if (modelAccess(holder, wanted.target) !== "write") return;
      expect(writeDenied(denies, held, wanted)).toBe(false);
    });
  });
});
