/** What must be true in a spawner's world after it, or its child, has died at some call. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect } from "bun:test";
import { isReservation } from "../../src/registry/allocation.ts";
import { tablePaths } from "../../src/registry/table.ts";
import type { Reply } from "../registry/actor.ts";
import { names, rule } from "../registry/entries.ts";
import { eventually, type World } from "../support/pod.ts";

/** A report of a spawner whose child has left nothing and whose paths are back. */
export const NOTHING = { access: "write", entry: false, children: [], alive: false };

/** What a tool answered; throws when the process has no answer. */
export function outcomeOf(reply: Reply | undefined): { isError: boolean; summary: string } {
  if (reply?.ok !== true) throw new Error(`no outcome: ${JSON.stringify(reply)}`);
  const { isError, summary } = reply.value as { isError?: boolean; summary: string };
  return { isError: isError === true, summary };
}

/** Each file of the registry is whole. */
export function expectWhole(world: World): void {
  const { file, backup } = tablePaths(world.runtime);
  // The copy is of the table before, and there may have been only one.
  for (const path of existsSync(backup) ? [file, backup] : [file]) {
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ version: 1 });
  }
}

/**
 * The spawner is dead: its paths are free at the next operation, its child is registered or gone, can
 * be stopped, and then nothing is left.
 */
export async function expectSurvivable(world: World): Promise<void> {
  const { registry, work } = world;
  const probe = { name: "probe", instance: "probe-1" };
  const claim = async (target: string): Promise<string[]> => {
    const scope = { allow: [rule(target)], deny: [] };
    const { table } = await registry.register(probe, scope, "session of probe");
    await registry.release(probe);
    return names(table);
  };
  expect(await claim(`${work}/other`)).not.toContain("spawner");
  const strays = async (): Promise<number[]> => {
    const { table } = await registry.reclaim();
    const owners = table.filter((entry) => !isReservation(entry)).map((entry) => entry.pid);
    return world.processes().filter((pid) => !owners.includes(pid));
  };
  await eventually(
    async () => (await strays()).length === 0,
    "every process to be registered or gone",
    15_000,
  );
  await world.stopAll();
  await eventually(() => world.processes().length === 0, "the last process to go");
  expect(await claim(work)).toEqual(["probe"]);
  await expectEmpty(world);
}

/** No entry, no directory, no socket, no file on its way in or out. */
export async function expectEmpty(world: World): Promise<void> {
  const { table } = await world.registry.reclaim();
  expect(names(table)).toEqual([]);
  expect(readdirSync(world.runtime).toSorted()).toEqual([
    "pods.json",
    "pods.json.bak",
    "pods.lock",
  ]);
  expect(world.processes()).toEqual([]);
}
