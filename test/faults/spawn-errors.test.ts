/**
 * Every call that changes something, in every step of `SpawnPod` and `StopPod`, fails once with each
 * error of a sick disk, in the spawner and in the child that comes up: the tool says what went wrong
 * and all is undone, or it is done rightly (14, 68, 69).
 */
import { beforeAll, expect, test } from "bun:test";
import { startWorld } from "../support/pod.ts";
import { errorsOf } from "../support/tracer/calls.ts";
import { startTracer, tracerRefusal } from "../support/tracer/client.ts";
import type { Call, TraceRequest } from "../support/tracer/protocol.ts";
import { allChoices, choose, FUZZ, SEED, tryAll } from "./choice.ts";
import { expectEmpty, expectWhole, NOTHING, outcomeOf } from "./spawn-stage.ts";
import { runTraced, startLane, startSubject } from "./subject.ts";

const refusal =
  process.arch === "x64" ? await tracerRefusal() : "calls are only made to fail on x86_64";
if (refusal !== undefined) console.warn(`errors are not injected: ${refusal}`);
const traced = test.skipIf(refusal !== undefined);

type Whose = TraceRequest["whose"];
const SPAWNERS = ["spawn/spawn-fake", "spawn/spawn-failing", "spawn/stop-fake"];
const CHILDREN = ["spawn/spawn-real"];
const SOME = 10;

const recorded: Record<Whose, Map<string, readonly Call[]>> = {
  own: new Map(),
  children: new Map(),
};

beforeAll(async () => {
  if (refusal !== undefined) return;
  await using tracer = startTracer();
  const record = async (whose: Whose, operation: string): Promise<void> => {
    await using world = startWorld();
    await using subject = await startSubject();
    const plan = { operation, directory: world.home, whose };
    const { traced } = await runTraced(subject, tracer, plan);
    recorded[whose].set(operation, traced.calls);
    await subject.ask({ do: "finish" });
  };
  for (const operation of SPAWNERS) await record("own", operation);
  for (const operation of CHILDREN) await record("children", operation);
}, 120_000);

async function tryEvery(whose: Whose): Promise<Record<"told" | "done" | "kept", number>> {
  const all = allChoices(recorded[whose], ({ name }) => errorsOf(name));
  const choices = choose(all, SOME, 0);
  const seen = { told: 0, done: 0, kept: 0 };
  await tryAll(choices, startLane, async ({ operation, fault }, lane) => {
    await using world = startWorld();
    const subject = await lane.subject();
    const { tracer } = lane;
    const plan = { operation, directory: world.home, whose, fault };
    const { traced, reply } = await runTraced(subject, tracer, plan);
    expectWhole(world);
    const { isError, summary } = outcomeOf(reply);
    const fails = operation === "spawn/spawn-failing";
    if (traced.hit && isError && !fails) {
      // The runtime calls every failure to connect a refusal.
      expect(summary).toMatch(new RegExp(`${fault.how}|errno \\d+|exit code|ECONNREFUSED`));
    }
    expect(summary).not.toMatch(/^\s+at /m); // a stack trace
    if (isError && summary.includes("call StopPod")) {
      // What could not be undone is said, and done when asked for again.
      seen.kept += 1;
      expect(outcomeOf(await subject.ask({ do: "amend" }))).toMatchObject({ isError: false });
    }
    const report = await subject.ask({ do: "report" });
    if (isError || operation.includes("/stop")) {
      expect(report, summary).toMatchObject({ ok: true, value: NOTHING });
      if (isError) seen.told += 1;
      else seen.done += 1;
    } else {
      seen.done += 1;
      expect(report, summary).toMatchObject({ ok: true, value: { access: "read", entry: true } });
    }
    if (isError && operation.includes("/spawn-") && !fails) {
      // It was only this once.
      expect(outcomeOf(await subject.ask({ do: "run" }))).toMatchObject({ isError: false });
    }
    expect(await subject.ask({ do: "finish" })).toEqual({ ok: true, value: null });
    await expectEmpty(world);
  });
  if (FUZZ) console.log(`${whose}: ${JSON.stringify(seen)} of ${choices.length}`);
  return seen;
}

traced(
  `a call that fails in a spawner is told, and all is undone, or does not matter (14), seed ${SEED}`,
  async () => {
    const seen = await tryEvery("own");
    if (process.env.POD_FAULT === undefined) expect(seen.told).toBeGreaterThan(0);
  },
  FUZZ ? 900_000 : 120_000,
);

traced(
  `a call that fails in a child that comes up is told by its spawner, or does not matter (68), seed ${SEED}`,
  async () => {
    const seen = await tryEvery("children");
    if (process.env.POD_FAULT === undefined) expect(seen.told).toBeGreaterThan(0);
  },
  FUZZ ? 900_000 : 120_000,
);
