/**
 * One Pod spawns and loses children one after the other, in every way in which a child can end: it
 * has no more descriptors, processes, files and hardly more memory than after the first ones.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eachRound, LIMIT_MS, rounds } from "../races/rounds.ts";
import { names } from "../registry/entries.ts";
import { rule } from "../spawn/spawner.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, startWorld } from "../support/pod.ts";
import { childrenOf, descriptorsOf, HAS_PROC, ownMemoryOf } from "./figures.ts";

/** The first ones load code and fill caches. */
const WARM_UP = 12;
const SPAWNS = WARM_UP + rounds(400, 60);
const BUSY_MS = 3_600_000;
/**
 * What memory may grow by from the first ones on, beyond that of a Pod that has as many runs without
 * children: the calls stay in the history, and garbage comes and goes. In the full run a
 * leak of 0.05 MiB each is more, in the short one of 0.4.
 */
const MAX_GROWTH_MIB = 20;

const RULES = [
  { pod: "child", text: "", delay_ms: BUSY_MS },
  {
    match: "^spawn (\\S+)$",
    calls: [
      {
        tool: "SpawnPod",
        input: { name: "child", task: "work", scope: [{ target: "$1", permission: "write" }] },
      },
    ],
  },
  { match: "^stop$", calls: [{ tool: "StopPod", input: { name: "child" } }] },
  { text: "ok" },
];

test.skipIf(!HAS_PROC)(
  `${SPAWNS} spawns in a row leave no descriptor, process, file or memory behind`,
  async () => {
    await using world = startWorld();
    const scenario = world.scenario(RULES);
    const pod = await world.start({ scenario, command: [podBinary()] });
    const talker = await world.start({
      name: "talker",
      scenario,
      scope: { allow: [rule(world.work, "read")] },
      command: [podBinary()],
    });
    const part = join(world.work, "part");
    mkdirSync(part);
    const look = () => ({
      descriptors: descriptorsOf(pod.pid),
      children: childrenOf(pod.pid),
      files: readdirSync(join(world.runtime, "root")).toSorted(),
      runtime: readdirSync(world.runtime).toSorted(),
      processes: world.processes(),
      names: names(world.registry.peek()),
      listed: readFileSync(join(world.runtime, "root", "spawned_pods.json"), "utf8"),
    });
    const memory = () => ({ spawner: ownMemoryOf(pod.pid), talker: ownMemoryOf(talker.pid) });
    let first: { seen: ReturnType<typeof look>; memory: ReturnType<typeof memory> } | undefined;

    await eachRound(SPAWNS, async (round) => {
      await pod.runToEnd(`spawn ${part}`);
      expect(pod.toolResults().at(-1)).toStartWith("spawned pod `child` listening on");
      const child = world.allocation("child")?.pid ?? 0;
      expect(isRunning(child)).toBe(true);
      const way = (["StopPod", "SIGTERM", "SIGKILL"] as const)[round % 3];
      if (way === "StopPod") {
        await pod.runToEnd("stop");
        expect(pod.toolResults().at(-1)).toStartWith("stopped pod `child`; reclaimed scope:");
      } else {
        process.kill(child, way);
        await pod.waitFor("run_end"); // of the run that the news of its end has started
      }
      await eventually(() => childrenOf(pod.pid).length === 0, "the child to be reaped");
      for (let run = 0; run < 2; run += 1) await talker.runToEnd("hello");
      if (round === WARM_UP) first = { seen: look(), memory: memory() };
    });

    expect(first).toBeDefined();
    // The last connection may still be on its way out.
    const open = (): number => descriptorsOf(pod.pid).length;
    const before = first?.seen.descriptors.length ?? 0;
    await eventually(() => open() <= before, `${before} descriptors`);
    const { descriptors, ...rest } = look();
    expect(descriptors.length).toBeLessThanOrEqual(before);
    expect({ ...first?.seen, descriptors: [] }).toEqual({ ...rest, descriptors: [] });
    const [early, late] = [first?.memory ?? memory(), memory()];
    const growth = late.spawner - early.spawner - (late.talker - early.talker);
    console.error(
      `own memory, MiB: spawner ${early.spawner.toFixed(1)} to ${late.spawner.toFixed(1)}, ` +
        `without children ${early.talker.toFixed(1)} to ${late.talker.toFixed(1)}`,
    );
    expect(growth).toBeLessThan(MAX_GROWTH_MIB);
  },
  LIMIT_MS,
);
