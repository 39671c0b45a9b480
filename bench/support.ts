/**
 * Surroundings of a measurement: a temporary directory with its own HOME and runtime directory, the
 * processes started in it, and their certain end. Whatever happens, short of SIGKILL, the directory
 * is removed and no process is left: all of them carry the name of the directory in their environment.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Event } from "../src/protocol/event.ts";
import { runMethod } from "../src/protocol/method.ts";
import { connectPod, type PodClient } from "../src/transport/client.ts";
import { now } from "./clock.ts";
import type { ServerReport } from "./model-server.ts";

/** Limit for every single wait; only a failure meets it. */
const DEADLINE_MS = 20_000;
/** How long the end of all processes may take. */
const CLEAN_UP_MS = 5000;

/** The temporary directory. Paths are canonical. */
export class Workspace {
  readonly root: string;
  readonly runtime: string;
  /** Where the Pods work. */
  readonly work: string;
  readonly pod: string;
  readonly #home: string;
  #clean = false;

  /** `runtimeParent`: another place for the runtime directory, for example on another file system. */
  constructor(pod: string, runtimeParent?: string) {
    this.pod = pod;
    this.root = realpathSync(mkdtempSync(join(tmpdir(), "pod-bench-")));
    this.runtime =
      runtimeParent === undefined
        ? join(this.root, "run")
        : realpathSync(mkdtempSync(join(runtimeParent, "pod-bench-")));
    this.work = join(this.root, "work");
    this.#home = join(this.root, "home");
    for (const directory of [this.work, this.#home]) mkdirSync(directory);
    process.once("exit", () => this.cleanUp());
    for (const [signal, number] of [
      ["SIGHUP", 1],
      ["SIGINT", 2],
      ["SIGTERM", 15],
    ] as const) {
      process.once(signal, () => process.exit(128 + number));
    }
  }

  /** The environment of everything that is started here. `config` is the directory of a manifest. */
  env(config = "none"): Record<string, string> {
    return {
      PATH: "/usr/bin:/bin",
      HOME: this.#home,
      INSOMNIA_RUNTIME_DIR: this.runtime,
      INSOMNIA_CONFIG_DIR: join(this.root, config),
    };
  }

  /** Makes and returns the configuration directory of this name. */
  configOf(config: string): string {
    const directory = join(this.root, config);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  /** Pid of a Pod by its name, as it says itself. */
  pidOf(pod: string): number {
    return Number(readFileSync(join(this.runtime, pod, "pid"), "utf8"));
  }

  /** Ends every process of this workspace and removes it. Synchronous: it runs in exit handlers. */
  cleanUp(): void {
    if (this.#clean) return;
    this.#clean = true;
    const deadline = performance.now() + CLEAN_UP_MS;
    // Again and again: a Pod may just be starting another one.
    for (let pids = this.#processes(); pids.length > 0; pids = this.#processes()) {
      if (performance.now() > deadline) {
        console.error(`bench: processes ${pids.join(", ")} could not be ended`);
        break;
      }
      for (const pid of pids) kill(pid);
      Bun.sleepSync(5);
    }
    for (const directory of [this.root, this.runtime]) {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  #processes(): number[] {
    const mark = `INSOMNIA_RUNTIME_DIR=${this.runtime}\0`;
    return readdirSync("/proc").flatMap((name) => {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid === process.pid) return [];
      try {
        return readFileSync(`/proc/${name}/environ`, "latin1").includes(mark) ? [pid] : [];
      } catch {
        return []; // gone, or another user's
      }
    });
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It was faster.
  }
}

/** Rejects with `what` unless `promise` settles within the limit of a wait. */
export async function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  const { promise: limit, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`${what}: nothing for ${DEADLINE_MS} ms`)),
    DEADLINE_MS,
  );
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** A Pod process that is ready. */
export interface StartedPod {
  readonly process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly socket: string;
  /** Milliseconds from before the start to the ready line. */
  readonly readyMs: number;
}

/** Starts `pod --overlay` and waits for its ready line; throws with what it said when it ends before. */
export async function startPod(
  workspace: Workspace,
  overlay: string,
  config: string,
): Promise<StartedPod> {
  const started = now();
  const child = Bun.spawn([workspace.pod, "--overlay", overlay], {
    cwd: workspace.work,
    env: workspace.env(config),
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const ready = Promise.withResolvers<{ socket: string; at: number }>();
  const listen = async (): Promise<void> => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      text = (text + decoder.decode(chunk, { stream: true })).slice(-16_384);
      const socket = /^INSOMNIA-READY\t[^\t\n]*\t([^\n]+)\n/m.exec(text)?.[1];
      if (socket !== undefined) ready.resolve({ socket, at: now() });
    }
    ready.reject(new Error(`the Pod did not start: ${text}`));
  };
  void listen();
  const { socket, at } = await within(ready.promise, "ready line");
  return { process: child, socket, readyMs: at - started };
}

/** Ends a started Pod like a client would, with all that it holds. */
export async function stopStarted(pod: StartedPod): Promise<void> {
  pod.process.kill("SIGTERM");
  await within(pod.process.exited, "end of a Pod");
}

/** An event with the moment at which it was received. */
export interface TimedEvent {
  readonly event: Event;
  readonly at: number;
}

/** The events of one Pod, watched from now on. */
export class Watch {
  readonly #client: PodClient;

  private constructor(client: PodClient) {
    this.#client = client;
  }

  static async open(socket: string): Promise<Watch> {
    return new Watch(await connectPod(socket, { timeoutMs: DEADLINE_MS }));
  }

  /** Gives the Pod a task. */
  async run(task: string): Promise<void> {
    await this.#client.send(runMethod(task));
  }

  /** The next event of this name; what comes before is skipped. An error event throws. */
  async next(name: Event["event"]): Promise<TimedEvent> {
    for (;;) {
      const event = await this.#client.next(DEADLINE_MS);
      const at = now();
      if (event === undefined) throw new Error(`the Pod went away before \`${name}\``);
      if (event.event === name) {
        if (event.event === "tool_result" && event.data.is_error) {
          throw new Error(event.data.summary);
        }
        return { event, at };
      }
      if (event.event === "error") throw new Error(event.data.message);
    }
  }

  /** Waits, by asking, until the Pod is idle and has taken in `runs` or more runs. */
  async untilIdle(runs: number): Promise<void> {
    for (;;) {
      await this.#client.send({ method: "status" });
      const { event } = await this.next("status");
      if (event.event !== "status") continue;
      const { state, pending } = event.data;
      if (state === "idle" && pending === 0 && event.data.runs >= runs) return;
      await Bun.sleep(50);
    }
  }

  close(): void {
    this.#client.terminate();
  }
}

/** The model server's process as seen from here. */
export class ModelServer {
  readonly url: string;
  readonly #waiting: ((report: ServerReport) => void)[];

  private constructor(url: string, waiting: ((report: ServerReport) => void)[]) {
    this.url = url;
    this.#waiting = waiting;
  }

  static async start(workspace: Workspace): Promise<ModelServer> {
    const listening = Promise.withResolvers<string>();
    const waiting: ((report: ServerReport) => void)[] = [];
    Bun.spawn([process.execPath, join(import.meta.dir, "model-server.ts")], {
      env: workspace.env(),
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: ServerReport) => {
        if (message.type === "listening") listening.resolve(message.url);
        else for (const tell of [...waiting]) tell(message);
      },
    }).unref();
    return new ModelServer(await within(listening.promise, "model server"), waiting);
  }

  /** Resolves with the moment of the first such report about a text that matches. Ask before it happens. */
  async saw(type: "request" | "answered", pattern: RegExp): Promise<number> {
    const seen = Promise.withResolvers<number>();
    const tell = (report: ServerReport): void => {
      if (report.type === type && pattern.test(report.text)) seen.resolve(report.at);
    };
    this.#waiting.push(tell);
    try {
      return await within(seen.promise, `${type} ${pattern.source}`);
    } finally {
      this.#waiting.splice(this.#waiting.indexOf(tell), 1);
    }
  }
}
