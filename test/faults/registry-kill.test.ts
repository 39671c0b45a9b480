/**
 * A process dies before and after every call that changes something, in every operation of the
 * registry (13). `POD_FUZZ=1` tries every call of every operation, and more in random order.
 */
import { beforeAll, expect, test } from "bun:test";
import { startTracer, tracerRefusal } from "../support/tracer/client.ts";
import type { Call } from "../support/tracer/protocol.ts";
import { allChoices, choose, FUZZ, SEED, tryAll } from "./choice.ts";
import { OPERATIONS, recordOperations, stage } from "./registry-stage.ts";
import { runTraced, startSubject } from "./subject.ts";

const refusal = await tracerRefusal();
if (refusal !== undefined) console.warn(`faults are not injected: ${refusal}`);
const traced = test.skipIf(refusal !== undefined);

const SOME = 40;
const AT_LEAST = 600;

let recorded: ReadonlyMap<string, readonly Call[]> = new Map();

beforeAll(async () => {
  if (refusal === undefined) recorded = await recordOperations();
}, 60_000);

traced("every operation locks, writes, flushes and renames, and is seen to", () => {
  for (const [operation, calls] of recorded) {
    const seen = calls.map(({ name }) => name.replace(/at2?$|at$/, ""));
    if (operation === "registry/reclaim-abandoned") continue; // changes no table
    for (const name of ["flock", "write", "fsync", "rename", "link"]) expect(seen).toContain(name);
  }
  expect(recorded.size).toBe(OPERATIONS.length);
});

traced(
  `no death at a call loses a live Pod, keeps a dead one or leaves anything behind (13), seed ${SEED}`,
  async () => {
    const choices = choose(
      allChoices(recorded, () => ["before", "after"]),
      SOME,
      AT_LEAST,
    );
    let hits = 0;
    await tryAll(choices, startTracer, async ({ operation, fault }, tracer) => {
      await using world = await stage();
      await using subject = await startSubject();
      const plan = { operation, directory: world.base, fault };
      const { traced, reply } = await runTraced(subject, tracer, plan);
      expect(traced.hit).toBe(true);
      expect(reply).toBeUndefined();
      hits += 1;
      world.expectWhole(operation);
      await world.expectNothingLeft(operation);
    });
    expect(hits).toBe(choices.length);
    if (FUZZ) console.log(`registry: ${hits} deaths`);
  },
  FUZZ ? 900_000 : 120_000,
);
