/**
 * The world around one operation on the registry, and what must be true in it after the operation
 * has gone wrong: a Pod that lives in the test's own process, and everything the dead leave.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect } from "bun:test";
import { readIfExists } from "../../src/base/files.ts";
import { podPaths } from "../../src/base/paths.ts";
import { stateOf } from "../../src/base/process.ts";
import { type Allocation, ownerOf } from "../../src/registry/allocation.ts";
import { joinAsRoot, type Membership } from "../../src/registry/membership.ts";
import { Registry } from "../../src/registry/registry.ts";
import { peekTable, tablePaths } from "../../src/registry/table.ts";
import { names, one, rule } from "../registry/entries.ts";
import { temp, type TempDirectory } from "../support/temp.ts";
import { startTracer } from "../support/tracer/client.ts";
import type { Call } from "../support/tracer/protocol.ts";
import { runTraced, startSubject } from "./subject.ts";

/** Every operation of the fixture by name. */
export const OPERATIONS = [
  "register",
  "delegate",
  "delegate-two",
  "register-again",
  "bring-back",
  "adopt",
  "release",
  "update-session",
  "reclaim",
  "reclaim-abandoned",
  "repair",
  "join",
  "join-after-death",
  "join-child",
  "leave",
  "leave-parent",
].map((name) => `registry/${name}`);

/** The calls that change something, by operation, as each makes them when nothing goes wrong. */
export async function recordOperations(): Promise<Map<string, readonly Call[]>> {
  const recorded = new Map<string, readonly Call[]>();
  await using tracer = startTracer();
  await using subject = await startSubject();
  for (const operation of OPERATIONS) {
    await using world = await stage();
    const plan = { operation, directory: world.base };
    const { traced, reply } = await runTraced(subject, tracer, plan);
    if (reply?.ok !== true) throw new Error(`${operation} failed by itself: ${reply?.message}`);
    recorded.set(operation, traced.calls);
    await subject.ask({ do: "finish" });
    world.expectWhole("");
    await world.expectNothingLeft(operation);
  }
  return recorded;
}

export interface Stage extends AsyncDisposable {
  /** The runtime base. */
  readonly base: string;
  /** The entry that a Pod keeps of itself, as text; undefined when it has none. */
  ownRecord(name: string): string | undefined;
  /** Pods in the table now but the bystander and the dead, as they stand there. */
  others(): Allocation[];
  /** What is to be parsed now: each file is whole, and the bystander is not lost. */
  expectWhole(operation: string): void;
  /** The next operation gets everything that the victim held, and `reclaim` leaves nothing behind. */
  expectNothingLeft(operation: string): Promise<void>;
}

/** A registry with a live Pod. */
export async function stage(): Promise<Stage> {
  const dir: TempDirectory = temp();
  const base = dir.path;
  const registry = new Registry(base);
  const bystander: Membership = await joinAsRoot(
    registry,
    { name: "bystander", instance: "bystander-1" },
    { allow: [rule("/work/bystander")], deny: [] },
    "session of bystander",
  );
  // Once more, so that there is a last good copy with it.
  await registry.updateSession({ name: "bystander", instance: "bystander-1" }, "its session");
  await registry.updateSession({ name: "bystander", instance: "bystander-1" }, "its session 2");
  const own = one(registry.peek(), "bystander");
  const { file, backup } = tablePaths(base);
  const probe = { name: "probe", instance: "probe-1" };
  return {
    base,
    ownRecord: (name) => readIfExists(podPaths(base, name).allocation),
    others: () =>
      peekTable(base).filter((pod) => !isBystander(pod) && stateOf(ownerOf(pod)) !== "dead"),
    expectWhole(operation) {
      // A damaged table is moved aside before the copy is put in its place.
      const repairing = operation === "registry/repair";
      for (const path of repairing ? [backup] : [file, backup]) {
        expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ version: 1 });
      }
      if (!repairing) expect(peekTable(base).find(isBystander)).toEqual(own);
    },
    async expectNothingLeft(operation) {
      const scope = { allow: [rule("/work/victim"), rule("/work/dead")], deny: [] };
      const { table } = await registry.register(probe, scope, "session of probe");
      expect(names(table)).toEqual(["bystander", "probe"]);
      expect(table.find(isBystander)).toEqual(own);
      await registry.release(probe);
      await registry.reclaim();
      const left = readdirSync(base).filter(
        (name) => operation !== "registry/repair" || !name.startsWith("pods.json.corrupt-"),
      );
      expect(left.toSorted()).toEqual(["bystander", "pods.json", "pods.json.bak", "pods.lock"]);
      expect(readdirSync(`${base}/bystander`).toSorted()).toEqual(["allocation.json", "lock"]);
      expect(existsSync(file)).toBe(true);
    },
    async [Symbol.asyncDispose]() {
      await bystander.leave();
      await dir[Symbol.asyncDispose]();
    },
  };
}

const isBystander = ({ pod_name }: Allocation): boolean => pod_name === "bystander";
