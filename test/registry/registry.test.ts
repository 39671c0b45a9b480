import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { identityOf } from "../../src/base/process.ts";
import { joinAsChild } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { temp } from "../support/temp.ts";
import { actor } from "./actor.ts";
import { entry, names, one, refusal, rejection, rule, zombie } from "./entries.ts";
import { household, id, LIMITS, writing } from "./household.ts";
import { save, version } from "./stored.ts";

const LINUX = process.platform === "linux";
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
