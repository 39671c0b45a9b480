/**
 * One child name, two spawners, the same moment: real Pods from the compiled program whose model
 * spawns when told. One gets the child, the other the duplicate text, and both can go on.
 */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { childrenOf } from "../../src/registry/kinship.ts";
import { names } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { type RootPod, startWorld } from "../support/pod.ts";
import { eachRound, LIMIT_MS, rounds } from "./rounds.ts";

const ROUNDS = rounds(300, 25);
/** Longer than any test: a child at work sends no notice in between. */
const BUSY_MS = 3_600_000;

const RULES = [
  { pod: "coder", text: "", delay_ms: BUSY_MS },
  {
    match: "^spawn (\\S+)$",
    calls: [
      {
        tool: "SpawnPod",
        input: { name: "coder", task: "work", scope: [{ target: "$1", permission: "write" }] },
      },
    ],
  },
  { match: "^stop$", calls: [{ tool: "StopPod", input: { name: "coder" } }] },
  { text: "ok" },
];

/** Has a Pod do one thing; the summary of its tool's result. */
async function ask(pod: RootPod, text: string): Promise<string> {
  await pod.runToEnd(text);
  return pod.toolResults().at(-1) ?? "";
}

test(
  `two spawners of one name, ${ROUNDS} times: one child, the other is told (23, 76)`,
  async () => {
    await using world = startWorld();
    const scenario = world.scenario(RULES);
    const start = async (name: string) => {
      const target = join(world.work, name);
      mkdirSync(target);
      const allow = [
        { target, permission: "write", recursive: true },
        { target: world.work, permission: "read", recursive: true },
      ] as const;
      const pod = await world.start({ name, scenario, scope: { allow }, command: [podBinary()] });
      return { name, pod, target };
    };
    const both = [await start("one"), await start("two")] as const;
    const spawned = `spawned pod \`coder\` listening on ${join(world.runtime, "coder/sock")}`;

    await eachRound(ROUNDS, async () => {
      const results = await Promise.all(
        both.map(async ({ pod, target }) => await ask(pod, `spawn ${target}`)),
      );
      expect(results).toContain(spawned);
      const [winner, loser] = results[0] === spawned ? both : [both[1], both[0]];
      expect(results[both.indexOf(loser)]).toBe(
        "Tool execution failed: Invalid argument: pod name `coder` is already registered",
      );
      const table = world.registry.peek();
      expect(names(table).toSorted()).toEqual(["coder", "one", "two"]);
      expect(names(childrenOf(table, winner.name))).toEqual(["coder"]);
      const child = world.allocation("coder");
      const pids = [winner.pod.pid, loser.pod.pid, child?.pid ?? 0];
      expect(world.processes().toSorted()).toEqual(pids.toSorted());
      expect(world.directories().toSorted()).toEqual(["coder", "one", "two"]);
      // Nobody can stop what is not theirs.
      expect(await ask(loser.pod, "stop")).toContain("no spawned pod named `coder`");
      expect(await ask(winner.pod, "stop")).toStartWith("stopped pod `coder`; reclaimed scope:");
      expect(names(world.registry.peek()).toSorted()).toEqual(["one", "two"]);
      expect(world.directories().toSorted()).toEqual(["one", "two"]);
    });
  },
  LIMIT_MS,
);
