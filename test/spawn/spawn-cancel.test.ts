import { describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync } from "node:fs";
import { join } from "node:path";
import { tryFlock } from "../../src/base/libc.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import type { ToolOutcome } from "../../src/tools/tool.ts";
import { eventually } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { fakeChild, grant, startSpawner, type TestSpawner } from "./spawner.ts";

const NOT_BEGUN =
  "Tool execution failed: Execution failed: the run was cancelled; nothing was reserved";
const CANCELLED =
  "Tool execution failed: Execution failed: the run was cancelled; the new pod was ended and undone";

async function spawn(
  spawner: TestSpawner,
  command: readonly string[],
  signal?: AbortSignal,
): Promise<ToolOutcome> {
  const context = { ...spawner.context, command };
  const input = { name: "coder", task: "t", scope: [grant(spawner.directory("src"))] };
  return await spawner.call(spawnPodTool(context), input, signal);
}

/**
 * Starts a spawn, cancels it when `reached` holds, and expects it to be undone within `ms`, with all
 * as before and the name free for the next one.
 */
async function cancels(
  steps: readonly string[],
  reached: (spawner: TestSpawner, mark: string) => boolean,
  ms = 1500,
): Promise<void> {
  await using spawner = await startSpawner();
  const mark = join(spawner.world.home, "mark");
  spawner.directory("src");
  const before = spawner.snapshot();
  const cancel = new AbortController();
  const steps_ = steps.map((step) => step.replace("MARK", mark));
  const spawned = spawn(spawner, fakeChild(...steps_), cancel.signal);
  await eventually(() => reached(spawner, mark), "the stage to be reached");
  const start = performance.now();
  cancel.abort();
  const outcome = await within(spawned, 8000, "SpawnPod to end");
  expect(outcome).toEqual({ summary: CANCELLED, isError: true });
  expect(performance.now() - start).toBeLessThan(ms);
  expect(spawner.snapshot()).toEqual(before);
  expect(spawner.reports).toEqual([]);
  const again = await spawn(spawner, fakeChild("adopt", "listen=ack", "ready"));
  expect(again.isError).toBe(false);
  expect(spawner.notices).toEqual([]);
}

/** Those who wait for the registry's lock share a lock on its directory (registry/lock.ts). */
function someoneWaits(directory: string): boolean {
  const fd = openSync(directory, "r");
  try {
    return tryFlock(fd) === "busy";
  } finally {
    closeSync(fd);
  }
}

const marked = (_spawner: TestSpawner, mark: string): boolean => existsSync(mark);

describe("a cancelled SpawnPod leaves nothing, and its name is free (71, W38)", () => {
  test("when it is cancelled before it begins", async () => {
    await using spawner = await startSpawner();
    spawner.directory("src");
    const before = spawner.snapshot();
    const outcome = await spawn(spawner, ["/no/such/program"], AbortSignal.abort());
    expect(outcome).toEqual({ summary: NOT_BEGUN, isError: true });
    expect(spawner.snapshot()).toEqual(before);
    const again = await spawn(spawner, fakeChild("adopt", "listen=ack", "ready"));
    expect(again.isError).toBe(false);
  });

  test("while it waits for the registry", async () => {
    await using spawner = await startSpawner();
    spawner.directory("src");
    const before = spawner.snapshot();
    const cancel = new AbortController();
    const lock = openSync(join(spawner.world.runtime, "pods.lock"), "r+");
    expect(tryFlock(lock)).toBe("taken");
    const spawned = spawn(spawner, ["/no/such/program"], cancel.signal);
    await eventually(() => someoneWaits(spawner.world.runtime), "the call to wait for the lock");
    cancel.abort();
    closeSync(lock);
    expect((await within(spawned, 5000, "SpawnPod to end")).summary).toBe(CANCELLED);
    expect(spawner.snapshot()).toEqual(before);
  });

  test("while the child has not adopted yet", async () => {
    await cancels(["mark=MARK", "hang"], marked);
  });

  test("while the child has adopted and is not ready", async () => {
    await cancels(["adopt", "mark=MARK", "hang"], marked);
  });

  test("while the child listens and is not ready", async () => {
    await cancels(["adopt", "listen=ack", "mark=MARK"], marked);
  });

  test("while the child has the task and has not accepted it", async () => {
    await cancels(["record=MARK", "adopt", "listen=mute-run", "ready"], marked);
  });

  test("while the child has the task, ignores SIGTERM and has company", async () => {
    const steps = ["ignore-term", "record=MARK", "grandchild=/dev/null", "adopt", "listen=mute"];
    await cancels([...steps, "ready"], marked, 4000);
  });
});
