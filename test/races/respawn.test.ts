/**
 * One name is stopped and spawned again without pause, while the old process is slow to die, deaf,
 * or cleans up once more after it has given everything back: the new one is never touched by the
 * old one (46, W14, W15, W18), and every task reaches the process it was meant for (W17).
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { lifeState } from "../../src/registry/life.ts";
import type { Method } from "../../src/protocol/method.ts";
import { stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { sendToPodTool } from "../../src/spawn/talk-tools.ts";
import { deliver, request } from "../../src/transport/client.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { fakeChild, grant, startSpawner, type TestSpawner } from "../spawn/spawner.ts";
import { draws, eachRound, LIMIT_MS, rounds } from "./rounds.ts";

const ROUNDS = rounds(300, 14);
const FAST_STOP = { askMs: 600, termMs: 150, killMs: 2000 };
const DEADLINE_MS = 20_000;

interface Ending {
  readonly steps: readonly string[];
  readonly by: "StopPod" | "request" | "SIGKILL";
}

/** How a child behaves when it is to end, and how it is ended. */
const ENDINGS: readonly [Ending, ...Ending[]] = [
  { steps: ["listen=slow"], by: "StopPod" },
  { steps: ["listen=deaf"], by: "StopPod" },
  { steps: ["ignore-term", "listen=deaf"], by: "StopPod" },
  { steps: ["listen=linger"], by: "StopPod" },
  { steps: ["listen=linger"], by: "request" },
  { steps: ["listen=slow"], by: "request" },
  { steps: ["listen=ack"], by: "SIGKILL" },
];

/** Refusals while the old one is still there. */
const NOT_YET = /already registered|is still held by a process that is ending|conflicts with pod/;

interface Generation {
  readonly number: number;
  readonly pid: number;
  readonly instance: string;
  readonly ending: Ending;
  /** File with what the process has heard. */
  readonly heard: string;
  /** Inode of its socket. */
  readonly socket: number;
}

/** Spawns `coder` as soon as it is let; what was refused meanwhile must be for the old one's sake. */
async function respawn(spawner: TestSpawner, number: number, ending: Ending): Promise<Generation> {
  const heard = join(spawner.world.home, `heard-${number}`);
  const command = fakeChild(`record=${heard}`, "adopt", ...ending.steps, "ready");
  const input = {
    name: "coder",
    task: `task ${number}`,
    scope: [grant(spawner.directory("src"))],
  };
  await eventually(
    async () => {
      const context = { ...spawner.context, command };
      const outcome = await spawner.call(spawnPodTool(context), input);
      if (outcome.isError) expect(outcome.summary).toMatch(NOT_YET);
      return !outcome.isError;
    },
    `generation ${number} to be spawned`,
    DEADLINE_MS,
  );
  const entry = spawner.entry("coder");
  if (entry === undefined) throw new Error("no entry after a spawn");
  const { pid, instance } = entry;
  return { number, pid, instance, ending, heard, socket: statSync(entry.socket).ino };
}

/** Ends a generation in its way; resolves when its process is gone. */
async function end(spawner: TestSpawner, { pid, ending }: Generation): Promise<void> {
  const { by } = ending;
  if (by === "StopPod") {
    const tool = stopPodTool(spawner.context, FAST_STOP);
    const { isError, summary } = await spawner.call(tool, { name: "coder" });
    expect({ isError, summary }).toMatchObject({ isError: false });
  } else if (by === "SIGKILL") {
    process.kill(pid, "SIGKILL");
  } else {
    const socket = join(spawner.world.runtime, "coder", "sock");
    await deliver(socket, { method: "shutdown" }, { timeoutMs: 5000 });
  }
  await eventually(() => !isRunning(pid), `the end of process ${pid}`, DEADLINE_MS);
}

/** Everything that makes a Pod is this generation's. */
async function expectWhole(spawner: TestSpawner, generation: Generation): Promise<void> {
  const { world } = spawner;
  const { pid, instance } = generation;
  expect(spawner.entry("coder")).toMatchObject({ pid, instance, delegated_from: "root" });
  expect(isRunning(pid)).toBe(true);
  expect(lifeState(world.runtime, "coder")).toBe("held");
  expect(existsSync(join(world.runtime, "coder", "allocation.json"))).toBe(true);
  const socket = join(world.runtime, "coder", "sock");
  expect(statSync(socket).ino).toBe(generation.socket);
  const until = (event: { event: string }): boolean => event.event === "status";
  const answer = await request(socket, { method: "status" }, { timeoutMs: 5000, until });
  expect(answer.data).toMatchObject({ pid, instance });
  const records = spawner.context.children.list().filter(({ name }) => name === "coder");
  expect(records.map((record) => record.instance)).toEqual([instance]);
  expect(spawner.access(join(world.work, "src", "f"))).toBe("read");
}

/** Texts of the runs that a generation has heard. */
function tasksOf({ heard }: Generation): string[] {
  const lines = readFileSync(heard, "utf8").trim().split("\n");
  return lines.flatMap((line) => {
    const method = JSON.parse(line) as Method;
    if (method.method !== "run") return [];
    return [method.params.input.map((part) => ("content" in part ? part.content : "")).join("")];
  });
}

test(
  `${ROUNDS} generations of one name, each spawned while the one before is still dying (46)`,
  async () => {
    await using spawner = await startSpawner();
    const draw = draws(3);
    let current = await respawn(spawner, 0, ENDINGS[0]);
    await eachRound(ROUNDS, async (round) => {
      const old = current;
      const ending = ENDINGS[round % ENDINGS.length] ?? draw.of(ENDINGS);
      const dying = end(spawner, old);
      // With the request under way or before it: both must be harmless.
      if (draw.number(2) === 0) await Bun.sleep(draw.number(40));
      const [next] = await within(
        Promise.all([respawn(spawner, round + 1, ending), dying]),
        DEADLINE_MS,
        `generation ${round + 1}`,
      );
      current = next;
      // The old process has said its last word: nothing of the new one is gone.
      await expectWhole(spawner, next);
      const more = { name: "coder", message: `more ${next.number}` };
      const sent = await spawner.call(sendToPodTool(spawner.context), more);
      expect(sent.summary).toBe("sent message to `coder`");
      expect(tasksOf(next)).toEqual([`task ${next.number}`, `more ${next.number}`]);
      expect(tasksOf(old)).toEqual(
        old.number === 0 ? ["task 0"] : [`task ${old.number}`, `more ${old.number}`],
      );
      expect(spawner.world.processes()).toEqual([next.pid]);
    });
  },
  LIMIT_MS,
);
