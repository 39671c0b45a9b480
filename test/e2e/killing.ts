/** Trees of the compiled program that are killed at random moments: what the tests of that share. */
import { expect } from "bun:test";
import { join } from "node:path";
import { isPodError } from "../../src/base/errors.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { messageText } from "../../src/protocol/history.ts";
import { runMethod, type Method } from "../../src/protocol/method.ts";
import { isReservation } from "../../src/registry/allocation.ts";
import { Replay, type SessionState } from "../../src/session/replay.ts";
import { scanLog, withLog } from "../../src/session/scan.ts";
import { request } from "../../src/transport/client.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, type World } from "../support/pod.ts";

/** Longest wait for anything. */
export const WAIT_MS = 30_000;
/** True for the full counts. */
export const FULL = process.env.POD_FUZZ === "1";
/** Decides whom it hits, and when. */
export const SEED = Number(process.env.POD_SEED ?? 20_261_125);
/** The compiled program. */
export const command = [podBinary()];

export function sessionFile(world: World, session: string): string {
  return join(world.home, ".insomnia/sessions", `${session}.jsonl`);
}

/** What a log says; fails when it is not whole. */
export function readSession(world: World, session: string): SessionState {
  return withLog(sessionFile(world, session), session, (fd) => {
    const replay = new Replay();
    const end = scanLog(fd, ({ entry }) => replay.add(entry));
    expect(end.kind).toBe("whole");
    return replay.state();
  });
}

/** True when these bytes of a log hold the good end of the run that was asked for with `text`. */
export function hasFinished(bytes: Buffer, text: string): boolean {
  const lines = bytes
    .toString("utf8", 0, bytes.lastIndexOf(10) + 1)
    .trimEnd()
    .split("\n");
  const begun = lines.findIndex(
    (line) => line.includes('"kind":"user_input"') && line.includes(JSON.stringify(text)),
  );
  const end = lines.find((line, at) => at > begun && /"kind":"run_(completed|errored)"/.test(line));
  return begun >= 0 && end?.includes('"result":"finished"') === true;
}

async function ask(world: World, name: string, method: Method, until?: EventName): Promise<Event> {
  const socket = world.allocation(name)?.socket ?? "";
  return await request(socket, method, {
    timeoutMs: WAIT_MS,
    ...(until === undefined ? {} : { until: (event) => event.event === until }),
  });
}

async function isAtRest(world: World, name: string): Promise<boolean> {
  const answer = await ask(world, name, { method: "status" }, "status");
  // One whose run was cut off comes back paused.
  return answer.event === "status" && answer.data.state !== "running" && answer.data.pending === 0;
}

/** Everything in the registry is at rest, twice in a row. */
export async function settled(world: World): Promise<void> {
  let calm = 0;
  await eventually(
    async () => {
      const { table } = await world.registry.reclaim();
      if (table.some(isReservation)) return false;
      try {
        const states = await Promise.all(table.map(({ pod_name }) => isAtRest(world, pod_name)));
        calm = states.every(Boolean) ? calm + 1 : 0;
      } catch (error) {
        if (!isPodError(error)) throw error;
        calm = 0; // one that is just ending
      }
      return calm >= 2;
    },
    "the tree at rest",
    WAIT_MS,
  );
}

/** Gives a task; a Pod that is busy, or dies at this moment, does not take it. */
export async function give(world: World, name: string, text: string): Promise<boolean> {
  try {
    await ask(world, name, runMethod(text));
    return true;
  } catch (error) {
    if (!isPodError(error)) throw error;
    return false;
  }
}

export async function runToEnd(world: World, name: string, text: string): Promise<void> {
  await eventually(() => give(world, name, text), `pod ${name} taking "${text}"`, WAIT_MS);
  await settled(world);
}

/** Kills these processes at once, and for "all" whatever they have just started. */
export async function kill(world: World, pids: readonly number[], all: boolean): Promise<void> {
  let victims = pids;
  do {
    for (const pid of victims) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // gone already
      }
    }
    await eventually(() => victims.every((pid) => !isRunning(pid)), "the end of the killed");
    victims = all ? world.processes() : [];
  } while (victims.length > 0);
}

/** Brings the tree back, or what else is named, without a complaint. */
export async function resume(
  world: World,
  what: readonly string[] = ["root", "--tree"],
): Promise<void> {
  const { stdout, stderr, code } = await world.cli("resume", ...what);
  expect({ code, stderr, stdout }).toMatchObject({ code: 0, stderr: "" });
}

/** Begins to bring the tree back and kills everything at some moment of it, the command included. */
export async function resumeAndKill(world: World, afterMs: number): Promise<void> {
  const child = Bun.spawn([...command, "resume", "root", "--tree"], {
    cwd: world.work,
    env: world.env,
    stdio: ["ignore", "ignore", "ignore"],
  });
  // A random moment is what is wanted here: nothing is waited for.
  await Bun.sleep(afterMs);
  child.kill("SIGKILL");
  await child.exited;
  await kill(world, world.processes(), true);
}

/** What a Pod was asked for, in the order of its log. */
export function userTexts({ items }: SessionState): string[] {
  return items.flatMap((item) =>
    item.type === "message" && item.role === "user" ? [messageText(item)] : [],
  );
}

/** Ids of the notices whose text contains these words. */
export function noticesOf({ items }: SessionState, words: string): string[] {
  return items.flatMap((item) =>
    item.type === "message" && messageText(item).includes(words) ? (item.notice ?? []) : [],
  );
}
