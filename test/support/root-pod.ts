/**
 * A root Pod as a process, for tests: started with the scripted model, spoken to over its socket, its
 * events kept. Where it lives is for the caller (`pod.ts`), and so is the proof that nothing is left.
 */
import { join, resolve } from "node:path";
import { messageOf } from "../../src/base/errors.ts";
import { identityOf } from "../../src/base/process.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { runMethod, type Method } from "../../src/protocol/method.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { type StopLimits, stopPod } from "../../src/spawn/stop.ts";
import { connectPod, type PodClient, request } from "../../src/transport/client.ts";
import { within } from "./temp.ts";

/** How a Pod is started from source; `[podBinary()]` is the other way. */
export const SOURCE_COMMAND: readonly string[] = [
  process.execPath,
  resolve(import.meta.dir, "../../src/main.ts"),
];

/** Time for anything that a healthy machine does in a fraction of a second. */
export const DEADLINE_MS = 10_000;

/** How long a Pod has to end when its test is over. */
export const STOP_AT_END: StopLimits = { askMs: 5000, termMs: 1000, killMs: 2000 };
/** One rule of a scenario (docs/scripted-model.md). */
export type ScenarioRule = Readonly<Record<string, unknown>>;

/** What a Pod finds where it is started. */
export interface Surroundings {
  readonly home: string;
  readonly runtime: string;
  /** A directory for the Pods to work in; the default scope and working directory. */
  readonly work: string;
  /** What every Pod has in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Writes a scenario file and returns its path. */
  scenario(rules: readonly ScenarioRule[]): string;
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
export interface PodIn<Home extends Surroundings> extends AsyncDisposable {
  readonly world: Home;
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

/** The process of a root Pod; `becomeReady` comes before everything else, `end` last. */
export class StartedPod<Home extends Surroundings> implements PodIn<Home> {
  readonly world: Home;
  readonly name: string;
  readonly socket: string;
  readonly events: Event[] = [];
  readonly #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #stderr = "";
  #client: PodClient | undefined;
  /** Index behind the event that was found last. */
  #seen = 0;
  #changed = Promise.withResolvers<void>();

  constructor(world: Home, options: RootOptions) {
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
function overlayOf(world: Surroundings, name: string, options: RootOptions): string {
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
