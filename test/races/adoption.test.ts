/**
 * A child that adopts at the very moment at which its reservation expires, or at which its spawner
 * gives up: it is one or the other, never both, and nobody runs under a name that is not theirs
 * (42, 70, 104, W16, W37, W38).
 */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseResolvedManifest } from "../../src/manifest/render.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { writeLaunchFile } from "../../src/spawn/launch-file.ts";
import { actors } from "../registry/actor.ts";
import { household, id, LIMITS } from "../registry/household.ts";
import { names, one, rule } from "../registry/entries.ts";
import { fakeChild, grant, startSpawner } from "../spawn/spawner.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { temp, within } from "../support/temp.ts";
import { aimAt, draws, eachRound, LIMIT_MS, rounds } from "./rounds.ts";

const DEADLINE_MS = 20_000;
/** What the registry adds to a spawner's own wait until a reservation expires. */
const SLACK_MS = 50_000;

/** Limits of a delegation whose reservation expires after this time. */
const expiringIn = (ms: number) => ({ ...LIMITS, readyTimeoutMs: ms - SLACK_MS });

/** Either all of one or all of the other must have been seen, or it was no race. */
function expectBoth(tally: Readonly<Record<string, number>>, total: number): void {
  console.error(`${total} rounds: ${JSON.stringify(tally)}`);
  for (const count of Object.values(tally)) expect(count).toBeGreaterThan(0);
}

const EXPIRIES = rounds(2000, 150);

test(
  `${EXPIRIES} adoptions at the moment of expiry: adopted or reclaimed, never both (42, W38)`,
  async () => {
    await using dir = temp();
    await using pool = await actors(2);
    const [early, late] = pool;
    if (early === undefined || late === undefined) throw new Error("no processes");
    const base = dir.path;
    const { registry } = await household(base);
    const draw = draws(4);
    const aim = aimAt(2, 1, draw);
    const tally = { adopted: 0, expired: 0 };
    await eachRound(EXPIRIES, async (round) => {
      const [first, second] = [`first ${round}`, `second ${round}`];
      await registry.delegate(id("a"), id("c", first), [rule("/src/c")], expiringIn(aim.next()));
      const adopting = early.ask({ op: "joinChild", base, name: "c", instance: first });
      const taking = registry.delegate(id("a"), id("c", second), [rule("/src/c")], LIMITS).then(
        () => true,
        () => false,
      );
      const adopted = (await adopting).ok;
      const taken = await taking;
      const entry = registry.peek().find(({ pod_name }) => pod_name === "c");
      if (adopted) {
        tally.adopted += 1;
        aim.was("long");
        expect(taken).toBe(false);
        expect(entry).toMatchObject({ instance: first, pid: early.pid });
        await early.tell({ op: "leave", base, name: "c" });
      } else {
        tally.expired += 1;
        aim.was("short");
        if (taken) {
          // The successor of the expired reservation belongs to its own child, and to nobody else.
          expect(entry).toMatchObject({ instance: second, session_id: null });
          const [stranger, rightful] = await Promise.all([
            early.ask({ op: "joinChild", base, name: "c", instance: first }),
            late.ask({ op: "joinChild", base, name: "c", instance: second }),
          ]);
          expect(stranger).toMatchObject({ ok: false });
          expect(rightful).toMatchObject({ ok: true });
          expect(one(registry.peek(), "c")).toMatchObject({ instance: second, pid: late.pid });
          await late.tell({ op: "leave", base, name: "c" });
        }
      }
      await registry.reclaim();
      expect(names(registry.peek())).toEqual(["a"]);
      expect(readdirSync(base).filter((name) => name === "c")).toEqual([]);
    });
    expectBoth(tally, EXPIRIES);
  },
  LIMIT_MS,
);

const LATE_PODS = rounds(200, 24);

test(
  `${LATE_PODS} pods that adopt around the expiry run or end with the reason, never both (104)`,
  async () => {
    await using spawner = await startSpawner();
    const { world, context } = spawner;
    const { self, family } = context;
    const src = spawner.directory("src");
    const aim = aimAt(30, 5, draws(5));
    const tally = { adopted: 0, expired: 0 };
    await eachRound(LATE_PODS, async (round) => {
      const instance = `late ${round}`;
      const pod = { name: "late", instance };
      const limits = expiringIn(aim.next());
      const { value } = await world.registry.delegate(self, pod, [rule(src)], limits);
      const path = join(world.home, "launch.json");
      const manifest = parseResolvedManifest({
        pod: { name: "late" },
        model: { scheme: "script", script: world.scenario([{ text: "ok" }]) },
        scope: { allow: value.scope_allow, deny: value.scope_deny },
      });
      const { store } = context;
      const told = { secrets: [], prompts: {} };
      const launch = { version: 1, program: "t", name: "late", instance, ...told } as const;
      writeLaunchFile(path, { ...launch, manifest, store });
      const child = Bun.spawn(
        [podBinary(), "--adopt", "--callback", self.socket, "--launch", path],
        { cwd: src, env: { ...context.env }, stdout: "pipe", stderr: "pipe" },
      );
      const errors = child.stderr.text();
      const first = (await child.stdout.getReader().read()).value;
      if (first !== undefined) {
        tally.adopted += 1;
        aim.was("long");
        expect(JSON.parse(new TextDecoder().decode(first))).toMatchObject({
          ready: { instance, pid: child.pid },
        });
        // Adopted is adopted: the expiry of the reservation means nothing any more.
        const { table } = await world.registry.reclaim();
        expect(one(table, "late")).toMatchObject({ instance, pid: child.pid, expires_at: null });
        child.kill("SIGTERM");
        expect(await within(child.exited, DEADLINE_MS, "the end of the child")).toBe(0);
      } else {
        tally.expired += 1;
        aim.was("short");
        expect(await within(child.exited, DEADLINE_MS, "the end of the child")).toBe(1);
        expect(await errors).toBe(
          "error: failed to create spawned pod: pod `late` is not registered\n",
        );
      }
      await family.refresh();
      // It has told its parent of its end, and that is on its way through the family.
      for (const record of context.children.list()) {
        await eventually(() => record.phase === "ended", "the end of the child to be handled");
        await family.settled(record);
      }
      expect(names(world.registry.peek())).toEqual(["root"]);
      expect(world.directories()).toEqual(["root"]);
      expect(spawner.access(join(src, "f"))).toBe("write");
    });
    expectBoth(tally, LATE_PODS);
  },
  LIMIT_MS,
);

const ROLLBACKS = rounds(300, 24);

test(
  `${ROLLBACKS} children that get ready around the spawner's time-out run or are gone (70, W37)`,
  async () => {
    await using spawner = await startSpawner();
    const { world } = spawner;
    const src = spawner.directory("src");
    const scope = [grant(src)];
    const before = spawner.snapshot();
    const draw = draws(6);
    const tally = { spawned: 0, rolledBack: 0 };
    const aim = aimAt(150, 12, draw);
    await eachRound(ROLLBACKS, async (round) => {
      const wait = draw.number(60);
      // It hesitates before it adopts, after it, or both.
      const [early, late] = draw.of([
        [wait, 0],
        [0, wait],
        [Math.ceil(wait / 2), Math.ceil(wait / 2)],
      ]);
      const command = fakeChild(`wait=${early}`, "adopt", `wait=${late}`, "listen=ack", "ready");
      const limits = { ...spawner.context.limits, readyTimeoutMs: aim.next() + wait };
      const context = { ...spawner.context, command, limits };
      const input = { name: "late", task: `task ${round}`, scope };
      const outcome = await spawner.call(spawnPodTool(context), input);
      aim.was(outcome.isError ? "short" : "long");
      if (outcome.isError) {
        tally.rolledBack += 1;
        expect(outcome.summary).toMatch(/did not appear within [\d.]+s: /);
        expect({ ...spawner.snapshot(), registry: 0 }).toEqual({ ...before, registry: 0 });
        expect(names(world.registry.peek())).toEqual(["root"]);
        // The name is free, and who takes it now is alone under it.
        const patient = { ...spawner.context.limits, readyTimeoutMs: DEADLINE_MS };
        const again = fakeChild("adopt", "listen=ack", "ready");
        const next = { ...spawner.context, command: again, limits: patient };
        const second = await spawner.call(spawnPodTool(next), input);
        expect(second).toMatchObject({ isError: false });
      } else {
        tally.spawned += 1;
      }
      const entry = one(world.registry.peek(), "late");
      expect(entry.session_id).not.toBeNull();
      expect(world.processes()).toEqual([entry.pid]);
      process.kill(entry.pid, "SIGKILL");
      await spawner.notice("Pod `late` died unexpectedly (signal SIGKILL)", DEADLINE_MS);
      expect(isRunning(entry.pid)).toBe(false);
      expect(names(world.registry.peek())).toEqual(["root"]);
      expect(world.directories()).toEqual(["root"]);
      expect(spawner.access(join(src, "f"))).toBe("write");
    });
    expectBoth(tally, ROLLBACKS);
  },
  LIMIT_MS,
);
