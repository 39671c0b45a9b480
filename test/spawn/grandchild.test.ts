import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import type { PodEvent } from "../../src/protocol/method.ts";
import type { ChildEnd } from "../../src/session/setup.ts";
import { stopPodTool } from "../../src/spawn/control-tools.ts";
import { Family } from "../../src/spawn/family.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { deliver } from "../../src/transport/client.ts";
import { eventually } from "../support/pod.ts";
import { listed } from "./fake-pod.ts";
import { fakeChild, grant, startSpawner, type TestSpawner } from "./spawner.ts";

/** Pods that another process started are looked at often. */
const CLOSELY = { connectMs: 1000, endMs: 100, retryMs: 20, maxRetryMs: 50 };

describe("a grandchild", () => {
  test("that a child tells of is listed, told upward once as our own, and wakes nobody (75, 97)", async () => {
    await using root = await startSpawner();
    const core = root.directory("core");
    await using middle = await startSpawner({
      name: "middle",
      parent: { spawner: root, target: core },
    });
    listed(root, "middle", { instance: middle.context.self.instance });
    const x = root.directory("core/x");
    const context = { ...middle.context, command: fakeChild("adopt", "listen=ack", "ready") };
    const input = { name: "deep", task: "t", scope: [grant(x)] };
    const outcome = await middle.call(spawnPodTool(context), input);
    expect(outcome.summary).toStartWith("spawned pod");
    const [event] = middle.reports;
    if (event?.kind !== "scope_sub_delegated") throw new Error("no report");
    const { handle } = { handle: (told: PodEvent) => root.context.family.handle(told) };
    // What it claims of the scope is not taken over: the registry says that.
    const lie = { ...event, scope: [{ ...grant("/"), recursive: true }] };
    expect(await handle(lie)).toBe(true);
    expect(await handle(event)).toBe(true);
    const rule = { target: x, permission: "write", recursive: true };
    expect(root.context.children.get("deep")).toMatchObject({
      direct: false,
      scope: [rule],
      callback: podPaths(root.world.runtime, "middle").socket,
    });
    expect(root.reports as unknown).toEqual([
      { ...event, parent_pod: "root", instance: root.context.self.instance },
    ]);
    expect(root.notices).toEqual([]);
    // It stays the child of the pod between: its end is told there, and here it just goes.
    process.kill(root.entry("deep")?.pid ?? 0, "SIGKILL");
    await middle.notice("Pod `deep` died unexpectedly (signal SIGKILL)");
    await root.context.family.refresh();
    expect(root.context.children.get("deep")).toBeUndefined();
    expect(root.notices).toEqual([]);
  });

  /** A root whose child `middle` is dead and has left `deep`; its family is watched closely. */
  async function inheritance(listen: string, limits = CLOSELY) {
    const root = await startSpawner();
    const core = root.directory("core");
    const middle = await startSpawner({ name: "middle", parent: { spawner: root, target: core } });
    const count = `count=${join(root.world.home, "connections")}`;
    const command = fakeChild(count, "adopt", `listen=${listen}`, "ready");
    const input = { name: "deep", task: "t", scope: [grant(root.directory("core/x"))] };
    await middle.call(spawnPodTool({ ...middle.context, command }), input);
    const { context } = root;
    const heard: string[] = [];
    const ends: ChildEnd[] = [];
    const watching = new Family({
      self: context.self,
      registry: context.registry,
      scope: context.scope,
      children: context.children,
      notify: (notice) => heard.push(notice.text),
      report: () => undefined,
      ended: (end) => ends.push(end),
      limits,
    });
    return { root, middle, watching, heard, ends, deep: root.entry("deep")?.pid ?? 0 };
  }

  test("that lives on without its connection is watched on, and its end is noticed", async () => {
    const { root, middle, watching, heard, deep } = await inheritance("hang-up");
    await using _root = root;
    const { table } = await root.world.registry.release({
      name: "middle",
      instance: middle.context.self.instance,
    });
    const [record] = watching.apply(table);
    expect(record).toMatchObject({ name: "deep", direct: true });
    // Its server hangs up on everybody: several attempts have failed by now.
    await eventually(() => connections(root) >= 3, "three attempts to watch");
    expect(heard).toEqual([]);
    process.kill(deep, "SIGKILL");
    await eventually(() => heard.length > 0, "the notice of its end");
    expect(heard[0]).toStartWith("Pod `deep` died unexpectedly. Its scope is yours again: write:");
    await middle[Symbol.asyncDispose]();
  });

  test("that ends in order is told to have stopped", async () => {
    const { root, middle, watching, heard } = await inheritance("ack");
    await using _root = root;
    const { table } = await root.world.registry.release({
      name: "middle",
      instance: middle.context.self.instance,
    });
    watching.apply(table);
    const { socket } = root.context.children.get("deep") ?? { socket: "" };
    await deliver(socket, { method: "shutdown" }, { timeoutMs: 5000 });
    await eventually(() => heard.length > 0, "the notice of its end");
    expect(heard).toEqual(["Pod `deep` has stopped."]);
    expect(root.access(join(root.world.work, "core/x/f"))).toBe("write");
    await middle[Symbol.asyncDispose]();
  });

  test("and is stopped by us is recorded as stopped, also before its watch has seen its end", async () => {
    // After the first connection, which is hung up, nobody looks at it for a minute.
    const limits = { ...CLOSELY, endMs: 0, retryMs: 60_000, maxRetryMs: 60_000 };
    const { root, middle, watching, heard, ends } = await inheritance("hang-up", limits);
    await using _root = root;
    const before = connections(root);
    const { table } = await root.world.registry.release({
      name: "middle",
      instance: middle.context.self.instance,
    });
    const [record] = watching.apply(table);
    await eventually(() => connections(root) > before, "the first attempt to watch");
    const context = { ...root.context, family: watching };
    const quick = { askMs: 100, termMs: 5000, killMs: 5000 };
    const { summary } = await root.call(stopPodTool(context, quick), { name: "deep" });
    // Whether it hears that it is to end before it hangs up is open.
    expect(summary).toMatch(/^stopped pod `deep`( \(forced\))?; reclaimed scope: write:/);
    expect(ends).toMatchObject([
      { name: "deep", instance: record?.instance ?? "", end: "stopped" },
    ]);
    expect(heard).toEqual([]);
    expect(root.context.children.get("deep")).toBeUndefined();
    await middle[Symbol.asyncDispose]();
  });
});

/** Connections that the fake child `deep` has counted. */
function connections(root: TestSpawner): number {
  const path = join(root.world.home, "connections");
  try {
    return readFileSync(path, "utf8").length;
  } catch {
    return 0;
  }
}
