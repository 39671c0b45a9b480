/**
 * Many roots at once from the compiled program, a hundred in the full run: with scopes of their own all
 * come up, with one name or one scope exactly one does, and the others say who has it (17, 18, 23).
 */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { names } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { isRunning, type RootPod, startWorld, type World } from "../support/pod.ts";
import type { RootOptions } from "../support/root-pod.ts";
import { rounds } from "./rounds.ts";

const ROOTS = rounds(100, 40);
/** Forty starts take about a second on two idle processors. */
const READY_MS = 60_000;

/** Starts all at once; those that came up, and what the others said. */
async function startAll(
  world: World,
  options: (index: number) => RootOptions,
): Promise<{ pods: RootPod[]; refusals: string[] }> {
  const scenario = world.scenario([{ text: "ok" }]);
  const command = [podBinary()];
  const results = await Promise.allSettled(
    Array.from({ length: ROOTS }, async (_, index) =>
      world.start({ scenario, command, readyMs: READY_MS, ...options(index) }),
    ),
  );
  return {
    pods: results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : [])),
    refusals: results.flatMap((result) =>
      result.status === "rejected" ? [String(result.reason)] : [],
    ),
  };
}

/** A directory of its own for each. */
function own(world: World, index: number) {
  const target = join(world.work, `own-${index}`);
  mkdirSync(target, { recursive: true });
  return {
    cwd: target,
    scope: { allow: [{ target, permission: "write", recursive: true }] },
  } as const;
}

/** One came up, whole and alone; every other one ended with code 1 and this text. */
function expectOne(
  world: World,
  pods: readonly RootPod[],
  refusals: readonly string[],
  text: RegExp,
) {
  expect(pods).toHaveLength(1);
  const [winner] = pods;
  if (winner === undefined) throw new Error("nobody");
  expect(refusals).toHaveLength(ROOTS - 1);
  for (const refusal of refusals) expect(refusal).toMatch(text);
  const table = world.registry.peek();
  expect(table.map(({ pod_name, pid }) => [pod_name, pid])).toEqual([[winner.name, winner.pid]]);
  expect(isRunning(winner.pid)).toBe(true);
  expect(world.directories()).toEqual([winner.name]);
  expect(world.processes()).toEqual([winner.pid]);
}

test(`${ROOTS} roots with disjoint scopes all come up, and none is lost (17)`, async () => {
  await using world = startWorld();
  const { pods, refusals } = await startAll(world, (index) => ({
    name: `root-${index}`,
    ...own(world, index),
  }));
  expect(refusals).toEqual([]);
  expect(pods).toHaveLength(ROOTS);
  const table = world.registry.peek();
  const expected = pods.map(({ name, pid }) => `${name} ${pid}`).toSorted();
  expect(table.map(({ pod_name, pid }) => `${pod_name} ${pid}`).toSorted()).toEqual(expected);
  expect(world.directories().toSorted()).toEqual(names(table).toSorted());
}, 120_000);

test(`of ${ROOTS} roots with one name one comes up, all others are told that it is taken (23)`, async () => {
  await using world = startWorld();
  const { pods, refusals } = await startAll(world, (index) => ({
    name: "same",
    ...own(world, index),
  }));
  expectOne(world, pods, refusals, /ended with 1: error: .*pod name `same` is already registered/);
}, 120_000);

test(`of ${ROOTS} roots with one scope one comes up, all others name it (18)`, async () => {
  await using world = startWorld();
  const { pods, refusals } = await startAll(world, (index) => ({ name: `root-${index}` }));
  const winner = pods[0]?.name ?? "";
  const text = new RegExp(
    `ended with 1: error: .*requested scope \`${world.work}\` conflicts with pod \`${winner}\` `,
  );
  expectOne(world, pods, refusals, text);
}, 120_000);
