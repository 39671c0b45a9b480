/** Calls of SpawnPod on a spawner of the tests. */
import { expect } from "bun:test";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import type { ToolOutcome } from "../../src/tools/tool.ts";
import type { TestSpawner } from "./spawner.ts";

/** What a fake child does that starts as it should. */
export const POLITE = ["adopt", "listen=ack", "ready"];

/** Calls SpawnPod as the spawner has it. */
export function spawn(spawner: TestSpawner, input: object): Promise<ToolOutcome> {
  return spawner.call(spawnPodTool(spawner.context), input);
}

/** The call is refused with this text, and nothing has changed. */
export async function refuses(
  spawner: TestSpawner,
  input: object,
  ...parts: string[]
): Promise<void> {
  const before = spawner.snapshot();
  const outcome = await spawn(spawner, input);
  expect(outcome.isError).toBe(true);
  for (const part of parts) expect(outcome.summary).toContain(part);
  expect(spawner.snapshot()).toEqual(before);
}
