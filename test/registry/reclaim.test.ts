import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { identityOf } from "../../src/base/process.ts";
import { Registry } from "../../src/registry/registry.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { deadOwner, entry, names, one, rejection, rule, zombie } from "./entries.ts";
import { household, id, LIMITS, writing } from "./household.ts";
import { save, version } from "./stored.ts";

const LINUX = process.platform === "linux";
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
    const dead = entry("a", [rule("/p")], { owner: await deadOwner(), instance: "a-0" });
    save(dir.path, dead);
    await young.tell({ op: "takeLife", base: dir.path, name: "a" });
    writeFileSync(dir.join("a", "sock"), "young");
    writeFileSync(dir.join("a", "allocation.json"), JSON.stringify(dead)); // not cleared yet
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
