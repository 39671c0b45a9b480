/**
 * Every call that changes something, in every operation of the registry, fails once with each error
 * of a sick disk: the operation says so or succeeds rightly, and nothing is half-made (14).
 */
import { beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { ERRNO, type Errno, errorsOf } from "../support/tracer/calls.ts";
import { tracerRefusal } from "../support/tracer/client.ts";
import type { Call } from "../support/tracer/protocol.ts";
import { allChoices, type Choice, choose, FUZZ, SEED, tryAll } from "./choice.ts";
import { recordOperations, stage } from "./registry-stage.ts";
import { runTraced, startLane } from "./subject.ts";

const refusal =
  process.arch === "x64" ? await tracerRefusal() : "calls are only made to fail on x86_64";
if (refusal !== undefined) console.warn(`errors are not injected: ${refusal}`);
const traced = test.skipIf(refusal !== undefined);

const SOME = 80;

let recorded: ReadonlyMap<string, readonly Call[]> = new Map();

beforeAll(async () => {
  if (refusal === undefined) recorded = await recordOperations();
}, 60_000);

/**
 * What once went wrong, in every run: the copy's temporary name stayed; a flush that failed after the
 * rename was told as a failure; a Pod's own record was newer than the table; a join that could not
 * clear the directory kept its entry.
 */
function pinned(all: readonly Choice[]): Choice[] {
  if (process.env.POD_FAULT !== undefined) return [];
  return all.filter(({ operation, fault, call: { name, path } }) => {
    if (fault.how !== "EIO") return false;
    if (name.startsWith("rename") && path === "/pods.json.bak.tmp") return true;
    if (name === "fsync" && path === "") return true;
    if (operation === "registry/update-session" && path === "/pods.json.tmp") return true;
    return operation === "registry/join-after-death" && path.startsWith("/victim/bash-output");
  });
}

/** What another run must find the same: everything but the operation's own clean-up of the dead. */
const ofOthers = (world: Awaited<ReturnType<typeof stage>>): string =>
  world
    .others()
    .map(({ pod_name, instance, session_id, delegated_from }) =>
      [pod_name, instance, session_id, delegated_from, world.ownRecord(pod_name)].join(" "),
    )
    .join("\n");

traced(
  `an operation whose call fails says so and changes nothing, or is done (14), seed ${SEED}`,
  async () => {
    const all = allChoices(recorded, ({ name }) => errorsOf(name));
    const choices = [...new Set([...choose(all, SOME, 0), ...pinned(all)])];
    const seen = { failed: 0, done: 0 };
    await tryAll(choices, startLane, async ({ operation, fault }, lane) => {
      const { tracer } = lane;
      const subject = await lane.subject();
      await using world = await stage();
      let before = "";
      const plan = { operation, directory: world.base, fault };
      const run = await runTraced(subject, tracer, plan, () => {
        before = ofOthers(world);
      });
      expect(run.traced.hit).toBe(true);
      world.expectWhole(operation);
      expect(run.reply).toBeDefined();
      if (run.reply?.ok === false) {
        seen.failed += 1;
        expect(run.reply.code).toBe("io");
        const { how } = fault;
        const number = how in ERRNO ? ERRNO[how as Errno] : 0;
        expect(run.reply.message).toMatch(new RegExp(`${how}|errno ${number}\\b`));
        expect(run.reply.message).toContain(world.base);
        // Leaving goes on as far as it can; all else is as if it had not been tried.
        if (!operation.startsWith("registry/leave")) expect(ofOthers(world)).toBe(before);
      } else seen.done += 1;
      // Nothing is open for writing now.
      expect(readdirSync(world.base).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      const finished = await subject.ask({ do: "finish" });
      expect(finished).toEqual({ ok: true, value: null });
      await world.expectNothingLeft(operation);
    });
    if (process.env.POD_FAULT === undefined) {
      expect(seen.failed).toBeGreaterThan(choices.length / 4);
      expect(seen.done).toBeGreaterThan(0);
    }
    if (FUZZ) console.log(`registry errors: ${seen.failed} told, ${seen.done} survived`);
  },
  FUZZ ? 900_000 : 120_000,
);
