import { describe, expect, test } from "bun:test";
import { identityOf } from "../../src/base/process.ts";
import { PodError } from "../../src/base/errors.ts";
import { stopPodTool } from "../../src/spawn/control-tools.ts";
import { SpawnUndo } from "../../src/spawn/undo.ts";
import { listed } from "./fake-pod.ts";
import { rule, startSpawner } from "./spawner.ts";

/** A number that no process has. */
const NO_PID = 4_194_303;

describe("the undo of a spawn", () => {
  test("whose process cannot be ended keeps everything, says so, and lists the pod (W37)", async () => {
    await using spawner = await startSpawner();
    const { context, world } = spawner;
    const kid = { name: "kid", instance: "k" };
    const target = spawner.directory("src");
    const reserved = await world.registry.delegate(
      context.self,
      kid,
      [rule(target)],
      context.limits,
    );
    context.family.apply(reserved.table);
    const ended = Promise.withResolvers<{ code: number; signal: null }>();
    const undo = new SpawnUndo(context, reserved.value);
    undo.child = {
      pid: NO_PID,
      exited: ended.promise,
      said: () => Promise.resolve(""),
      ready: () => Promise.resolve({ kind: "ready" }),
    };
    undo.record = listed(spawner, "kid", {
      instance: "k",
      scope: [rule(target)],
      owner: { ...identityOf(process.pid), pid: NO_PID, start: "1" },
      exited: ended.promise,
      phase: "starting",
    });
    const error = await undo.run(new PodError("cancelled", "the run was cancelled"));
    expect(error).toMatchObject({
      code: "spawn_failed",
      message:
        `the run was cancelled; its process ${NO_PID} could not be ended, so pod \`kid\` ` +
        "stays listed and keeps its scope",
    });
    expect(spawner.entry("kid")).toBeDefined();
    expect(context.children.get("kid")).toBe(undo.record);
    expect(spawner.access(target)).toBe("read");
    // When it does end, that is noticed like any other end.
    ended.resolve({ code: 0, signal: null });
    expect(await spawner.notice("kid")).toBe("Pod `kid` has stopped.");
    expect(spawner.entry("kid")).toBeUndefined();
    expect(spawner.access(target)).toBe("write");
  });

  test("that cannot give the reservation back says so beside the cause", async () => {
    await using spawner = await startSpawner();
    const { context, world } = spawner;
    const kid = { name: "kid", instance: "k" };
    const rules = [rule(spawner.directory("src"))];
    const reserved = await world.registry.delegate(context.self, kid, rules, context.limits);
    const release = world.registry.release.bind(world.registry);
    world.registry.release = () => Promise.reject(new PodError("registry_locked", "locked"));
    const error = await new SpawnUndo(context, reserved.value).run(new Error("boom"));
    expect(error).toMatchObject({
      message: expect.stringMatching(
        /^boom; undoing it failed: locked; its name and paths stay reserved for at most (5\d|60) s$/,
      ),
    });
    world.registry.release = release;
    await world.registry.release(kid);
  });

  test("of a started pod that cannot give the reservation back keeps it listed for StopPod", async () => {
    await using spawner = await startSpawner();
    const { context, world } = spawner;
    const target = spawner.directory("src");
    const kid = { name: "kid", instance: "k" };
    const { table, value } = await world.registry.delegate(
      context.self,
      kid,
      [rule(target)],
      context.limits,
    );
    context.family.apply(table);
    const undo = new SpawnUndo(context, value);
    undo.record = listed(spawner, "kid", { instance: "k", phase: "starting", exited: undefined });
    const release = world.registry.release.bind(world.registry);
    world.registry.release = () => Promise.reject(new PodError("registry_locked", "locked"));
    const error = await undo.run(new Error("boom"));
    world.registry.release = release;
    expect(error).toMatchObject({
      message:
        "boom; undoing it failed: locked; it keeps its scope: call StopPod for `kid` to try again",
    });
    expect(spawner.access(target)).toBe("read");
    const stopped = await spawner.call(stopPodTool(context), { name: "kid" });
    expect(stopped).toMatchObject({ isError: false });
    expect(spawner.access(target)).toBe("write");
    expect(spawner.entry("kid")).toBeUndefined();
    expect(context.children.list()).toEqual([]);
  });
});
