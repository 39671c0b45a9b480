import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { identityOf } from "../../src/base/process.ts";
import type { Allocation } from "../../src/registry/allocation.ts";
import { joinAsChild } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { saveTable, tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, one, refusal, rejection, rule, zombie } from "./entries.ts";
import { household, id, LIMITS, writing } from "./household.ts";

const LINUX = process.platform === "linux";
const save = (base: string, ...allocations: Allocation[]): void =>
  saveTable(base, { allocations, rest: {} });
/** Changes whenever the table is written. */
const version = (base: string): number => statSync(tablePaths(base).file).ino;

describe("a reservation", () => {
  test("is adopted by its instance: process and session are set, and the session finds it (41)", async () => {
    await using dir = temp();
    await using pod = await actor();
    const { registry, give } = await household(dir.path);
    const { value: reserved } = await give("/src/core", "c");
    expect(reserved).toMatchObject({ pid: process.pid, session_id: null, delegated_from: "a" });
    await pod.tell({ op: "joinChild", base: dir.path, name: "c", session: "C" });
    const adopted = one(registry.peek(), "c");
    const { start } = identityOf(pod.pid);
    expect(adopted).toEqual({
      ...reserved,
      pid: pod.pid,
      pid_start: start,
      session_id: "C",
      expires_at: null,
    });
    expect(await registry.lookupSession("C")).toEqual(adopted);
  });

  test("is not adopted with a wrong or no instance, nor twice, and stays as it is (42)", async () => {
    await using dir = temp();
    await using pod = await actor();
    const { registry, give } = await household(dir.path);
    await give("/src/core", "c");
    const before = version(dir.path);
    for (const instance of ["c-2", ""]) {
      const error = await rejection(registry.adopt(id("c", instance), "S"));
      expect(error.code).toBe("not_reservation");
    }
    expect(version(dir.path)).toBe(before);
    await pod.tell({ op: "joinChild", base: dir.path, name: "c" });
    const adopted = one(registry.peek(), "c");
    expect((await rejection(registry.adopt(id("c"), "S"))).code).toBe("not_reservation");
    expect(one(registry.peek(), "c")).toEqual(adopted);
  });

  test("that does not exist is unknown to the child, which leaves nothing (43)", async () => {
    await using dir = temp();
    const registry = new Registry(dir.path);
    const error = await rejection(joinAsChild(registry, id("ghost"), "S"));
    expect(error.code).toBe("unknown_pod");
    expect(error.message).toBe("pod `ghost` is not registered");
    expect(existsSync(dir.join("ghost"))).toBe(false);
  });

  test("holds no session (44)", async () => {
    await using dir = temp();
    const { registry, give } = await household(dir.path);
    await give("/src/core", "c");
    expect(await registry.lookupSession("C")).toBeUndefined();
    expect((await registry.lookupSession("A"))?.pod_name).toBe("a");
  });

  test("goes with its spawner: others may have the region, and the child is refused (104)", async () => {
    await using dir = temp();
    await using spawner = await actor();
    await using child = await actor();
    const base = dir.path;
    await spawner.tell({ op: "join", base, name: "a", allow: [rule("/src")] });
    await spawner.tell({
      op: "delegate",
      base,
      name: "a",
      allow: [rule("/src/core")],
      child: id("c"),
    });
    await spawner.kill();
    const registry = new Registry(base);
    const { reclaimed } = await registry.register(id("x"), writing("/src/core"), "X");
    expect(names(reclaimed)).toEqual(["a", "c"]);
    const reply = await child.ask({ op: "joinChild", base, name: "c" });
    expect(reply).toMatchObject({
      ok: false,
      code: "unknown_pod",
      message: "pod `c` is not registered",
    });
    expect(names(registry.peek())).toEqual(["x"]);
    expect(readdirSync(base).filter((name) => !name.startsWith("pods."))).toEqual([]);
  });

  test("expires: the region returns to the spawner, and the late child is refused (W38)", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const over = { ...LIMITS, readyTimeoutMs: -60_000 }; // already over when it is made
    await registry.delegate(id("a"), id("c"), [rule("/src/core")], over);
    const { reclaimed } = await registry.delegate(id("a"), id("d"), [rule("/src/core")], LIMITS);
    expect(names(reclaimed)).toEqual(["c"]);
    expect((await rejection(registry.adopt(id("c"), "S"))).code).toBe("unknown_pod");
  });

  test("lasts at least a minute with the default limits", async () => {
    await using dir = temp();
    const { give } = await household(dir.path);
    const { value } = await give("/src/core", "c");
    expect(value.expires_at ?? 0).toBeGreaterThan(Date.now() + 59_000);
  });
});

describe("a Pod that died", () => {
  test("is reclaimed with its directory by whatever comes next, and its region is free", async () => {
    await using dir = temp();
    await using pod = await actor();
    await pod.tell({ op: "join", base: dir.path, name: "a", allow: [rule("/p")] });
    mkdirSync(dir.join("a", "bash-output"));
    writeFileSync(dir.join("a", "bash-output", "bash-1.log"), "x");
    const registry = new Registry(dir.path);
    expect((await rejection(registry.register(id("b"), writing("/p"), "B"))).code).toBe(
      "write_conflict",
    );
    await pod.kill();
    const { reclaimed, table } = await registry.register(id("b"), writing("/p"), "B");
    expect(names(reclaimed)).toEqual(["a"]);
    expect(names(table)).toEqual(["b"]);
    expect(readdirSync(dir.path).toSorted()).toEqual(["pods.json", "pods.json.bak", "pods.lock"]);
  });

  test.each(["release", "updateSession", "reclaim", "lookupSession", "adopt", "delegate"] as const)(
    "is reclaimed by %s, also when that is refused (W12)",
    async (operation) => {
      await using dir = temp();
      const registry = new Registry(dir.path);
      save(dir.path, entry("dead", [rule("/p")], { owner: await deadOwner() }));
      mkdirSync(dir.join("dead"));
      const calls = {
        release: () => registry.release(id("nobody")),
        updateSession: () => registry.updateSession(id("nobody"), "S"),
        reclaim: () => registry.reclaim(),
        lookupSession: () => registry.lookupSession("S"),
        adopt: () => registry.adopt(id("nobody"), "S"),
        delegate: () => registry.delegate(id("nobody"), id("c"), [], LIMITS),
      };
      await calls[operation]().catch((error: unknown) =>
        expect(error).toMatchObject({ code: "unknown_pod" }),
      );
      expect(names(registry.peek())).toEqual([]);
      expect(existsSync(dir.join("dead"))).toBe(false);
    },
  );

  test("does not keep its session: a compaction into it goes through (W12)", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const dead = entry("dead", [], { owner: await deadOwner(), session_id: "D" });
    save(dir.path, ...registry.peek(), dead);
    await registry.updateSession(id("a"), "D");
    expect((await registry.lookupSession("D"))?.pod_name).toBe("a");
  });

  test.skipIf(!LINUX)(
    "is reclaimed when a stranger has its pid, and the stranger lives on (38)",
    async () => {
      await using dir = temp();
      await using stranger = await actor();
      const owner = { ...identityOf(stranger.pid), start: "1" };
      save(dir.path, entry("old", [rule("/p")], { owner }));
      const { reclaimed } = await new Registry(dir.path).register(id("b"), writing("/p"), "B");
      expect(names(reclaimed)).toEqual(["old"]);
      expect(await stranger.tell({ op: "lifeState", base: dir.path, name: "x" })).toBe("absent");
    },
  );

  test.skipIf(!LINUX)("is reclaimed as a zombie (39)", async () => {
    await using dir = temp();
    await using gone = await zombie();
    save(dir.path, entry("old", [rule("/p")], { owner: gone.identity }));
    expect(names((await new Registry(dir.path).reclaim()).reclaimed)).toEqual(["old"]);
  });

  test.skipIf(!LINUX)(
    "on an earlier boot is reclaimed, on another machine or in another namespace kept (40)",
    async () => {
      await using dir = temp();
      const owner = identityOf(process.pid);
      save(
        dir.path,
        entry("boot", [rule("/1")], { owner: { ...owner, boot: "earlier" } }),
        entry("machine", [rule("/2")], { owner: { ...owner, machine: "other", boot: "other" } }),
        entry("space", [rule("/3")], { owner: { ...owner, pidNamespace: "pid:[1]" } }),
      );
      const { reclaimed, table } = await new Registry(dir.path).reclaim();
      expect(names(reclaimed)).toEqual(["boot"]);
      expect(names(table)).toEqual(["machine", "space"]);
    },
  );

  test("leaves its children to its parent, or makes them roots (35)", async () => {
    await using dir = temp();
    await using b = await actor();
    await using d = await actor();
    const { registry, give, child } = await household(dir.path);
    await give("/src/core", "b");
    await child(b, "b");
    await b.tell({
      op: "delegate",
      base: dir.path,
      name: "b",
      allow: [rule("/src/core/x")],
      child: id("d"),
    });
    await child(d, "d");
    await b.kill();
    const { table } = await registry.reclaim();
    expect(names(table)).toEqual(["a", "d"]);
    expect(one(table, "d").delegated_from).toBe("a");
    // The spawner may give away again what nobody below holds, and only that (37).
    expect((await rejection(give("/src/core/x", "e"))).code).toBe("not_subset");
    expect(names((await give("/src/core/y", "e")).table)).toEqual(["a", "d", "e"]);
  });

  test("does not cost a successor in the same directory anything", async () => {
    await using dir = temp();
    await using young = await actor();
    save(dir.path, entry("a", [rule("/p")], { owner: await deadOwner(), instance: "a-0" }));
    await young.tell({ op: "takeLife", base: dir.path, name: "a" });
    writeFileSync(dir.join("a", "sock"), "young");
    expect(names((await new Registry(dir.path).reclaim()).reclaimed)).toEqual(["a"]);
    expect(readFileSync(dir.join("a", "sock"), "utf8")).toBe("young");
  });

  test("does not stop others when its directory cannot be removed", async () => {
    await using dir = temp();
    save(dir.path, entry("a", [rule("/p")], { owner: await deadOwner() }));
    mkdirSync(dir.join("a"));
    writeFileSync(dir.join("a", "work"), "a person's"); // no lock: not made by a Pod
    const { table } = await new Registry(dir.path).register(id("b"), writing("/p"), "B");
    expect(names(table)).toEqual(["b"]);
    expect(existsSync(dir.join("a", "work"))).toBe(true);
  });
});

test("a look removes what those left who died while they came or cleared up", async () => {
  await using dir = temp();
  const registry = new Registry(dir.path);
  // Between making the directory and its lock; between moving one aside and deleting it.
  mkdirSync(dir.join("came"));
  mkdirSync(dir.join(".gone-1", "bash-output"), { recursive: true });
  // Not empty and without a lock: no Pod's.
  mkdirSync(dir.join("work"));
  writeFileSync(dir.join("work", "file"), "mine");
  writeFileSync(dir.join("note"), "mine");
  await registry.reclaim();
  expect(readdirSync(dir.path).toSorted()).toEqual(["note", "pods.lock", "work"]);
});

describe("a long table", () => {
  test.skipIf(!LINUX)(
    "is freed of a zombie as soon as that is in the way, or when asked to",
    async () => {
      await using dir = temp();
      await using gone = await zombie();
      const many = Array.from({ length: 150 }, (_, n) => entry(`p${n}`, [rule(`/w/${n}`)]));
      const undead = entry("undead", [rule("/z")], { owner: gone.identity });
      const dead = entry("dead", [rule("/d")], { owner: await deadOwner() });
      save(dir.path, ...many, undead, dead);
      const registry = new Registry(dir.path);
      const first = await registry.register(id("x"), writing("/x"), "X");
      expect(names(first.reclaimed)).toEqual(["dead"]);
      const second = await registry.register(id("y"), writing("/z/y"), "Y");
      expect(names(second.reclaimed)).toEqual(["undead"]);
      save(dir.path, ...many, undead);
      expect(names((await registry.reclaim()).reclaimed)).toEqual(["undead"]);
    },
  );

  test.skipIf(!LINUX)(
    "is freed of everybody dead who is in the way of one request, in every sense",
    async () => {
      await using dir = temp();
      await using gone = await zombie();
      const owner = gone.identity;
      const many = Array.from({ length: 150 }, (_, n) => entry(`p${n}`, [rule(`/w/${n}`)]));
      const undead = Array.from({ length: 9 }, (_, n) =>
        entry(`u${n}`, [rule(`/z/${n}`)], { owner }),
      );
      const registry = new Registry(dir.path);
      // The name, the session and nine regions.
      const name = entry("x", [rule("/x")], { owner });
      const session = entry("s", [rule("/s")], { owner, session_id: "X" });
      save(dir.path, ...many, ...undead, name, session);
      const first = await registry.register(id("x"), writing("/z"), "X");
      expect(one(first.table, "x")).toMatchObject({ instance: "x-1", pid: process.pid });
      expect(first.table).toHaveLength(many.length + 1);
      // Children of the spawner who asks: one has the region, and the number is full.
      const child = entry("c", [rule("/w/0/c")], { owner, delegated_from: "p0" });
      const limits = { ...LIMITS, maxChildren: 1 };
      save(dir.path, ...many, child);
      const second = await registry.delegate(id("p0"), id("d"), [rule("/w/0/c")], limits);
      expect(names(second.reclaimed)).toEqual(["c"]);
      expect(one(second.table, "d").delegated_from).toBe("p0");
    },
  );

  test("refuses what is held by the living, once", async () => {
    await using dir = temp();
    const many = Array.from({ length: 150 }, (_, n) => entry(`p${n}`, [rule(`/w/${n}`)]));
    save(dir.path, ...many);
    const before = version(dir.path);
    const error = await rejection(new Registry(dir.path).register(id("x"), writing("/w/7/x"), "X"));
    expect(error.message).toContain("conflicts with pod `p7`");
    expect(version(dir.path)).toBe(before);
  });
});

describe("reservations that are wanted together", () => {
  const wanted = (name: string, target: string) => ({ child: id(name), rules: [rule(target)] });

  test("are granted or refused one by one, in their order, and written once", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const { file, backup } = tablePaths(dir.path);
    const before = readFileSync(file, "utf8");
    const limits = { ...LIMITS, maxChildren: 3 };
    const { value, table } = await registry.delegateAll(
      id("a"),
      [
        wanted("b", "/src/b"),
        wanted("b", "/src/other"), // the name is taken by the one before
        wanted("c", "/src/b/c"), // and so is this region
        wanted("d", "/docs"),
        wanted("e", "/src/e"),
        wanted("f", "/src/f"),
        wanted("g", "/src/g"), // three are the limit
      ],
      limits,
    );
    const results = value.map((result) =>
      result.granted ? result.entry.pod_name : refusal(() => throwing(result.why)).code,
    );
    expect(results).toEqual([
      "b",
      "duplicate_name",
      "not_subset",
      "not_subset",
      "e",
      "f",
      "limit_reached",
    ]);
    expect(names(table)).toEqual(["a", "b", "e", "f"]);
    expect(registry.peek()).toEqual(table);
    expect(readFileSync(backup, "utf8")).toBe(before);
  });

  test("of which all are refused write nothing", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const before = version(dir.path);
    const requests = [wanted("b", "/docs"), wanted("a", "/src/b")];
    const { value } = await registry.delegateAll(id("a"), requests, LIMITS);
    expect(value.map(({ granted }) => granted)).toEqual([false, false]);
    expect(version(dir.path)).toBe(before);
  });

  test.skipIf(!LINUX)("do not stumble over a zombie in a long table", async () => {
    await using dir = temp();
    await using gone = await zombie();
    const many = Array.from({ length: 150 }, (_, n) => entry(`p${n}`, [rule(`/w/${n}`)]));
    const owner = gone.identity;
    const c = entry("c", [rule("/w/0/c")], { owner, delegated_from: "p0" });
    save(dir.path, ...many, c, entry("d", [rule("/d")], { owner }));
    const requests = [wanted("b", "/w/0/b"), wanted("c", "/w/0/c"), wanted("d", "/w/0/d")];
    const outcome = await new Registry(dir.path).delegateAll(id("p0"), requests, LIMITS);
    expect(outcome.value.map(({ granted }) => granted)).toEqual([true, true, true]);
    expect(names(outcome.reclaimed).toSorted()).toEqual(["c", "d"]);
  });
});

function throwing(why: unknown): never {
  throw why;
}

describe("an operation", () => {
  test("that changes nothing or is refused writes nothing", async () => {
    await using dir = temp();
    const { registry } = await household(dir.path);
    const before = version(dir.path);
    await registry.release(id("a", "another run"));
    await registry.release(id("nobody"));
    await registry.reclaim();
    await registry.lookupSession("A");
    await rejection(registry.register(id("b"), writing("/src/x"), "B"));
    await rejection(registry.register(id("c"), writing("/c"), "A"));
    await rejection(registry.delegate(id("a"), id("d"), [rule("/docs")], LIMITS));
    expect(version(dir.path)).toBe(before);
  });

  test("of a predecessor does not touch the run that has the name now (46)", async () => {
    await using dir = temp();
    await using old = await actor();
    await using young = await actor();
    const base = dir.path;
    const registry = new Registry(base);
    await old.tell({ op: "join", base, name: "coder", instance: "old", allow: [rule("/p")] });
    // Its spawner gave it up, its directory went, and the name was used again, while it still runs.
    await registry.release(id("coder", "old"));
    await Bun.$`rm -r ${dir.join("coder")}`.quiet();
    await young.tell({ op: "join", base, name: "coder", instance: "young", allow: [rule("/p")] });
    writeFileSync(dir.join("coder", "sock"), "young");
    const before = version(base);
    await old.tell({ op: "leave", base, name: "coder" });
    expect(version(base)).toBe(before);
    expect(one(registry.peek(), "coder").instance).toBe("young");
    expect(readFileSync(dir.join("coder", "sock"), "utf8")).toBe("young");
    for (const late of [
      registry.updateSession(id("coder", "old"), "S"),
      registry.adopt(id("coder", "old"), "S"),
    ]) {
      expect(["unknown_pod", "not_reservation"]).toContain((await rejection(late)).code);
    }
  });

  test("returns the table as it is on disk afterwards", async () => {
    await using dir = temp();
    const { registry, give } = await household(dir.path);
    for (const { table } of [
      await give("/src/a", "b"),
      await registry.release(id("b")),
      await registry.reclaim(),
    ]) {
      expect(table.length).toBeGreaterThan(0);
    }
    const { table } = await registry.updateSession(id("a"), "A2");
    expect(table).toEqual(registry.peek());
  });

  test("refuses children beyond the limit, and deeper than the limit (77)", async () => {
    await using dir = temp();
    const { registry, give } = await household(dir.path);
    await give("/src/a", "b");
    const full = registry.delegate(id("a"), id("c"), [rule("/src/c")], {
      ...LIMITS,
      maxChildren: 1,
    });
    expect((await rejection(full)).message).toContain("limit 1");
    const deep = registry.delegate(id("b"), id("c"), [rule("/src/a/c")], {
      ...LIMITS,
      maxDepth: 1,
    });
    expect((await rejection(deep)).code).toBe("limit_reached");
  });
});
