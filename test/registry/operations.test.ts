import { describe, expect, test } from "bun:test";
import type { Allocation } from "../../src/registry/allocation.ts";
import {
  adopt,
  type Allocations,
  childrenOf,
  delegate,
  reclaim,
  register,
  release,
  updateSession,
} from "../../src/registry/operations.ts";
import { canonicalRule } from "../../src/scope/rule.ts";
import { accessTo } from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";
import { mkdirSync, symlinkSync } from "node:fs";
import { entry, flat, names, one, reads, refusal, rule } from "./entries.ts";
import { family, line, reserve, roots } from "./trees.ts";

const everyoneDead =
  (...dead: string[]) =>
  (candidate: Allocation) =>
    dead.includes(candidate.pod_name);

describe("a root", () => {
  test("is refused where another Pod may write, which is named with how to end it (21)", () => {
    const error = refusal(() =>
      register(roots(entry("a", [rule("/src")])), entry("b", [rule("/src/core")])),
    );
    expect(error.code).toBe("write_conflict");
    expect(error.message).toStartWith(
      "requested scope `/src/core` conflicts with pod `a` rule `/src` (",
    );
    expect(error.message).toContain("pod stop a");
    expect(error.data).toMatchObject({ pod: "a", socket: "/run/pods/a/sock", pid: process.pid });
  });

  test("may read what another one writes, and write what another one reads (22)", () => {
    const table = roots(entry("a", [rule("/src")]), entry("b", [reads("/src/core")]));
    expect(names(table)).toEqual(["a", "b"]);
    expect(names(roots(entry("b", [reads("/src")]), entry("a", [rule("/src")])))).toEqual([
      "b",
      "a",
    ]);
  });

  test("is refused under a name that is registered (23)", () => {
    const error = refusal(() =>
      register(roots(entry("a", [])), entry("a", [], { session_id: "S" })),
    );
    expect(error.code).toBe("duplicate_name");
    expect(error.message).toBe("pod name `a` is already registered");
  });

  test("is refused with a session that another Pod writes, which is named with its socket (24)", () => {
    const table = roots(entry("first", [rule("/one")], { session_id: "S" }));
    const error = refusal(() =>
      register(table, entry("second", [rule("/two")], { session_id: "S" })),
    );
    expect(error.code).toBe("session_conflict");
    expect(error.message).toBe("session S is already held by pod `first` at /run/pods/first/sock");
  });

  test("has no parent, whatever its entry says", () => {
    const table = roots(entry("a", []), entry("b", [], { delegated_from: "a" }));
    expect(one(table, "b").delegated_from).toBeNull();
  });

  test("does not become the parent of an orphan that named a Pod of that name", () => {
    const orphan = entry("d", [rule("/src")], { delegated_from: "gone" });
    const table = register([orphan], entry("gone", [rule("/docs")]));
    expect(childrenOf(table, "gone")).toEqual([]);
    expect(one(table, "d").delegated_from).toBeNull();
  });
});

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

  test("gives a removed Pod's children to its parent (34)", () => {
    const table = release(line(), "b", "b-1");
    expect(names(table)).toEqual(["a", "d"]);
    expect(one(table, "d").delegated_from).toBe("a");
  });

  test("makes the children of a removed root roots with the same scope", () => {
    const table = release(line(), "a", "a-1");
    expect(one(table, "b")).toMatchObject({
      delegated_from: null,
      scope_allow: [rule("/src/core")],
    });
    expect(one(table, "d").delegated_from).toBe("b");
  });

  test("loses dead Pods in any position, several at once (35)", () => {
    for (const order of [line(), line().toReversed()]) {
      const { table, removed } = reclaim(order, everyoneDead("a", "b"));
      expect(names(table)).toEqual(["d"]);
      expect(one(table, "d")).toMatchObject({
        delegated_from: null,
        scope_allow: [rule("/src/core/x")],
      });
      expect(names(removed).toSorted()).toEqual(["a", "b"]);
    }
  });

  test("stays the same object when nobody is dead", () => {
    const table = line();
    expect(reclaim(table, () => false).table).toBe(table);
  });

  test("loses exactly the dead one of two entries of one name", () => {
    const alive = entry("a", [rule("/x")], { instance: "a-2" });
    const dead = entry("a", [rule("/y")], { instance: "a-1" });
    const { table } = reclaim([alive, dead], (candidate) => candidate === dead);
    expect(table).toEqual([alive]);
  });

  test("gives the region back to the parent (36)", () => {
    const table = release(family(), "b", "b-1");
    expect(names(reserve(table, "a", "c", [rule("/src/core")]).table)).toEqual(["a", "c"]);
  });

  test("gives back only what no grandchild holds (37)", () => {
    const table = release(line(), "b", "b-1");
    expect(refusal(() => reserve(table, "a", "c", [rule("/src/core/x")])).code).toBe("not_subset");
    expect(names(reserve(table, "a", "c", [rule("/src/core/y")]).table)).toContain("c");
  });
});

describe("a release", () => {
  test("of a name that is free or belongs to another run changes nothing", () => {
    const table = line();
    expect(release(table, "nobody", "x")).toBe(table);
    expect(release(table, "b", "b-0")).toBe(table);
  });
});

describe("an adoption", () => {
  const reserved = () =>
    reserve(roots(entry("a", [rule("/src")])), "a", "b", [rule("/src/core")]).table;

  test("turns the reservation into the child's own entry (41)", () => {
    const { table, entry: child } = adopt(reserved(), "b", "b-1", { pid: 77 }, "S");
    expect(child).toMatchObject({
      pid: 77,
      session_id: "S",
      expires_at: null,
      delegated_from: "a",
    });
    expect(one(table, "b")).toBe(child);
    expect(names(table)).toEqual(["a", "b"]);
  });

  test("with another instance, or a second time, is refused (42)", () => {
    const wrong = refusal(() => adopt(reserved(), "b", "b-2", {}, "S"));
    expect(wrong.code).toBe("not_reservation");
    expect(wrong.message).toBe("pod `b` is not a reservation of this spawner");
    expect(refusal(() => adopt(reserved(), "b", "", {}, "S")).code).toBe("not_reservation");
    const { table } = adopt(reserved(), "b", "b-1", {}, "S");
    expect(refusal(() => adopt(table, "b", "b-1", {}, "T")).code).toBe("not_reservation");
  });

  test("of a root is refused, and of nothing is unknown (42, 43)", () => {
    expect(refusal(() => adopt(reserved(), "a", "a-1", {}, "S")).code).toBe("not_reservation");
    const error = refusal(() => adopt(reserved(), "ghost", "g", {}, "S"));
    expect(error.code).toBe("unknown_pod");
    expect(error.message).toBe("pod `ghost` is not registered");
  });

  test("with a session that another Pod writes is refused", () => {
    expect(refusal(() => adopt(reserved(), "b", "b-1", {}, "session of a-1")).code).toBe(
      "session_conflict",
    );
  });
});

describe("a Pod that changes its session", () => {
  const table = roots(entry("a", [], { session_id: "S1" }), entry("b", [], { session_id: "S2" }));

  test("is refused one that another Pod writes, and frees its old one (45)", () => {
    const error = refusal(() => updateSession(table, "a", "a-1", "S2"));
    expect(error.message).toBe("session S2 is already held by pod `b` at /run/pods/b/sock");
    const moved = updateSession(table, "a", "a-1", "S3");
    expect(one(moved, "a").session_id).toBe("S3");
    expect(names(register(moved, entry("c", [], { session_id: "S1" })))).toEqual(["a", "b", "c"]);
  });

  test("may name its own session again", () => {
    expect(one(updateSession(table, "a", "a-1", "S1"), "a").session_id).toBe("S1");
  });

  test("is unknown when it is not registered, or as another run of the name", () => {
    expect(refusal(() => updateSession(table, "x", "x-1", "S9")).code).toBe("unknown_pod");
    expect(refusal(() => updateSession(table, "a", "a-2", "S9")).code).toBe("unknown_pod");
  });

  test("is unknown while it is a reservation: its session comes with its adoption", () => {
    const reserved = reserve(roots(entry("a", [rule("/src")])), "a", "b", [
      rule("/src/core"),
    ]).table;
    expect(refusal(() => updateSession(reserved, "b", "b-1", "S9")).code).toBe("unknown_pod");
  });
});

describe("a root that comes back under its name (101, W52)", () => {
  /** `a` → `b` → `d`, of which only `d` is left. */
  const remains = (): Allocations => reclaim(line(), everyoneDead("a", "b")).table;
  const again = (allow = [rule("/src")]): Allocation =>
    entry("a", allow, { instance: "a-2", session_id: "new" });

  test("has what is left of its tree as its children, whose regions do not stop it", () => {
    const table = register(remains(), again());
    expect(names(table)).toEqual(["d", "a"]);
    expect(one(table, "d")).toMatchObject({
      delegated_from: "a",
      lineage: [
        { pod_name: "b", instance: "b-1" },
        { pod_name: "a", instance: "a-2" },
      ],
    });
  });

  test("has them with all that is below them", () => {
    const table = reclaim(line(), everyoneDead("a")).table;
    const back = register(table, again());
    expect(one(back, "b").delegated_from).toBe("a");
    expect(one(back, "d")).toMatchObject({ delegated_from: "b" });
    expect(one(back, "d").lineage.map(({ instance }) => instance)).toEqual(["b-1", "a-2"]);
  });

  test("finds them also when nobody has removed its own dead entry's traces yet", () => {
    const dangling = remains().map((left) => ({ ...left, delegated_from: "b" }));
    expect(one(register(dangling, again()), "d").delegated_from).toBe("a");
  });

  test("is refused when one of them writes outside its new scope, which stays a root", () => {
    const small = again([rule("/src/core/x/deep")]);
    expect(refusal(() => register(remains(), small)).message).toContain("conflicts with pod `d`");
    const elsewhere = register(remains(), again([rule("/other")]));
    expect(one(elsewhere, "d").delegated_from).toBeNull();
  });

  test("is refused by a stranger in its scope all the same", () => {
    const table = register(remains(), entry("s", [rule("/src/y")]));
    expect(refusal(() => register(table, again())).message).toContain("conflicts with pod `s`");
  });

  test("under another name is refused by them", () => {
    const other = entry("c", [rule("/src")]);
    expect(refusal(() => register(remains(), other)).message).toContain("conflicts with pod `d`");
  });

  test("does not take them from a parent that lives", () => {
    const table = release(line(), "b", "b-1");
    expect(refusal(() => register(table, again())).code).toBe("duplicate_name");
    expect(one(table, "d").delegated_from).toBe("a");
  });
});

describe("a region with a second name (W31)", () => {
  const names31 = {
    mounts: [
      { device: "8:1", root: "/", point: "/" },
      { device: "8:1", root: "/src", point: "/mnt/src" },
    ],
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
