/** How fast the registry is, and how it shares its lock among those who want it. */
import { describe, expect, test } from "bun:test";
import { closeSync, constants, openSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { tryFlock, trySharedFlock } from "../../src/base/libc.ts";
import { identityOf } from "../../src/base/process.ts";
import { RegistryLock } from "../../src/registry/lock.ts";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { eventually } from "../support/pod.ts";
import { temp, within } from "../support/temp.ts";
import { actor, actors } from "./actor.ts";
import { entry, rejection, rule } from "./entries.ts";
import { id, LIMITS, writing } from "./household.ts";

const DEADLINE_MS = 15_000;

describe("who has just had the lock", () => {
  /** What an exclusive lock on the directory finds: whether anybody waits there. */
  const waiters = (directory: string): "some" | "none" => {
    const fd = openSync(directory, constants.O_RDONLY);
    try {
      return tryFlock(fd) === "taken" ? "none" : "some";
    } finally {
      closeSync(fd);
    }
  };
  /** Milliseconds of an operation that follows another one at once. */
  const second = async (lock: RegistryLock): Promise<number> => {
    await lock.hold(() => undefined);
    const started = performance.now();
    await lock.hold(() => undefined);
    return performance.now() - started;
  };

  test("lets those go first who wait for it, and goes on at once when nobody does", async () => {
    await using dir = temp();
    const lock = new RegistryLock(dir.join("lock"));
    const best = async (): Promise<number> => {
      const spans: number[] = [];
      for (let n = 0; n < 20; n += 1) spans.push(await second(lock));
      return Math.min(...spans);
    };
    expect(await best()).toBeLessThan(5);
    const waiting = openSync(dir.path, constants.O_RDONLY);
    expect(trySharedFlock(waiting)).toBe("taken");
    for (let n = 0; n < 3; n += 1) expect(await second(lock)).toBeGreaterThan(10);
    closeSync(waiting);
    expect(await best()).toBeLessThan(5);
  });

  test("sees who waits: several at once, and nobody any more when all have had it", async () => {
    await using dir = temp();
    await using holder = await actor();
    await using pool = await actors(3);
    const { lock } = tablePaths(dir.path);
    await holder.tell({ op: "grab", path: lock });
    expect(waiters(dir.path)).toBe("none");
    const registered = pool.map((pod, n) =>
      pod.tell({ op: "register", base: dir.path, name: `p${n}`, allow: [rule(`/w/${n}`)] }),
    );
    await eventually(() => waiters(dir.path) === "some", "somebody to wait");
    await holder.tell({ op: "drop", path: lock });
    await within(Promise.all(registered), DEADLINE_MS, "three registrations");
    expect(waiters(dir.path)).toBe("none");
  });
});

test("registry operations take less than 10 ms at the median with 1,000 allocations", async () => {
  await using dir = temp();
  const sleepers = Array.from({ length: 20 }, () =>
    Bun.spawn(["sleep", "1000"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" }),
  );
  try {
    const registry = new Registry(dir.path);
    await registry.register(id("first"), writing("/first"), "first");
    const { file } = tablePaths(dir.path);
    const allocations = Array.from({ length: 1000 }, (_, n) =>
      entry(`p${n}`, [rule(`/w/${n}/src`), rule(`/w/${n}/docs`)], {
        owner: identityOf(sleepers[n % sleepers.length]?.pid ?? 0),
        delegated_from: n % 16 === 0 ? null : `p${n - (n % 16)}`,
      }),
    );
    writeFileSync(file, JSON.stringify({ version: 1, allocations }, null, 2));
    const p0 = { name: "p0", instance: "p0-1" };
    const child = { name: "child", instance: "i" };
    const operations: Record<string, () => Promise<unknown>> = {
      delegate: () =>
        registry.delegate(p0, child, [rule("/w/0/src/x")], { ...LIMITS, maxChildren: 99 }),
      adopt: () => registry.adopt(child, "session of child"),
      "update session": () => registry.updateSession(child, "another session of child"),
      release: () => registry.release(child),
      "a refused name": () => rejection(registry.register(id("p7"), writing("/free"), "S")),
      "a refused region": () =>
        rejection(registry.register(id("new"), writing("/w/500/src/x"), "S")),
    };
    // What the machine does otherwise must not decide: of six rows the best counts, and where more
    // wants to run than there are processors, the processor's time instead of the clock's.
    const cpuMs = (): number => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    };
    const best = new Map(Object.keys(operations).map((name) => [name, Number.POSITIVE_INFINITY]));
    const slow = (): [string, number][] => [...best].filter(([, median]) => median >= 10);
    for (let row = 0; row < 6 && slow().length > 0; row += 1) {
      const now = (loadavg()[0] ?? 0) > availableParallelism() ? cpuMs : () => performance.now();
      const spans = new Map(Object.keys(operations).map((name) => [name, [] as number[]]));
      for (let n = 0; n < 11; n += 1) {
        for (const [name, operation] of Object.entries(operations)) {
          const started = now();
          await operation();
          spans.get(name)?.push(now() - started);
        }
      }
      for (const [name, list] of spans) {
        const median = list.toSorted((a, b) => a - b)[5] ?? Number.NaN;
        best.set(name, Math.min(best.get(name) ?? Number.NaN, median));
      }
    }
    // 5 ms on an idle machine; a refusal took 20 ms when everybody's death was looked into for it.
    expect(slow()).toEqual([]);
  } finally {
    for (const sleeper of sleepers) sleeper.kill("SIGKILL");
    await Promise.all(sleepers.map((sleeper) => sleeper.exited));
  }
}, 60_000);
