/**
 * Real Pods for tests: a world of their own (HOME, runtime directory, a directory to work in) for root
 * Pods and commands, and the proof at the end that nothing is left of any Pod of that world: no
 * process, no allocation, no directory. Pods run from source, or `command` says otherwise.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { messageOf } from "../../src/base/errors.ts";
import { readStat } from "../../src/base/process.ts";
import { type Allocation, isReservation, ownerOf } from "../../src/registry/allocation.ts";
import { findByName } from "../../src/registry/kinship.ts";
import { Registry } from "../../src/registry/registry.ts";
import { OPEN_SOCKETS_NOTE } from "../../src/sandbox/open-sockets.ts";
import { stopPod } from "../../src/spawn/stop.ts";
import { podBinary } from "./binary.ts";
import { type Result, runProgram } from "./command.ts";
import {
  DEADLINE_MS,
  type PodIn,
  type RootOptions,
  StartedPod,
  STOP_AT_END,
  type Surroundings,
} from "./root-pod.ts";
import { temp, type TempDirectory } from "./temp.ts";

const REGISTRY_FILES = ["pods.json", "pods.json.bak", "pods.lock", OPEN_SOCKETS_NOTE];

/** A HOME and a runtime directory that no other test knows. */
export interface World extends Surroundings, AsyncDisposable {
  readonly registry: Registry;
  /** Starts a root Pod and waits for its ready line. */
  start(options: RootOptions): Promise<RootPod>;
  /** Runs a command of the compiled program to its end, in `work`. */
  cli(...args: string[]): Promise<Result>;
  /** The allocation of a name as it stands in the registry now. */
  allocation(name: string): Allocation | undefined;
  /** Pids of live processes that have this runtime directory in their environment, but ours. */
  processes(): number[];
  /** Names of Pod directories. */
  directories(): string[];
  /** Ends every Pod of this world but those of the test's own process. */
  stopAll(): Promise<void>;
}

/** A root Pod of a world. */
export type RootPod = PodIn<World>;

/**
 * A fresh world. At its end every Pod in it is stopped, and what is left fails the test.
 * `runtimeName` is the last component of the runtime directory. `dir` is where it stands, when another
 * process may have made it.
 */
export function startWorld(runtimeName = "run", dir: TempDirectory = temp()): World {
  const runtime = dir.join(runtimeName);
  const work = dir.join("work");
  mkdirSync(runtime, { mode: 0o700, recursive: true });
  mkdirSync(work, { recursive: true });
  const registry = new Registry(runtime);
  const env = {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: dir.path,
    INSOMNIA_RUNTIME_DIR: runtime,
  };
  const started: StartedPod<World>[] = [];
  let scenarios = 0;
  const world: World = {
    home: dir.path,
    runtime,
    work,
    env,
    registry,
    scenario(rules) {
      const path = dir.join(`scenario-${(scenarios += 1)}.json`);
      writeFileSync(path, JSON.stringify({ rules }));
      return path;
    },
    async start(options) {
      const pod = new StartedPod(world, options);
      started.push(pod);
      await pod.becomeReady(options.readyMs);
      return pod;
    },
    cli: (...args) => runProgram([podBinary(), ...args], { cwd: work, env }),
    allocation: (name) => findByName(registry.peek(), name),
    processes: () => processesOf(runtime),
    // What was moved aside is on its way out (registry/life.ts) and has no name any more.
    directories: () =>
      readdirSync(runtime).filter(
        (name) => !REGISTRY_FILES.includes(name) && !name.startsWith(".gone-"),
      ),
    stopAll: () => stopAll(registry),
    async [Symbol.asyncDispose]() {
      const complaints: string[] = [];
      try {
        await stopAll(registry);
        for (const pod of started) await pod.end();
        complaints.push(...(await leftovers(world)));
      } catch (error) {
        complaints.push(`could not clean up: ${messageOf(error)}`);
      } finally {
        for (const pid of world.processes()) process.kill(pid, "SIGKILL");
        await dir[Symbol.asyncDispose]();
      }
      if (complaints.length === 0) return;
      const text = `left behind: ${complaints.join("; ")}`;
      // A failing test would hide it: of two errors the first is shown.
      console.error(text);
      throw new Error(text);
    },
  };
  return world;
}

/** A root Pod in a world of its own, which ends with it. */
export async function startRoot(options: RootOptions): Promise<RootPod> {
  const world = startWorld();
  try {
    const pod = await world.start(options);
    return Object.assign(pod, { [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() });
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

/** Ends every Pod of the registry but those of this process. */
async function stopAll(registry: Registry): Promise<void> {
  // A Pod that is just being started by another is not there yet in the first round.
  for (let round = 0; round < 3; round += 1) {
    const { table } = await registry.reclaim();
    const others = table.filter((entry) => entry.pid !== process.pid && !isReservation(entry));
    if (others.length === 0) return;
    await Promise.all(
      others.map(async (entry) => {
        await stopPod({ socket: entry.socket, owner: ownerOf(entry) }, STOP_AT_END);
      }),
    );
  }
}

/** What is still there of the Pods of a world, one phrase each; empty when all is well. */
async function leftovers(world: World): Promise<string[]> {
  const { table } = await world.registry.reclaim();
  // A process that has said its last word needs an instant to be gone; one that stays is told below.
  await eventually(() => world.processes().length === 0, "no processes", 2000).catch(
    () => undefined,
  );
  return [
    ...world.processes().map((pid) => `process ${pid} (${commandOf(pid)})`),
    ...table.map((entry) => `allocation of ${entry.pod_name} (pid ${entry.pid})`),
    ...world.directories().map((name) => `directory ${name}`),
  ];
}

function readProc(pid: number | string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // gone, or not ours
  }
}

function commandOf(pid: number): string {
  return readProc(pid, "cmdline").replaceAll("\0", " ").trim();
}

/** Live processes (zombies do not count) with this runtime directory in their environment. */
function processesOf(runtime: string): number[] {
  const wanted = `INSOMNIA_RUNTIME_DIR=${runtime}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => readProc(pid, "environ").split("\0").includes(wanted))
    .filter((pid) => isRunning(Number(pid)))
    .map(Number);
}

/**
 * True while a process can still do something, as the program itself judges it: one whose first thread
 * is a zombie while others are not still holds its files and locks.
 */
export function isRunning(pid: number): boolean {
  return readStat(pid)?.ended === false;
}

/** Resolves when `check` holds, looking every few milliseconds; fails after the deadline. */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  what: string,
  ms: number = DEADLINE_MS,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`deadline of ${ms} ms: ${what}`);
    await Bun.sleep(5);
  }
}
