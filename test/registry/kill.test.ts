/**
 * Processes that change the registry without pause are killed at random moments (13, in a first
 * form). `POD_KILLS` and `POD_SEED` make it longer or different; the seed decides whom and when.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Registry } from "../../src/registry/registry.ts";
import { tablePaths } from "../../src/registry/table.ts";
import { temp, within } from "../support/temp.ts";
import { fixture, linesOf } from "./actor.ts";
import { names, one, rule } from "./entries.ts";
import { generator } from "./random.ts";

const KILLS = Number(process.env.POD_KILLS ?? 60);
const SEED = Number(process.env.POD_SEED ?? 1);
const AT_ONCE = 3;
const LONGEST_LIFE_MS = 25;
const DEADLINE_MS = 15_000;

/** A process that changes the registry; `acknowledged` is the last session it said it had. */
function churn(base: string, name: string, seed: number) {
  const child = Bun.spawn(fixture("churn.ts", base, name, String(seed)), {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env },
  });
  const state = { acknowledged: 0 };
  const started = Promise.withResolvers<void>();
  const reading = (async () => {
    for await (const line of linesOf(child.stdout)) {
      if (line === "ready") started.resolve();
      else state.acknowledged = Number(line.split(" ")[1]);
    }
  })();
  const failed = child.exited.then(async () => {
    throw new Error(`${name} ended by itself: ${await new Response(child.stderr).text()}`);
  });
  const ready = within(Promise.race([started.promise, failed]), DEADLINE_MS, `${name} to be ready`);
  ready.catch(() => undefined);
  return {
    name,
    pid: child.pid,
    state,
    ready,
    /** SIGKILL; resolves when it is reaped and all it said is read. False when it had ended by itself. */
    async kill(): Promise<boolean> {
      const alive = child.exitCode === null;
      child.kill("SIGKILL");
      await within(Promise.all([child.exited, reading]), DEADLINE_MS, `the end of ${name}`);
      return alive;
    },
  };
}

test(`no kill of ${KILLS} at random moments loses a live Pod, keeps a dead one or spoils the table (13)`, async () => {
  await using dir = temp();
  const random = generator(SEED);
  const registry = new Registry(dir.path);
  const { file, backup } = tablePaths(dir.path);
  const all: ReturnType<typeof churn>[] = [];
  await using _all = {
    // Also those that were only starting when a check failed.
    async [Symbol.asyncDispose](): Promise<void> {
      await Promise.all(all.map((process) => process.kill()));
    },
  };
  const start = (): ReturnType<typeof churn> => {
    const process = churn(dir.path, `p${all.length}`, SEED * 1000 + all.length);
    all.push(process);
    return process;
  };
  const running = Array.from({ length: AT_ONCE }, start);
  await Promise.all(running.map((process) => process.ready));
  const seen = { sessions: 0, stale: 0 };
  for (let kill = 0; kill < KILLS; kill += 1) {
    const replacement = start();
    await Bun.sleep(random() * LONGEST_LIFE_MS); // the random moment
    const [victim] = running.splice(Math.floor(random() * running.length), 1);
    if (victim === undefined) throw new Error("nobody to kill");
    expect(await victim.kill()).toBe(true);
    // What is there now is whole, whatever the victim was doing; others write on meanwhile.
    for (const path of [file, backup]) {
      expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ version: 1 });
    }
    if (registry.peek().some((entry) => entry.pid === victim.pid)) seen.stale += 1;
    const live = running.map(({ name, pid, state }) => ({
      name,
      pid,
      session: state.acknowledged,
    }));
    const operation = registry.reclaim();
    const { table } = await within(operation, DEADLINE_MS, "an operation after the kill");
    expect(table.filter((entry) => entry.pid === victim.pid)).toEqual([]);
    expect(existsSync(dir.join(victim.name))).toBe(false);
    expect(new Set(names(table)).size).toBe(table.length);
    for (const { name, pid, session } of live) {
      const entry = one(table, name);
      const scope_allow = [rule(`/work/${name}`)];
      expect(entry).toMatchObject({ pid, delegated_from: null, scope_allow });
      expect(Number(entry.session_id?.split(" ")[1])).toBeGreaterThanOrEqual(session);
      seen.sessions += session;
    }
    await replacement.ready;
    running.push(replacement);
  }
  await Promise.all(running.map((process) => process.kill()));
  expect(names((await registry.reclaim()).table)).toEqual([]);
  // Nothing was ever found damaged, and nothing is left on its way out. A new table that its writer did
  // not live to put in place is overwritten by the next.
  const left = readdirSync(dir.path).filter((name) => name !== "pods.json.tmp");
  expect(left.toSorted()).toEqual(["pods.json", "pods.json.bak", "pods.lock"]);
  expect(seen.sessions).toBeGreaterThan(0);
  expect(seen.stale).toBeGreaterThan(KILLS / 4);
}, 120_000);
