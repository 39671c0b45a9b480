/**
 * The spawner, or the child, dies before and after every call that changes something, in every step
 * of `SpawnPod` and `StopPod` (13, 68 to 71, 104): what lives is registered and can be stopped, what
 * is dead blocks nobody, and nothing is left behind.
 */
import { beforeAll, expect, test } from "bun:test";
import { startWorld } from "../support/pod.ts";
import { startTracer, tracerRefusal } from "../support/tracer/client.ts";
import type { Call, TraceRequest } from "../support/tracer/protocol.ts";
import { allChoices, choose, FUZZ, SEED, tryAll } from "./choice.ts";
import { expectEmpty, expectSurvivable, expectWhole, NOTHING } from "./spawn-stage.ts";
import { runTraced, startLane, startSubject } from "./subject.ts";

const refusal = await tracerRefusal();
if (refusal !== undefined) console.warn(`faults are not injected: ${refusal}`);
const traced = test.skipIf(refusal !== undefined);

const SPAWNS = ["spawn/spawn-fake", "spawn/spawn-failing", "spawn/spawn-real"];
const STOPS = ["spawn/stop-fake", "spawn/stop-real"];
/** Those whose child is the program itself, and takes most of a second. */
const SOME = 12;
/** Of each kind in the full run; with those of the registry more than 1,000 deaths. */
const AT_LEAST = 220;

type Whose = TraceRequest["whose"];
const recorded: Record<Whose, Map<string, readonly Call[]>> = {
  own: new Map(),
  children: new Map(),
};

beforeAll(async () => {
  if (refusal !== undefined) return;
  await using tracer = startTracer();
  for (const whose of ["own", "children"] as const) {
    for (const operation of [...SPAWNS, ...STOPS]) {
      await using world = startWorld();
      await using subject = await startSubject();
      const { traced } = await runTraced(subject, tracer, {
        operation,
        directory: world.home,
        whose,
      });
      recorded[whose].set(operation, traced.calls);
      await subject.ask({ do: "finish" });
    }
  }
}, 120_000);

traced("every step is seen: directory, log, launch file, birth, socket, registry", () => {
  const of = (whose: Whose, operation: string): string[] =>
    (recorded[whose].get(operation) ?? []).map(({ name, path }) => `${name} ${path}`);
  const spawner = of("own", "spawn/spawn-real").join("\n");
  for (const step of [
    /mkdir\w* .*child/,
    /stderr\.log/,
    /launch\.json/,
    /(vfork|clone)/,
    /connect .*child\/sock/,
  ]) {
    expect(spawner).toMatch(step);
  }
  const child = of("children", "spawn/spawn-real").join("\n");
  for (const step of [
    /execve/,
    /unlink\w* .*launch\.json/,
    /flock .*child\/lock/,
    /bind/,
    /allocation/,
  ]) {
    expect(child).toMatch(step);
  }
  expect(of("children", "spawn/stop-real").join("\n")).toMatch(/rename.* \/run\/child/);
});

const choicesFor = (whose: Whose) =>
  choose(
    allChoices(recorded[whose], () => ["before", "after"]),
    SOME,
    AT_LEAST,
  );

traced(
  `no death of a spawner leaves what nobody owns or can stop (13, 104), seed ${SEED}`,
  async () => {
    const choices = choicesFor("own");
    let hits = 0;
    await tryAll(choices, startTracer, async ({ operation, fault }, tracer) => {
      await using world = startWorld();
      await using subject = await startSubject();
      const plan = { operation, directory: world.home, fault };
      const { traced, reply } = await runTraced(subject, tracer, plan);
      await subject.kill();
      // What happens at the same time as something else need not happen again.
      if (traced.hit) {
        hits += 1;
        expect(reply).toBeUndefined();
      }
      expectWhole(world);
      await expectSurvivable(world);
    });
    expect(hits).toBeGreaterThan(choices.length * 0.9 - 1);
    if (FUZZ) console.log(`spawners: ${hits} deaths of ${choices.length}`);
  },
  FUZZ ? 900_000 : 240_000,
);

traced(
  `no death of a child leaves its spawner anything, or costs it its paths (68, 98), seed ${SEED}`,
  async () => {
    const choices = choicesFor("children");
    let hits = 0;
    await tryAll(choices, startLane, async ({ operation, fault }, lane) => {
      await using world = startWorld();
      const subject = await lane.subject();
      const { tracer } = lane;
      const plan = { operation, directory: world.home, whose: "children", fault } as const;
      const { traced, reply } = await runTraced(subject, tracer, plan);
      if (traced.hit) hits += 1;
      expectWhole(world);
      expect(reply?.ok).toBe(true);
      // Killed in the end or not at all, it is the same to the one who stops it.
      if (operation.includes("/stop")) expect(reply).toMatchObject({ value: { isError: false } });
      const report = await subject.ask({ do: "report" });
      if (traced.hit || !operation.startsWith("spawn/spawn-"))
        expect(report).toEqual({ ok: true, value: NOTHING });
      expect(await subject.ask({ do: "finish" })).toEqual({ ok: true, value: null });
      await expectEmpty(world);
    });
    expect(hits).toBeGreaterThan(choices.length * 0.8 - 1);
    if (FUZZ) console.log(`children: ${hits} deaths of ${choices.length}`);
  },
  FUZZ ? 900_000 : 240_000,
);
