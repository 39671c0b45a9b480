import { describe, expect, test } from "bun:test";
import { conflictOwner } from "../../src/registry/conflict.ts";
import { ancestorsOf } from "../../src/registry/kinship.ts";
import { adopt, register, release } from "../../src/registry/operations.ts";
import { type ScopeRule } from "../../src/scope/rule.ts";
import { accessTo, covers, overlaps } from "../../src/scope/set.ts";
import { entry, flat, names, one, reads, refusal, rule } from "./entries.ts";
import { family, line, reserve, roots, spawned } from "./trees.ts";

describe("the refusal of a write conflict names", () => {
  test("the child that holds the region, not the root above it (31)", () => {
    const error = refusal(() => register(family(), entry("x", [rule("/src/core/x")])));
    expect(error.message).toContain("conflicts with pod `b` rule `/src/core`");
  });

  test("the root where no child holds the region", () => {
    expect(conflictOwner(family(), rule("/src/other"))?.entry.pod_name).toBe("a");
  });

  test("nobody when only the exempt holder has the region", () => {
    expect(conflictOwner(family(), rule("/src/other"), ["a"])).toBeUndefined();
  });

  test("nobody when the only holder reads", () => {
    expect(conflictOwner(roots(entry("a", [reads("/src")])), rule("/src"))).toBeUndefined();
  });

  test("the deepest holder of a tree of depth five", () => {
    let table = roots(entry("p0", [rule("/t")]));
    for (let depth = 1; depth <= 4; depth += 1) {
      const path = `/t${"/s".repeat(depth)}`;
      table = spawned(table, `p${depth - 1}`, `p${depth}`, [rule(path)]);
    }
    expect(conflictOwner(table, rule("/t/s/s/s/s/file"))?.entry.pod_name).toBe("p4");
    expect(conflictOwner(table, rule("/t/s/s/other"))?.entry.pod_name).toBe("p2");
    expect(conflictOwner(table, rule("/t"))?.entry.pod_name).toBe("p4");
  });

  test("the deepest holder of the first branch in table order", () => {
    let table = roots(entry("a", [rule("/src")]));
    table = spawned(table, "a", "left", [rule("/src/left")]);
    table = spawned(table, "a", "right", [rule("/src/right")]);
    table = spawned(table, "left", "leaf", [rule("/src/left/leaf")]);
    expect(conflictOwner(table, rule("/src"))?.entry.pod_name).toBe("leaf");
  });

  test("a holder below a Pod that itself holds nothing there", () => {
    // Damaged on purpose: the child's region lies outside its parent's.
    const table = [entry("a", [rule("/a")]), entry("b", [rule("/b")], { delegated_from: "a" })];
    expect(conflictOwner(table, rule("/b/x"))?.entry.pod_name).toBe("b");
  });

  test("a holder whose parent is not in the table: it counts as a root", () => {
    const table = [entry("d", [rule("/src")], { delegated_from: "gone" })];
    expect(conflictOwner(table, rule("/src/x"))?.entry.pod_name).toBe("d");
  });

  test("a holder even when the parents form a circle", () => {
    const table = [
      entry("a", [rule("/src")], { delegated_from: "b" }),
      entry("b", [rule("/src")], { delegated_from: "a" }),
    ];
    expect(["a", "b"]).toContain(conflictOwner(table, rule("/src"))?.entry.pod_name ?? "");
    expect(ancestorsOf(table, one(table, "a"))).toHaveLength(1);
  });

  test("a re-parented child", () => {
    const table = release(line(), "b", "b-1");
    expect(conflictOwner(table, rule("/src/core/x/y"))?.entry.pod_name).toBe("d");
    expect(conflictOwner(table, rule("/src/core/y"))?.entry.pod_name).toBe("a");
  });
});

describe("two rules (3.7)", () => {
  const R = rule;
  const N = flat;
  type Kind = (target: string) => ScopeRule;
  /** Kinds of a and b: R,R  R,N  N,R  N,N. */
  const KINDS: readonly [Kind, Kind][] = [
    [R, R],
    [R, N],
    [N, R],
    [N, N],
  ];

  test.each([
    ["equal", "/p/a", "/p/a", [true, true, true, true]],
    ["a is the direct parent of b", "/p/a", "/p/a/b", [true, true, true, true]],
    ["a is a higher ancestor of b", "/p/a", "/p/a/b/c", [true, true, false, false]],
    ["a is a direct child of b", "/p/a/b", "/p/a", [true, true, true, true]],
    ["a is deeper inside b", "/p/a/b/c", "/p/a", [true, false, true, false]],
    ["only a string prefix (27)", "/p/src", "/p/src2", [false, false, false, false]],
    ["unrelated", "/p/x", "/q/x", [false, false, false, false]],
  ])("overlap as tabulated in both orders: %s (26)", (_, a, b, expected) => {
    expect(KINDS.map(([ka, kb]) => overlaps(ka(a), kb(b)))).toEqual(expected);
    expect(KINDS.map(([ka, kb]) => overlaps(kb(b), ka(a)))).toEqual(expected);
  });

  test.each([
    ["equal", "/p/a", "/p/a", [true, true, false, true]],
    ["inner is a direct child", "/p/a", "/p/a/b", [true, true, false, false]],
    ["inner is deeper", "/p/a", "/p/a/b/c", [true, true, false, false]],
    ["inner is above", "/p/a/b", "/p/a", [false, false, false, false]],
    ["inner is only a string prefix (27)", "/p/src", "/p/src2", [false, false, false, false]],
  ])("cover as tabulated: %s (26)", (_, outer, inner, expected) => {
    // Columns c=R i=R, c=R i=N, c=N i=R, c=N i=N.
    expect(KINDS.map(([c, i]) => covers(c(outer), i(inner)))).toEqual(expected);
  });

  test("a read rule never covers a write rule, a write rule covers a read rule", () => {
    expect(covers(reads("/p"), rule("/p"))).toBe(false);
    expect(covers(rule("/p"), reads("/p"))).toBe(true);
  });

  test("a non-recursive holder does not block deeper paths, but its children (25)", () => {
    const table = roots(entry("a", [flat("/src")]));
    expect(names(register(table, entry("b", [rule("/src/a/b")])))).toEqual(["a", "b"]);
    expect(refusal(() => register(table, entry("b", [flat("/src/child")]))).code).toBe(
      "write_conflict",
    );
  });
});

describe("denies", () => {
  const deny = (target: string): ScopeRule => reads(target);

  test("of the spawner that touch the grant travel to the child and its children (66, W22)", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [deny("/proj/.env"), rule("/docs/x")] });
    const { table, entry: child } = reserve(roots(a), "a", "b", [reads("/proj")]);
    expect(child.scope_deny).toEqual([deny("/proj/.env")]);
    const adopted = adopt(table, "b", "b-1", {}, "S").table;
    const { entry: grandchild } = reserve(adopted, "b", "d", [reads("/proj")]);
    for (const { scope_allow, scope_deny } of [child, grandchild]) {
      expect(accessTo({ allow: scope_allow, deny: scope_deny }, "/proj/.env")).toBe("none");
      expect(accessTo({ allow: scope_allow, deny: scope_deny }, "/proj/src")).toBe("read");
    }
  });

  test("of reading travel from everywhere, those of writing from below the grant only", () => {
    const hidden = [deny("/p/a/secret"), deny("/p/b"), deny("/home/me/key")];
    const a = entry("a", [rule("/p")], { scope_deny: [...hidden, rule("/p/c"), rule("/p/a/ro")] });
    const { table, entry: child } = reserve(roots(a), "a", "b", [rule("/p/a")]);
    expect(child.scope_deny).toEqual([...hidden, rule("/p/a/ro")]);
    const adopted = adopt(table, "b", "b-1", {}, "S").table;
    expect(reserve(adopted, "b", "c", [rule("/p/a/x")]).entry.scope_deny).toEqual(hidden);
  });

  test("refuse a grant whose target itself is denied, naming the rule", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [deny("/proj/secret")] });
    const error = refusal(() => reserve(roots(a), "a", "b", [reads("/proj/secret/sub")]));
    expect(error.code).toBe("denied");
    expect(error.message).toBe(
      "requested scope `/proj/secret/sub` is denied for spawner `a` by rule `/proj/secret`",
    );
  });

  test("of writing refuse a write grant and allow a read grant of the same path", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor")] });
    expect(refusal(() => reserve(roots(a), "a", "b", [rule("/proj/vendor")])).code).toBe("denied");
    expect(names(reserve(roots(a), "a", "b", [reads("/proj/vendor")]).table)).toContain("b");
  });

  test("that a holder set on the whole region leave it to others (W23)", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor")] });
    expect(names(register(roots(a), entry("b", [rule("/proj/vendor")])))).toEqual(["a", "b"]);
    expect(names(register(roots(a), entry("b", [rule("/proj/vendor/x")])))).toEqual(["a", "b"]);
  });

  test("that cover only a part of the region do not (W23)", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor/x")] });
    expect(refusal(() => register(roots(a), entry("b", [rule("/proj/vendor")]))).code).toBe(
      "write_conflict",
    );
    const shallow = entry("a", [rule("/proj")], { scope_deny: [flat("/proj/vendor")] });
    expect(refusal(() => register(roots(shallow), entry("b", [rule("/proj/vendor")]))).code).toBe(
      "write_conflict",
    );
  });

  test("that a newcomer set on what others hold let it in, in this order too (W23)", () => {
    const b = entry("b", [rule("/proj/vendor")]);
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor")] });
    expect(names(register(roots(b), a))).toEqual(["b", "a"]);
    const less = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor/x")] });
    expect(refusal(() => register(roots(b), less)).code).toBe("write_conflict");
  });

  test("that a spawner set on what others hold do not stop it from delegating the rest (W23)", () => {
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor")] });
    const table = register(roots(a), entry("b", [rule("/proj/vendor")]));
    const { entry: child } = reserve(table, "a", "c", [rule("/proj")]);
    expect(accessTo({ allow: child.scope_allow, deny: child.scope_deny }, "/proj/vendor/f")).toBe(
      "read",
    );
  });

  test("of an ancestor do not hide a child that may write there", () => {
    // Damaged on purpose: the child lacks its parent's deny.
    const a = entry("a", [rule("/proj")], { scope_deny: [rule("/proj/vendor")] });
    const b = entry("b", [rule("/proj/vendor")], { delegated_from: "a" });
    expect(conflictOwner([a, b], rule("/proj/vendor"))?.entry.pod_name).toBe("b");
  });
});
