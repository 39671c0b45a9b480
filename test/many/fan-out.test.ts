/**
 * Fifty children of one parent, spawned in one turn by a real Pod from the compiled program, twice:
 * all come up, and after their end the parent holds no more than it did before.
 */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { childrenOf as childEntriesOf } from "../../src/registry/kinship.ts";
import { names } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, startWorld } from "../support/pod.ts";
import { childrenOf, descriptorsOf, HAS_PROC } from "./figures.ts";

const CHILDREN = 50;
const TURNS = 2;
const BUSY_MS = 3_600_000;
const LIMIT_MS = 60_000;

test.skipIf(!HAS_PROC)(
  `${CHILDREN} children of one turn all come up, and leave nothing, ${TURNS} times`,
  async () => {
    await using world = startWorld();
    const all = Array.from({ length: CHILDREN }, (_, index) => `child-${index}`);
    const targetOf = (name: string): string => join(world.work, name);
    for (const name of all) mkdirSync(targetOf(name));
    const call = (tool: string, more: (name: string) => object) =>
      all.map((name) => ({ tool, input: { name, ...more(name) } }));
    const scope = (name: string) => [{ target: targetOf(name), permission: "write" }];
    const pod = await world.start({
      rules: [
        { pod: "child-*", text: "", delay_ms: BUSY_MS },
        {
          match: "^spawn$",
          calls: call("SpawnPod", (name) => ({ task: `be ${name}`, scope: scope(name) })),
        },
        { match: "^stop$", calls: call("StopPod", () => ({})) },
        { match: "^list$", calls: [{ tool: "ListPods", input: {} }] },
        { text: "ok" },
      ],
      limits: { max_children: CHILDREN },
      command: [podBinary()],
    });
    const results = async (text: string): Promise<string[]> => {
      const before = pod.toolResults().length;
      await pod.runToEnd(text, LIMIT_MS);
      return pod.toolResults().slice(before);
    };
    const held: number[] = [];
    for (let turn = 0; turn < TURNS; turn += 1) {
      const spawned = await results("spawn");
      expect(spawned.toSorted()).toEqual(
        all
          .map((name) => `spawned pod \`${name}\` listening on ${world.runtime}/${name}/sock`)
          .toSorted(),
      );
      const entries = childEntriesOf(world.registry.peek(), "root");
      expect(names(entries).toSorted()).toEqual(all.toSorted());
      for (const { pod_name, scope_allow } of entries) {
        expect(scope_allow.map(({ target }) => target)).toEqual([targetOf(pod_name)]);
      }
      const pids = entries.map(({ pid }) => pid);
      expect(childrenOf(pod.pid).toSorted()).toEqual(pids.toSorted());
      expect(await results("list")).toEqual([`${CHILDREN} pod(s) known`]);

      const stopped = await results("stop");
      expect(stopped.toSorted()).toEqual(
        all
          .map((name) => `stopped pod \`${name}\`; reclaimed scope: write:${targetOf(name)}`)
          .toSorted(),
      );
      expect(names(world.registry.peek())).toEqual(["root"]);
      expect(world.directories()).toEqual(["root"]);
      await eventually(() => childrenOf(pod.pid).length === 0, "all children to be reaped");
      const allowed = held[0] ?? Number.POSITIVE_INFINITY;
      await eventually(() => descriptorsOf(pod.pid).length <= allowed, "descriptors to be closed");
      held.push(descriptorsOf(pod.pid).length);
    }
  },
  LIMIT_MS,
);
