import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { MountTree } from "../../src/base/mounts.ts";
import { delegate } from "../../src/registry/delegation.ts";
import { register, release } from "../../src/registry/operations.ts";
import { canonicalRule } from "../../src/scope/rule.ts";
import { accessTo } from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";
import { entry, flat, names, one, reads, refusal, rule } from "./entries.ts";
import { family, line, reserve, roots } from "./trees.ts";

describe("a delegation", () => {
  test("outside the spawner's scope is refused and changes nothing (28, 60)", () => {
    const table = roots(entry("a", [rule("/src")]));
    const before = structuredClone(table);
    const error = refusal(() => reserve(table, "a", "b", [rule("/docs")]));
    expect(error.code).toBe("not_subset");
    expect(error.message).toStartWith(
      "requested scope `/docs` is not within spawner `a`'s effective scope",
    );
    expect(error.message).toContain("it may write: /src"); // W25
    expect(table).toEqual(before);
    expect(accessTo({ allow: one(table, "a").scope_allow, deny: [] }, "/src/x")).toBe("write");
  });

  test("of what a child holds is refused, what it does not hold is given (29)", () => {
    expect(refusal(() => reserve(family(), "a", "c", [rule("/src/core")])).code).toBe("not_subset");
    expect(names(reserve(family(), "a", "c", [rule("/src/other")]).table)).toEqual(["a", "b", "c"]);
  });

  test("of a part of what a child holds is not within, and says to whom it is lent (30)", () => {
    const error = refusal(() => reserve(family(), "a", "c", [rule("/src/core/sub")]));
    expect(error.code).toBe("not_subset");
    expect(error.message).toContain("lent out: /src/core to `b`");
  });

  test("that reaches over a child's region is refused, and over a grandchild's too", () => {
    expect(refusal(() => reserve(family(), "a", "c", [rule("/src")])).code).toBe("not_subset");
    const table = release(line(), "b", "b-1"); // now `d` is `a`'s
    expect(refusal(() => reserve(table, "a", "c", [rule("/src/core")])).code).toBe("not_subset");
    expect(names(reserve(table, "a", "c", [rule("/src/core/y")]).table)).toEqual(["a", "d", "c"]);
  });

  test("for reading is given even where a child writes", () => {
    expect(names(reserve(family(), "a", "c", [reads("/src/core")]).table)).toContain("c");
  });

  test("for reading needs cover by one rule of the spawner (W24)", () => {
    const table = roots(entry("a", [rule("/src")]));
    expect(refusal(() => reserve(table, "a", "b", [reads("/docs")])).code).toBe("not_subset");
  });

  test("is not covered by two rules together (W25)", () => {
    const table = roots(entry("a", [rule("/p/a"), rule("/p/b")]));
    expect(refusal(() => reserve(table, "a", "b", [rule("/p")])).message).toContain(
      "it may write: /p/a, /p/b",
    );
  });

  test("below a non-recursive rule is refused, the same rule is given (32)", () => {
    const table = roots(entry("a", [flat("/r")]));
    expect(refusal(() => reserve(table, "a", "b", [flat("/r/child")])).code).toBe("not_subset");
    expect(names(reserve(table, "a", "b", [flat("/r")]).table)).toEqual(["a", "b"]);
  });

  test("of what a stranger holds is refused, naming it, although a sound table never has that (W30)", () => {
    const damaged = [entry("a", [rule("/src")]), entry("x", [rule("/src/core")])];
    const error = refusal(() => reserve(damaged, "a", "b", [rule("/src/core/y")]));
    expect(error.code).toBe("write_conflict");
    expect(error.message).toContain("conflicts with pod `x`");
  });

  test("by a spawner that is not registered, or is another run of the name, is refused (33)", () => {
    const error = refusal(() => reserve([], "a", "b", [rule("/src")]));
    expect(error.code).toBe("unknown_pod");
    expect(error.message).toBe("pod `a` is not registered");
    const successor = [entry("a", [rule("/src")], { instance: "a-2" })];
    expect(refusal(() => reserve(successor, "a", "b", [rule("/src")])).code).toBe("unknown_pod");
  });

  test("under a taken name is refused, the spawner's own included", () => {
    expect(refusal(() => reserve(family(), "a", "b", [rule("/src/o")])).code).toBe(
      "duplicate_name",
    );
    expect(refusal(() => reserve(family(), "b", "a", [rule("/src/core/o")])).code).toBe(
      "duplicate_name",
    );
  });

  test("is a reservation under its spawner without a session", () => {
    const { entry: reserved } = reserve(roots(entry("a", [rule("/src")])), "a", "b", [
      rule("/src/core"),
    ]);
    expect(reserved).toMatchObject({ delegated_from: "a", session_id: null, expires_at: 9 });
  });

  test("is held by no session that is looked up (44)", () => {
    const { table } = reserve(roots(entry("a", [rule("/src")])), "a", "b", [rule("/src/core")]);
    // A second reservation does not clash with the null of the first.
    const { table: two } = reserve(table, "a", "c", [rule("/src/docs")]);
    expect(two.map((held) => held.session_id)).toEqual(["session of a-1", null, null]);
  });

  test("of a path with `..` or of a link to the outside is refused (63)", async () => {
    await using dir = temp();
    mkdirSync(dir.join("proj"));
    mkdirSync(dir.join("other"));
    symlinkSync(dir.join("other"), dir.join("proj", "l"));
    const table = roots(entry("a", [rule(dir.join("proj"))]));
    expect(refusal(() => canonicalRule(rule(`${dir.path}/proj/../other`))).code).toBe(
      "invalid_argument",
    );
    const link = canonicalRule(rule(dir.join("proj", "l")));
    expect(refusal(() => reserve(table, "a", "b", [link])).code).toBe("not_subset");
  });

  test.each(["/proj/../etc", "/proj/..", "proj", "", "/proj//x", "/proj/./x", "/proj/"])(
    "of a target that nobody made canonical is refused: %p (63)",
    (target) => {
      const table = roots(entry("a", [rule("/")]));
      expect(refusal(() => reserve(table, "a", "b", [rule(target)])).code).toBe("invalid_argument");
      expect(refusal(() => register([], entry("b", [rule(target)]))).code).toBe("invalid_argument");
    },
  );
});

describe("a tree", () => {
  test("grows to the depth limit and no further, and the refusal says the limit", () => {
    let table = roots(entry("p0", [rule("/t")]));
    for (const depth of [1, 2]) {
      const { table: next } = reserve(table, `p${depth - 1}`, `p${depth}`, [reads("/t")], {
        maxDepth: 2,
        maxChildren: 9,
      });
      table = next;
    }
    const error = refusal(() =>
      reserve(table, "p2", "p3", [reads("/t")], { maxDepth: 2, maxChildren: 9 }),
    );
    expect(error.code).toBe("limit_reached");
    expect(error.message).toContain("2 levels below their root");
  });

  test("has at most the limit of live children at one Pod, reservations counted (77)", () => {
    let table = roots(entry("a", [rule("/t")]));
    for (const child of ["b", "c"]) table = reserve(table, "a", child, [reads("/t")]).table;
    const limits = { maxDepth: 4, maxChildren: 2 };
    const error = refusal(() => reserve(table, "a", "d", [reads("/t")], limits));
    expect(error.code).toBe("limit_reached");
    expect(error.message).toStartWith("too many live child pods (2, limit 2");
    const freed = release(table, "b", "b-1");
    expect(names(reserve(freed, "a", "d", [reads("/t")], limits).table)).toEqual(["a", "c", "d"]);
  });
});

describe("a region with a second name (W31)", () => {
  const names31 = {
    mounts: new MountTree([
      { id: 1, parent: 0, device: "8:1", root: "/", point: "/" },
      { id: 2, parent: 1, device: "8:1", root: "/src", point: "/mnt/src" },
    ]),
    isSame: () => false,
  };

  test("is refused to a root and to a child, and the refusal says why", () => {
    const table = family();
    const error = refusal(() => register(table, entry("x", [rule("/mnt/src/core/y")]), names31));
    expect(error.message).toContain("conflicts with pod `b` rule `/src/core` (two names of the");
    const holder = register(table, entry("r", [rule("/mnt/other")]));
    expect(names(register(holder, entry("y", [rule("/mnt/z")]), names31))).toContain("y");
    const both = roots(entry("a", [rule("/src"), rule("/mnt")]));
    const given = reserve(both, "a", "b", [rule("/src/core")]).table;
    const reservation = entry("c", [rule("/mnt/src/core")], { session_id: null });
    const spawner = { name: "a", instance: "a-1" };
    const limits = { maxDepth: 4, maxChildren: 16 };
    expect(refusal(() => delegate(given, spawner, reservation, limits, names31)).message).toContain(
      "conflicts with pod `b` rule `/src/core`",
    );
  });
});
