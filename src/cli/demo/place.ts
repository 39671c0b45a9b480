/**
 * Where a demonstration happens: one private temporary directory that holds its HOME, its runtime
 * directory (so a registry of its own), the workspace and the scenario. Every process of it carries
 * the directory's name in its environment, which is how left-overs are found. Stops nothing itself
 * but what `destroy` is told to.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errnoCode, isPodError, messageOf, PodError } from "../../base/errors.ts";
import { replaceFile } from "../../base/files.ts";
import { assertSocketPath, type Environment, isPodName, podPaths } from "../../base/paths.ts";
import {
  childEnvironment,
  listedAs,
  selfCommand,
  settlesWithin,
  signalGroup,
  stateOf,
} from "../../base/process.ts";
import { ownerOf } from "../../registry/allocation.ts";
import type { Registry } from "../../registry/registry.ts";
import { openRegistry } from "../tree.ts";
import { DIRECTORIES, demoManifest, demoScenario, PODS, SITE } from "./scenario.ts";

/** How long the root Pod may take to say that it is ready. */
const READY_LIMIT_MS = 30_000;
/** Characters of a Pod's standard error that are kept for an error message. */
const MAX_LOG_CHARACTERS = 4096;

/** The directory and what was put there. Paths are canonical. */
export interface Place {
  readonly directory: string;
  readonly site: string;
  /** Environment of every process of the demonstration; nothing of the person's configuration. */
  readonly env: Readonly<Record<string, string>>;
  readonly registry: Registry;
}

/** Makes the place. `pace` is that of the scenario. */
export function makePlace(env: Environment, pace: number): Place {
  const directory = makeDirectory();
  try {
    const site = join(directory, SITE);
    for (const name of DIRECTORIES) mkdirSync(join(site, name), { recursive: true });
    replaceFile(join(directory, "scenario.json"), JSON.stringify(demoScenario(pace), null, 2));
    const inherited = Object.entries(childEnvironment(env)).filter(
      ([name]) => !/^(INSOMNIA_|XDG_)/.test(name),
    );
    const own = {
      ...Object.fromEntries(inherited),
      HOME: directory,
      INSOMNIA_RUNTIME_DIR: join(directory, "run"),
    };
    return { directory, site, env: own, registry: openRegistry(own) };
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

/** A fresh directory whose socket paths fit the kernel's limit, in `TMPDIR` or else in `/tmp`. */
function makeDirectory(): string {
  const make = (parent: string): string => {
    const directory = realpathSync(mkdtempSync(join(parent, "pod-demo-")));
    try {
      assertSocketPath(podPaths(join(directory, "run"), PODS.refused).socket);
      return directory;
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  };
  try {
    return make(tmpdir());
  } catch (error) {
    if (!isPodError(error, "path_too_long") && errnoCode(error) === undefined) throw error;
    return make("/tmp");
  }
}

/** The root Pod as a process of its own. */
export interface Lead {
  readonly pid: number;
  /** Resolves when the kernel reports its end. */
  readonly exited: Promise<number>;
  /** The last of what it wrote to standard error. */
  log(): string;
}

/** Starts the root Pod; it may not be ready yet. */
export function startLead(place: Place): Lead & { readonly ready: Promise<string> } {
  const [program = "", ...args] = selfCommand();
  const overlay = demoManifest(join(place.directory, "scenario.json"), place.site);
  const child = Bun.spawn([program, ...args, "--overlay", overlay], {
    ...listedAs(program),
    cwd: place.site,
    env: { ...place.env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    detached: true, // a session of its own: the terminal's Ctrl-C is for the demonstration alone
  });
  child.unref();
  const ready = Promise.withResolvers<string>();
  let log = "";
  const listen = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      log = (log + decoder.decode(chunk, { stream: true })).slice(-MAX_LOG_CHARACTERS);
      const socket = /^INSOMNIA-READY\t[^\t\n]+\t([^\n]+)\n/m.exec(log)?.[1];
      if (socket !== undefined) ready.resolve(socket);
    }
  };
  // The end of its standard error decides nothing; its exit and the limit do.
  void listen().catch(() => undefined);
  // Without the two lines by which it said that it was ready.
  const complaints = (): string =>
    log.replace(/^(?:INSOMNIA-READY\t|pod: \S+ listening ).*\n/gm, "");
  return {
    pid: child.pid,
    exited: child.exited,
    log: () => complaints().trim(),
    ready: ready.promise,
  };
}

/** Waits for the root Pod's socket. Throws `spawn_failed` when it ends or says nothing in time. */
export async function leadSocket(
  { ready, exited, log }: Lead & { readonly ready: Promise<string> },
  signal: AbortSignal,
): Promise<string> {
  const failed = (what: string): PodError =>
    new PodError("spawn_failed", `the root Pod ${what}${log() === "" ? "" : `: ${log()}`}`);
  const { promise: never, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(new PodError("cancelled", "the demo was interrupted"));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const limit = `was not ready within ${READY_LIMIT_MS / 1000} s`;
  const timer = setTimeout(() => reject(failed(limit)), READY_LIMIT_MS);
  void exited.then((code) => reject(failed(`ended with exit code ${code}`)));
  try {
    return await Promise.race([ready, never]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

/** Processes that have the place as their runtime directory: its Pods, and no stranger who only works there. */
function processesOf({ registry }: Place): number[] {
  const mark = `INSOMNIA_RUNTIME_DIR=${registry.base}`;
  return entriesOf("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      return environment.includes(mark) ? [Number(name)] : [];
    } catch {
      return []; // ended meanwhile, or another user's
    }
  });
}

/** What is still there of the demonstration's Pods: processes, allocations, runtime directories. */
export function leftovers(place: Place): string[] {
  return [
    ...processesOf(place).map((pid) => `process ${pid}`),
    ...place.registry.peek().map((entry) => `allocation of pod \`${entry.pod_name}\``),
    ...entriesOf(place.registry.base)
      .filter(isPodName)
      .map((name) => `runtime directory of pod \`${name}\``),
  ];
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Rounds of `destroy`: a Pod may just be starting another one. */
const MAX_ROUNDS = 20;

/** Ends all that lives by SIGKILL and removes the directory. Synchronous, for exit handlers. */
export function destroy(place: Place, lead: Lead | undefined): void {
  if (lead !== undefined && processesOf(place).includes(lead.pid)) signalGroup(lead.pid, "SIGKILL");
  for (const entry of place.registry.peek()) {
    if (stateOf(ownerOf(entry)) === "alive") signalGroup(entry.pid, "SIGKILL");
  }
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const pids = processesOf(place);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid);
    Bun.sleepSync(5);
  }
  removeDirectory(place);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone meanwhile.
  }
}

/** Removes the directory; says what went wrong, or undefined when it is gone. */
export function removeDirectory({ directory }: Place): string | undefined {
  try {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    return undefined;
  } catch (error) {
    return `directory ${directory} (${messageOf(error)})`;
  }
}

/** True when the root Pod's exit was reported within the limit. */
export async function leadIsGone(lead: Lead | undefined, limitMs: number): Promise<boolean> {
  return lead === undefined || (await settlesWithin(lead.exited, limitMs));
}
