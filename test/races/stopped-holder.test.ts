/**
 * A process that is stopped while it holds the registry's lock, for as long as it likes: every other
 * Pod answers its socket meanwhile, what needs the registry says after its limit which lock it is,
 * and when the holder goes on, everything does (15, 16, W7, I7). Real Pods, the real limit.
 */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { LOCK_WAIT_MS } from "../../src/registry/lock.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { request } from "../../src/transport/client.ts";
import { actor } from "../registry/actor.ts";
import { names } from "../registry/entries.ts";
import { podBinary } from "../support/binary.ts";
import { type RootPod, startWorld } from "../support/pod.ts";
import { within } from "../support/temp.ts";

const PODS = ["a", "b", "c", "d"];
const BUSY_MS = 3_600_000;
/** An answer takes about one millisecond; most come within this on a busy machine, too. */
const PROMPT_MS = 500;
/** And all within this: far less than the limit for which others wait. */
const LATEST_MS = 4000;

const RULES = [
  { pod: "*-child", text: "", delay_ms: BUSY_MS },
  {
    match: "^spawn (\\S+)$",
    calls: [
      {
        tool: "SpawnPod",
        input: {
          name: "{pod}-child",
          task: "work",
          scope: [{ target: "$1", permission: "write" }],
        },
      },
    ],
  },
  { match: "^write (\\S+)$", calls: [{ tool: "Write", input: { file_path: "$1", content: "x" } }] },
  { text: "ok" },
];

/**
 * Asks one Pod after the other for its status until it is ended, each question upon the last answer;
 * how long each answer took, sorted.
 */
function asking(pods: readonly RootPod[]) {
  let stopped = false;
  const waits: number[] = [];
  const ask = async (): Promise<void> => {
    while (!stopped) {
      for (const pod of pods) {
        const started = performance.now();
        await request(
          pod.socket,
          { method: "status" },
          { timeoutMs: 5000, until: ({ event }) => event === "status" },
        );
        waits.push(performance.now() - started);
      }
    }
  };
  const done = ask();
  return {
    async end(): Promise<number[]> {
      stopped = true;
      await within(done, 10_000, "the last answers");
      return waits.toSorted((a, b) => a - b);
    },
  };
}

test("a stopped lock holder stops nobody else, is named after the limit, and then all goes on (16)", async () => {
  await using world = startWorld();
  await using holder = await actor();
  const { lock } = tablePaths(world.runtime);
  const scenario = world.scenario(RULES);
  const command = [podBinary()];
  const pods = await Promise.all(
    PODS.map(async (name) => {
      const target = join(world.work, name);
      mkdirSync(join(target, "part"), { recursive: true });
      const allow = [
        { target, permission: "write", recursive: true },
        { target: world.work, permission: "read", recursive: true },
      ] as const;
      return await world.start({ name, scenario, scope: { allow }, command });
    }),
  );
  const part = (pod: RootPod): string => join(world.work, pod.name, "part");
  const [first, second] = pods;
  if (first === undefined || second === undefined) throw new Error("no pods");

  expect(await holder.tell({ op: "grab", path: lock })).toBe("taken");
  process.kill(holder.pid, "SIGSTOP");
  try {
    const asked = asking(pods);
    const started = performance.now();
    // A newcomer cannot be let in.
    const late = world.start({ name: "late", scenario, command, readyMs: LOCK_WAIT_MS + 20_000 });
    const refused = late.then(
      () => "started",
      (error: unknown) => String(error),
    );
    // Two need the registry, the others do not and go on working.
    const spawning = [first, second].map(async (pod) => {
      await pod.runToEnd(`spawn ${part(pod)}`, LOCK_WAIT_MS + 20_000);
      return { summary: pod.toolResults().at(-1), ms: performance.now() - started };
    });
    for (const pod of pods.slice(2)) {
      const file = join(world.work, pod.name, "file");
      await pod.runToEnd(`write ${file}`);
      expect(await Bun.file(file).text()).toBe("x");
    }
    for (const { summary, ms } of await Promise.all(spawning)) {
      expect(summary).toStartWith(
        `Tool execution failed: Execution failed: pod-registry open: timed out waiting for pod ` +
          `registry lock ${lock}: other processes have held it for over ${LOCK_WAIT_MS} ms`,
      );
      expect(ms).toBeWithin(LOCK_WAIT_MS - 50, LOCK_WAIT_MS + 5000);
    }
    expect(await refused).toContain(`timed out waiting for pod registry lock ${lock}`);
    const waits = await asked.end();
    expect(waits.length).toBeGreaterThan(100);
    expect(waits[Math.floor(waits.length * 0.9)]).toBeLessThan(PROMPT_MS);
    expect(waits.at(-1)).toBeLessThan(LATEST_MS);
    expect(names(world.registry.peek()).toSorted()).toEqual(PODS);
    expect(world.directories().toSorted()).toEqual(PODS);
  } finally {
    process.kill(holder.pid, "SIGCONT");
  }

  // Whoever waits now gets the lock as soon as the holder lets it go.
  const spawning = pods.map(async (pod) => {
    await pod.runToEnd(`spawn ${part(pod)}`);
    return pod.toolResults().at(-1);
  });
  await holder.tell({ op: "drop", path: lock });
  for (const summary of await Promise.all(spawning)) expect(summary).toStartWith("spawned pod");
  const all = [...PODS, ...PODS.map((name) => `${name}-child`)];
  expect(names(world.registry.peek()).toSorted()).toEqual(all.toSorted());
}, 90_000);
