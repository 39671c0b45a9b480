/**
 * Three hundred live allocations on one machine, forty of them real Pods: they come at once, every
 * one is kept, the registry still refuses what overlaps any of them, and all go without a trace.
 */
import { expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { request } from "../../src/transport/client.ts";
import { actors } from "../registry/actor.ts";
import { names, rejection, rule } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { startWorld } from "../support/pod.ts";

const REAL = 40;
const PROCESSES = 13;
const EACH = 20;
const READY_MS = 60_000;

test(`${REAL + PROCESSES * EACH} live allocations: all are kept, all are in the way, all leave`, async () => {
  await using world = startWorld();
  await using pool = await actors(PROCESSES);
  const base = world.runtime;
  const targetOf = (name: string): string => join(world.work, name);
  const scenario = world.scenario([{ text: "ok" }]);
  const owners = pool.flatMap((process, index) =>
    Array.from({ length: EACH }, (_, n) => ({ name: `p${index}-${n}`, process })),
  );
  const starting = Array.from({ length: REAL }, async (_, index) => {
    const name = `real-${index}`;
    mkdirSync(targetOf(name));
    const scope = { allow: [rule(targetOf(name))] };
    const command = [podBinary()];
    return await world.start({
      name,
      scenario,
      scope,
      command,
      cwd: targetOf(name),
      readyMs: READY_MS,
    });
  });
  const joining = owners.map(async ({ name, process }) =>
    process.tell({ op: "join", base, name, allow: [rule(targetOf(name))] }),
  );
  const [pods] = await Promise.all([Promise.all(starting), Promise.all(joining)]);

  const holders = [
    ...owners.map(({ name, process }) => ({ name, pid: process.pid })),
    ...pods.map(({ name, pid }) => ({ name, pid })),
  ];
  const table = world.registry.peek();
  expect(table).toHaveLength(holders.length);
  const listed = table.map(({ pod_name, pid }) => `${pod_name} ${pid}`).toSorted();
  expect(listed).toEqual(holders.map(({ name, pid }) => `${name} ${pid}`).toSorted());
  // Reclaiming looks at every one and takes nobody for dead.
  expect((await world.registry.reclaim()).reclaimed).toEqual([]);
  expect(statSync(join(base, "pods.json")).size).toBeGreaterThan(holders.length * 200);

  const self = { name: "new", instance: "new-1" };
  for (const { name } of holders) {
    const scope = { allow: [rule(join(targetOf(name), "deeper"))], deny: [] };
    const error = await rejection(world.registry.register(self, scope, "S"));
    expect(error.message).toContain(`conflicts with pod \`${name}\` `);
  }
  for (const pod of pods) {
    const until = ({ event }: { event: string }): boolean => event === "status";
    const answer = await request(pod.socket, { method: "status" }, { timeoutMs: 5000, until });
    expect(answer.data).toMatchObject({ pod_name: pod.name, pid: pod.pid });
  }

  // A process that dies takes all of its allocations along, and no others.
  const [victim] = pool;
  await victim?.kill();
  const { reclaimed, table: rest } = await world.registry.reclaim();
  expect(names(reclaimed).toSorted()).toEqual(
    owners.flatMap(({ name, process }) => (process === victim ? [name] : [])).toSorted(),
  );
  expect(rest).toHaveLength(holders.length - EACH);
  await Promise.all([
    ...pods.map(async (pod) => await pod.kill("SIGTERM")),
    ...owners
      .filter(({ process }) => process !== victim)
      .map(({ name, process }) => process.tell({ op: "leave", base, name })),
  ]);
  expect(names(world.registry.peek())).toEqual([]);
  expect(world.directories()).toEqual([]);
}, 120_000);
