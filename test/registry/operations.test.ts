import { describe, expect, test } from "bun:test";
import type { Allocation } from "../../src/registry/allocation.ts";
import { type Allocations, childrenOf } from "../../src/registry/kinship.ts";
import { adopt, reclaim, register, release, updateSession } from "../../src/registry/operations.ts";
import { entry, names, one, reads, refusal, rule } from "./entries.ts";
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

describe("a tree", () => {
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
