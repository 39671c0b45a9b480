import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { PodError } from "../../src/base/errors.ts";
import { tryFlock } from "../../src/base/libc.ts";
import { identityOf } from "../../src/base/process.ts";
import { joinAsRoot } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { listPodsTool, stopPodTool } from "../../src/spawn/control-tools.ts";
import { Family } from "../../src/spawn/family.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import type { StopLimits } from "../../src/spawn/stop.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { deadOwner, fakePod, listed } from "./fake-pod.ts";
import { fakeChild, grant, rule, startSpawner, type TestSpawner } from "./spawner.ts";

const FAST: StopLimits = { askMs: 400, termMs: 300, killMs: 2000 };

/** Spawns `name` on a directory of that name, as a fake child with these steps. */
async function spawned(spawner: TestSpawner, name: string, ...steps: string[]): Promise<number> {
  const context = { ...spawner.context, command: fakeChild(...steps) };
  const input = { name, task: "t", scope: [grant(spawner.directory(name))] };
  const outcome = await spawner.call(spawnPodTool(context, 300), input);
  if (spawner.entry(name) === undefined) throw new Error(outcome.summary);
  return spawner.entry(name)?.pid ?? 0;
}

const stop = (spawner: TestSpawner, name: string, limits = FAST) =>
  spawner.call(stopPodTool(spawner.context, limits), { name });
const list = (spawner: TestSpawner, probeMs = 300) =>
  spawner.call(listPodsTool(spawner.context, probeMs), {});

/** Nothing of `name` is left, and its directory may be written again. */
function expectGone(spawner: TestSpawner, name: string): void {
  expect(spawner.entry(name)).toBeUndefined();
  expect(spawner.context.children.get(name)).toBeUndefined();
  expect(spawner.access(join(spawner.world.work, name, "f"))).toBe("write");
  expect(spawner.world.processes()).toEqual([]);
  expect(spawner.world.directories()).toEqual(["root"]);
  expect(spawner.notices).toEqual([]);
}

describe("StopPod", () => {
  test("asks, waits for the exit, and then gives the paths back (87)", async () => {
    await using spawner = await startSpawner();
    const record = join(spawner.world.home, "record");
    await spawned(spawner, "kid", `record=${record}`, "adopt", "listen=ack", "ready");
    const target = join(spawner.world.work, "kid");
    expect(await stop(spawner, "kid", { askMs: 8000, termMs: 1, killMs: 1 })).toEqual({
      summary: `stopped pod \`kid\`; reclaimed scope: write:${target}`,
      isError: false,
    });
    expect(readFileSync(record, "utf8").trimEnd().split("\n").at(-1)).toContain("shutdown");
    expectGone(spawner, "kid");
  });

  test("gives nothing back while the child, which has said yes, is still there (W50)", async () => {
    await using spawner = await startSpawner();
    const record = join(spawner.world.home, "record");
    const pid = await spawned(spawner, "kid", `record=${record}`, "adopt", "listen=slow", "ready");
    const stopping = stop(spawner, "kid", { askMs: 8000, termMs: 1, killMs: 1 });
    const heard = (): boolean => readFileSync(record, "utf8").includes("shutdown");
    await eventually(heard, "shutdown to be heard");
    expect(isRunning(pid)).toBe(true);
    expect(spawner.entry("kid")?.pid).toBe(pid);
    expect(spawner.access(join(spawner.world.work, "kid/f"))).toBe("read");
    expect((await stopping).summary).toStartWith("stopped pod `kid`; reclaimed");
    expectGone(spawner, "kid");
  });

  test("forces a child that ignores it, and ends what that has started: its file grows no more (88)", async () => {
    await using spawner = await startSpawner();
    const file = join(spawner.world.home, "grows");
    const steps = ["ignore-term", `grandchild=${file}`, "adopt", "listen=deaf", "ready"];
    await spawned(spawner, "kid", ...steps);
    await eventually(() => existsSync(file), "the grandchild to write");
    const { summary } = await stop(spawner, "kid");
    const size = statSync(file).size;
    expect(summary).toStartWith("stopped pod `kid` (forced); reclaimed scope: write:");
    expectGone(spawner, "kid");
    await list(spawner);
    expect(statSync(file).size).toBe(size);
  });

  test("ends also what a child that ends politely leaves in its group", async () => {
    await using spawner = await startSpawner();
    const file = join(spawner.world.home, "grows");
    await spawned(spawner, "kid", `grandchild=${file}`, "adopt", "listen=ack", "ready");
    await eventually(() => existsSync(file), "the grandchild to write");
    expect((await stop(spawner, "kid")).isError).toBe(false);
    expectGone(spawner, "kid");
  });

  test("ends also what survives a leader that SIGTERM ends", async () => {
    await using spawner = await startSpawner();
    const file = join(spawner.world.home, "grows");
    await spawned(spawner, "kid", `grandchild=${file}`, "adopt", "listen=deaf", "ready");
    await eventually(() => existsSync(file), "the grandchild to write");
    expect((await stop(spawner, "kid")).summary).toStartWith("stopped pod `kid` (forced)");
    expectGone(spawner, "kid");
  });

  test("ends a child that is stopped by a signal, within the limits", async () => {
    await using spawner = await startSpawner();
    const pid = await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    process.kill(pid, "SIGSTOP");
    const start = performance.now();
    const limits = { ...FAST, killMs: 10_000 };
    expect((await stop(spawner, "kid", limits)).summary).toStartWith("stopped pod `kid` (forced)");
    expect(performance.now() - start).toBeLessThan(limits.killMs);
    expectGone(spawner, "kid");
  });

  test("of a child that is dead already succeeds (89)", async () => {
    await using spawner = await startSpawner();
    const pid = await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    process.kill(pid, "SIGKILL");
    const { summary } = await stop(spawner, "kid");
    const target = join(spawner.world.work, "kid");
    expect(summary).toBe(`stopped pod \`kid\`; reclaimed scope: write:${target}`);
    expectGone(spawner, "kid");
  });

  test("of a child whose end was told before removes it from the list", async () => {
    await using spawner = await startSpawner();
    const pid = await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    process.kill(pid, "SIGKILL");
    await spawner.notice("Pod `kid` died unexpectedly (signal SIGKILL)");
    expect((await stop(spawner, "kid")).isError).toBe(false);
    expect(spawner.context.children.list()).toEqual([]);
  });

  test("keeps the spawner's own deny in force (90)", async () => {
    await using spawner = await startSpawner({
      scope: ({ work }) => ({ allow: [rule(work)], deny: [rule(join(work, "kid/kept"))] }),
    });
    await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    const { work } = spawner.world;
    expect(spawner.access(join(work, "kid/f"))).toBe("read");
    expect((await stop(spawner, "kid")).isError).toBe(false);
    expect(spawner.access(join(work, "kid/f"))).toBe("write");
    expect(spawner.access(join(work, "kid/kept/f"))).toBe("read");
  });

  test("keeps the scope of a child that it may not signal, and says so (W51)", async () => {
    await using spawner = await startSpawner();
    const owner = { ...identityOf(process.pid), machine: "another machine" };
    await using pod = fakePod(spawner, "kid", undefined, { owner });
    const limits = { askMs: 100, termMs: 100, killMs: 100 };
    expect((await stop(spawner, "kid", limits)).summary).toBe(
      "Tool execution failed: Execution failed: pod `kid` did not stop within 0.3 s; its scope is kept",
    );
    expect(spawner.context.children.get("kid")).toBe(pod.record);
    expect(pod.record.stopping).toBe(false);
  });

  test("that cannot give the paths back says so, and can be called again", async () => {
    await using spawner = await startSpawner();
    await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    const { registry } = spawner.context;
    const release = registry.release.bind(registry);
    registry.release = () => Promise.reject(new PodError("registry_locked", "locked"));
    expect((await stop(spawner, "kid")).summary).toBe(
      "Tool execution failed: Execution failed: pod `kid` has stopped, but its scope could not be " +
        "given back: locked; call StopPod again",
    );
    expect(spawner.access(join(spawner.world.work, "kid/f"))).toBe("read");
    registry.release = release;
    expect((await stop(spawner, "kid")).isError).toBe(false);
    expectGone(spawner, "kid");
  });

  test("of a pod that ended says nothing of another one that has its name now", async () => {
    await using spawner = await startSpawner();
    const { registry } = spawner.world;
    const other = { name: "kid", instance: "of-somebody-else" };
    const scope = { allow: [rule("/nowhere")], deny: [] };
    const stranger = await joinAsRoot(registry, other, scope, Bun.randomUUIDv7());
    listed(spawner, "kid", { phase: "ended", owner: deadOwner() });
    expect((await stop(spawner, "kid")).summary).toBe(
      "stopped pod `kid`; reclaimed scope: write:/x",
    );
    expect(spawner.entry("kid")?.instance).toBe("of-somebody-else");
    expect(spawner.world.directories()).toContain("kid");
    await stranger.leave();
  });

  test("twice at once ends it once, and both succeed", async () => {
    await using spawner = await startSpawner();
    await spawned(spawner, "kid", "adopt", "listen=ack", "ready");
    const outcomes = await Promise.all([stop(spawner, "kid"), stop(spawner, "kid")]);
    expect(outcomes.map(({ isError }) => isError)).toEqual([false, false]);
    expectGone(spawner, "kid");
  });

  test("leaves the children of the stopped pod alive, as the spawner's own, and names them (37)", async () => {
    await using spawner = await startSpawner();
    const [core, x] = [spawner.directory("core"), spawner.directory("core/x")];
    await using middle = await startSpawner({
      name: "middle",
      parent: { spawner, target: core },
      command: fakeChild("adopt", "listen=ack", "ready"),
    });
    const input = { name: "deep", task: "t", scope: [grant(x)] };
    expect((await middle.call(spawnPodTool(middle.context), input)).isError).toBe(false);
    // `middle` is this very process to the registry: a dead one stands for it, which keeps no record.
    rmSync(middle.membership.paths.allocation);
    const record = listed(spawner, "middle", {
      instance: middle.context.self.instance,
      scope: middle.membership.allocation.scope_allow,
      owner: deadOwner(),
      phase: "ended",
    });
    expect(spawner.context.children.list()).toEqual([record]);
    expect((await stop(spawner, "middle")).summary).toBe(
      `stopped pod \`middle\`; reclaimed scope: write:${core}; now yours: \`deep\` keeps write:${x}`,
    );
    expect(spawner.entry("deep")?.delegated_from).toBe("root");
    expect(spawner.access(join(core, "y"))).toBe("write");
    expect(spawner.access(join(x, "y"))).toBe("read");
    expect((await list(spawner)).content).toStartWith(`deep [alive] scope=write:${x}`);
    expect((await stop(spawner, "deep")).summary).toStartWith("stopped pod `deep`;");
    expect(spawner.access(join(x, "y"))).toBe("write");
    await middle.notice("Pod `deep` has stopped.");
  });

  test("of a grandchild says that its scope is back with the pod between", async () => {
    await using spawner = await startSpawner();
    const core = spawner.directory("core");
    await using middle = await startSpawner({
      name: "middle",
      parent: { spawner, target: core },
      command: fakeChild("adopt", "listen=ack", "ready"),
    });
    spawner.context.children.add(
      listed(spawner, "middle", { instance: middle.context.self.instance }),
    );
    const x = spawner.directory("core/x");
    await middle.call(spawnPodTool(middle.context), { name: "deep", task: "t", scope: [grant(x)] });
    for (const event of middle.reports) {
      expect(await spawner.context.family.handle(event)).toBe(true);
    }
    expect((await stop(spawner, "deep")).summary).toBe(
      `stopped pod \`deep\`; its scope is back with pod \`middle\`: write:${x}`,
    );
    expect(spawner.access(join(x, "f"))).toBe("read");
    await middle.notice("Pod `deep` has stopped.");
    expect(middle.access(join(x, "f"))).toBe("write");
  });
});

describe("ListPods", () => {
  let spawner: TestSpawner;
  beforeAll(async () => void (spawner = await startSpawner()));
  afterAll(async () => await spawner[Symbol.asyncDispose]());

  test("of nothing says so (92)", async () => {
    expect(await list(spawner)).toEqual({ summary: "no spawned pods", isError: false });
    expect(listPodsTool(spawner.context).inputSchema).toMatchObject({ properties: {} });
    const odd = await spawner.call(listPodsTool(spawner.context), { anything: 1 });
    expect(odd.summary).toBe("no spawned pods");
  });

  test("shows a live and a dead child, and the dead one once (91)", async () => {
    await spawned(spawner, "alive", "adopt", "listen=ack", "ready");
    const pid = await spawned(spawner, "dead", "adopt", "listen=ack", "ready");
    process.kill(pid, "SIGKILL");
    await spawner.notice("Pod `dead` died unexpectedly");
    const { work } = spawner.world;
    expect(await list(spawner)).toEqual({
      summary: "2 pod(s) known",
      content: `alive [alive] scope=write:${work}/alive state=idle\ndead [stopped] scope=write:${work}/dead`,
      isError: false,
    });
    expect((await list(spawner)).content).toBe(
      `alive [alive] scope=write:${work}/alive state=idle`,
    );
    await stop(spawner, "alive");
  });

  test("shows one that ends while others are asked as stopped the next time", async () => {
    // It ends as soon as it has answered; the other one takes the whole limit.
    await using late = fakePod(spawner, "late", (connection) => {
      connection.send({
        event: "status",
        data: { state: "idle", pod_name: "late", instance: "late-1", pid: 1, runs: 1, pending: 0 },
      });
      late.record.phase = "ended";
    });
    await using _ = fakePod(spawner, "slow");
    const first = await list(spawner, 1000);
    expect(first.content).toContain("late [alive]");
    expect((await list(spawner)).content).toContain("late [stopped]");
    expect((await list(spawner)).content).not.toContain("late");
  });

  test("takes no longer for ten children that do not answer than for one (93)", async () => {
    const pods = Array.from({ length: 10 }, (_, n) => fakePod(spawner, `p${n}`));
    const start = performance.now();
    const { summary, content } = await list(spawner, 1000);
    expect(performance.now() - start).toBeLessThan(10_000); // what ten of them take
    expect(summary).toBe("10 pod(s) known");
    expect(content?.match(/\[alive\] scope=\S+ state=unresponsive/g)).toHaveLength(10);
    for (const pod of pods) await pod[Symbol.asyncDispose]();
  });

  test("does not mistake another pod of the name for the child", async () => {
    await using _ = fakePod(spawner, "kid", (connection) =>
      connection.send({
        event: "status",
        data: { state: "idle", pod_name: "kid", instance: "x", pid: 1, runs: 0, pending: 0 },
      }),
    );
    expect((await list(spawner)).content).toEndWith("state=unresponsive");
  });

  test("works although the registry cannot be asked", async () => {
    await using _ = fakePod(spawner, "kid", (connection) =>
      connection.send({
        event: "status",
        data: { state: "running", pod_name: "kid", instance: "kid-1", pid: 1, runs: 0, pending: 0 },
      }),
    );
    const { context } = spawner;
    const registry = new Registry(spawner.world.runtime, 100);
    const lock = openSync(join(spawner.world.runtime, "pods.lock"), "r+");
    expect(tryFlock(lock)).toBe("taken");
    try {
      const family = new Family({
        self: context.self,
        registry,
        scope: context.scope,
        children: context.children,
        notify: () => undefined,
        report: () => undefined,
      });
      const tool = listPodsTool({ ...context, registry, family }, 300);
      expect((await spawner.call(tool, {})).content).toEndWith("state=running");
    } finally {
      closeSync(lock);
    }
  });
});
