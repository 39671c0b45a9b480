/**
 * Real Pods for tests: a world of their own (HOME, runtime directory, a directory to work in), root
 * Pods with the scripted model, and the proof at the end that nothing is left of any Pod of that
 * world: no process, no allocation, no directory. Pods run from source, or `command` says otherwise.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf } from "../../src/base/errors.ts";
import { identityOf } from "../../src/base/process.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { runMethod, type Method } from "../../src/protocol/method.ts";
import { type Allocation, isReservation, ownerOf } from "../../src/registry/allocation.ts";
import { findByName } from "../../src/registry/operations.ts";
import { Registry } from "../../src/registry/registry.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { type StopLimits, stopPod } from "../../src/spawn/stop.ts";
import { connectPod, type PodClient, request } from "../../src/transport/client.ts";
import { temp, type TempDirectory, within } from "./temp.ts";

/** How a Pod is started from source; `[podBinary()]` is the other way. */
export const SOURCE_COMMAND: readonly string[] = [
  process.execPath,
  resolve(import.meta.dir, "../../src/main.ts"),
];

/** Time for anything that a healthy machine does in a fraction of a second. */
export const DEADLINE_MS = 10_000;

const STOP_AT_END: StopLimits = { askMs: 5000, termMs: 1000, killMs: 2000 };
const REGISTRY_FILES = ["pods.json", "pods.json.bak", "pods.lock"];

/** One rule of a scenario (docs/scripted-model.md). */
export type ScenarioRule = Readonly<Record<string, unknown>>;

/** A HOME and a runtime directory that no other test knows. */
export interface World extends AsyncDisposable {
  readonly home: string;
  readonly runtime: string;
  /** A directory for the Pods to work in; the default scope and working directory. */
  readonly work: string;
  /** What every Pod of this world has in its environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly registry: Registry;
  /** Writes a scenario file and returns its path. */
  scenario(rules: readonly ScenarioRule[]): string;
  /** Starts a root Pod and waits for its ready line. */
  start(options: RootOptions): Promise<RootPod>;
  /** The allocation of a name as it stands in the registry now. */
  allocation(name: string): Allocation | undefined;
  /** Pids of live processes that have this runtime directory in their environment, but ours. */
  processes(): number[];
  /** Names of Pod directories. */
  directories(): string[];
  /** Ends every Pod of this world but those of the test's own process. */
  stopAll(): Promise<void>;
}

/** What to start. Give `rules` or `scenario`. */
export interface RootOptions {
  /** Name of the Pod; default `root`. */
  readonly name?: string;
  readonly rules?: readonly ScenarioRule[];
  /** Path of a scenario file. */
  readonly scenario?: string;
  /** `[model]` of the manifest instead of a scripted one. */
  readonly model?: Readonly<Record<string, unknown>>;
  /** Default: everything in the world's `work`, for writing. */
  readonly scope?: { readonly allow: readonly ScopeRule[]; readonly deny?: readonly ScopeRule[] };
  /** `[limits]` of the manifest. */
  readonly limits?: Readonly<Record<string, number>>;
  /** `[sandbox]` of the manifest. */
  readonly sandbox?: Readonly<Record<string, unknown>>;
  /** `[worker]` of the manifest. */
  readonly worker?: Readonly<Record<string, unknown>>;
  /** More environment, above the world's. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Program and leading arguments; default `SOURCE_COMMAND`. */
  readonly command?: readonly string[];
  /** More arguments. */
  readonly args?: readonly string[];
  /** Longest wait for the ready line; default `DEADLINE_MS`. */
  readonly readyMs?: number;
}

/** A root Pod that has said it is ready. */
export interface RootPod extends AsyncDisposable {
  readonly world: World;
  readonly name: string;
  readonly pid: number;
  readonly socket: string;
  /** A connection that is open since the Pod was ready; its events are in `events`. */
  readonly client: PodClient;
  /** Everything the Pod has sent to this client so far. */
  readonly events: readonly Event[];
  readonly exited: Promise<number>;
  /** What the Pod wrote to standard error so far. */
  stderr(): string;
  /** The first event after the one found before for which `predicate` holds. */
  waitFor<Name extends EventName>(
    predicate: Name | ((event: Event) => boolean),
    ms?: number,
  ): Promise<Extract<Event, { event: Name }>>;
  /** Sends a method on a connection of its own and resolves with its answer. */
  request(method: Method, until?: EventName): Promise<Event>;
  /** Starts a run with this text; resolves when the Pod has taken it. */
  run(text: string): Promise<void>;
  /** Starts a run and resolves when it has ended. */
  runToEnd(text: string, ms?: number): Promise<Event>;
  /** Summaries of the tool results so far, in order. */
  toolResults(): string[];
  /** Ends the process without warning and waits for its end. */
  kill(signal?: NodeJS.Signals): Promise<void>;
}

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
  const started: StartedPod[] = [];
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
  const deadline = performance.now() + 2000;
  // A process that has said its last word needs an instant to be gone.
  while (world.processes().length > 0 && performance.now() < deadline) await Bun.sleep(5);
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

/** True while a process runs: it exists and is no zombie. */
export function isRunning(pid: number): boolean {
  const stat = readProc(pid, "stat");
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
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

class StartedPod implements RootPod {
  readonly world: World;
  readonly name: string;
  readonly socket: string;
  readonly events: Event[] = [];
  readonly #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #stderr = "";
  #client: PodClient | undefined;
  /** Index behind the event that was found last. */
  #seen = 0;
  #changed = Promise.withResolvers<void>();

  constructor(world: World, options: RootOptions) {
    this.world = world;
    this.name = options.name ?? "root";
    // Not `podPaths`: what an invalid name leads to is for the Pod itself to say.
    this.socket = join(world.runtime, this.name, "sock");
    const { command = SOURCE_COMMAND, args = [], cwd = world.work } = options;
    this.#process = Bun.spawn(
      [...command, "--overlay", overlayOf(world, this.name, options), ...args],
      {
        cwd,
        env: { ...world.env, ...options.env },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      },
    );
    void this.#readStderr();
  }

  get pid(): number {
    return this.#process.pid;
  }

  get exited(): Promise<number> {
    return this.#process.exited;
  }

  get client(): PodClient {
    if (this.#client === undefined) throw new Error(`pod ${this.name} is not ready`);
    return this.#client;
  }

  stderr(): string {
    return this.#stderr;
  }

  async becomeReady(ms: number = DEADLINE_MS): Promise<void> {
    const ready = `INSOMNIA-READY\t${this.name}\t${this.socket}\n`;
    let over = false;
    void this.exited.then(() => {
      over = true;
      this.#change();
    });
    await this.#until(() => over || this.#stderr.includes(ready), ms, "the ready line");
    if (!this.#stderr.includes(ready)) {
      throw new Error(`pod ${this.name} ended with ${await this.exited}: ${this.#stderr}`);
    }
    this.#client = await connectPod(this.socket, { timeoutMs: DEADLINE_MS });
    void this.#readEvents(this.#client);
    // Answered: from here on this client is on the list for every event.
    await this.client.send({ method: "status" });
    await this.waitFor("status");
  }

  async waitFor<Name extends EventName>(
    predicate: Name | ((event: Event) => boolean),
    ms: number = DEADLINE_MS,
  ): Promise<Extract<Event, { event: Name }>> {
    const fits =
      typeof predicate === "string" ? (event: Event) => event.event === predicate : predicate;
    const find = (): number =>
      this.events.findIndex((event, index) => index >= this.#seen && fits(event));
    await this.#until(() => find() >= 0, ms, `an event: ${String(predicate)}`);
    const index = find();
    this.#seen = index + 1;
    return this.events[index] as Extract<Event, { event: Name }>;
  }

  async request(method: Method, until?: EventName): Promise<Event> {
    return await request(this.socket, method, {
      timeoutMs: DEADLINE_MS,
      ...(until === undefined ? {} : { until: (event) => event.event === until }),
    });
  }

  async run(text: string): Promise<void> {
    await this.request(runMethod(text));
  }

  async runToEnd(text: string, ms: number = DEADLINE_MS): Promise<Event> {
    await this.run(text);
    return await this.waitFor("run_end", ms);
  }

  toolResults(): string[] {
    return this.events.flatMap((event) =>
      event.event === "tool_result" ? [event.data.summary] : [],
    );
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#process.kill(signal);
    await within(this.exited, DEADLINE_MS, `the end of pod ${this.name}`);
  }

  /** After every Pod was stopped: waits for the process itself and lets go of everything. */
  async end(): Promise<void> {
    this.#client?.terminate();
    try {
      await within(this.exited, 2000, `the end of pod ${this.name}`);
    } catch {
      await this.kill();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopPod(
      { socket: this.socket, owner: identityOf(this.pid), exited: this.exited },
      STOP_AT_END,
    );
    await this.end();
  }

  async #until(check: () => boolean, ms: number, what: string): Promise<void> {
    const deadline = performance.now() + ms;
    while (!check()) {
      try {
        await within(this.#changed.promise, Math.max(1, deadline - performance.now()), what);
      } catch (error) {
        throw new Error(`${messageOf(error)}\n${this.#story()}`, { cause: error });
      }
    }
  }

  /** What is known, for a failing test. */
  #story(): string {
    const events = this.events.slice(-15).map((event) => JSON.stringify(event).slice(0, 300));
    return [`pod ${this.name}:`, ...events, "standard error:", this.#stderr.slice(-1500)].join(
      "\n",
    );
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #readStderr(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#process.stderr) {
      this.#stderr += decoder.decode(chunk, { stream: true });
      this.#change();
    }
  }

  async #readEvents(client: PodClient): Promise<void> {
    for (;;) {
      const event = await client.next(Number.POSITIVE_INFINITY);
      if (event === undefined) return;
      this.events.push(event);
      this.#change();
    }
  }
}

/** The manifest of a root Pod as the overlay on its command line. */
function overlayOf(world: World, name: string, options: RootOptions): string {
  const scripted = () => ({
    scheme: "script",
    script: options.scenario ?? world.scenario(options.rules ?? [{ text: "ok" }]),
  });
  const allow = [{ target: world.work, permission: "write", recursive: true }];
  return toToml({
    pod: { name },
    model: options.model ?? scripted(),
    worker: options.worker ?? {},
    limits: options.limits ?? {},
    sandbox: options.sandbox ?? {},
    scope: { deny: [], allow, ...options.scope },
  });
}

/** Inline TOML tables are JSON with other marks between key and value. */
function toToml(manifest: Readonly<Record<string, unknown>>): string {
  return Object.entries(manifest)
    .map(([key, value]) => `${key} = ${inline(value)}`)
    .join("\n");
}

function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const keys = Object.entries(value).map(
    ([key, inner]) => `${JSON.stringify(key)} = ${inline(inner)}`,
  );
  return `{ ${keys.join(", ")} }`;
}
