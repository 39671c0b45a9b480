/**
 * How a demonstration ends, whatever happened: every Pod of its registry is stopped through the
 * protocol and proven gone, what is left is ended by force, the directory is removed. An interruption
 * (signal, reader gone) leads to the same end, only sooner.
 */
import { constants } from "node:os";
import { settlesWithin, signalGroup } from "../../base/process.ts";
import { isReservation } from "../../registry/allocation.ts";
import { branchOf, stopEntry } from "../tree.ts";
import { destroy, leadIsGone, leftovers, type Lead, type Place, removeDirectory } from "./place.ts";
import { PODS } from "./scenario.ts";

/** How long the end of all Pods may take before force is used. */
const END_LIMIT_MS = 30_000;
/** How long the kernel may take to report the end of the root Pod. */
const EXIT_LIMIT_MS = 5000;
const RETRY_MS = 20;

/** A Pod that was stopped. */
interface Stopped {
  readonly pod: string;
  readonly forced: boolean;
  readonly ms: number;
}

/** Stops the whole tree, children before their parents, and tells of each when it is proven gone. */
export async function stopTree(
  { registry }: Place,
  lead: Lead,
  stopped: (pod: Stopped) => void,
  signal: AbortSignal,
): Promise<void> {
  const { table } = await registry.reclaim();
  for (const entry of branchOf(table, PODS.lead).toReversed()) {
    if (signal.aborted) return;
    const startedAt = performance.now();
    const result = await stopEntry(registry, entry);
    if (result === "alive") continue; // counted as left over
    if (entry.pid === lead.pid) await leadIsGone(lead, EXIT_LIMIT_MS);
    const ms = performance.now() - startedAt;
    stopped({ pod: entry.pod_name, forced: result === "forced", ms });
  }
}

/**
 * Ends what still lives and removes the directory; returns what could not be ended or removed. The
 * root goes first, because it may just be starting a child. After `hurry` aborts nothing is asked.
 */
export async function clearAway(
  place: Place,
  lead: Lead | undefined,
  hurry: AbortSignal,
): Promise<string[]> {
  const ended = endAll(place, lead, hurry).catch(() => undefined); // then by force
  const hurried = new Promise((resolve) =>
    hurry.addEventListener("abort", resolve, { once: true }),
  );
  if (!hurry.aborted) await settlesWithin(Promise.race([ended, hurried]), END_LIMIT_MS);
  destroy(place, lead);
  await leadIsGone(lead, EXIT_LIMIT_MS);
  const left = leftovers(place);
  const problem = removeDirectory(place);
  return problem === undefined ? left : [...left, problem];
}

/** Asks every Pod of the place to end until there is none; bounded by the caller. */
async function endAll(
  { registry }: Place,
  lead: Lead | undefined,
  hurry: AbortSignal,
): Promise<void> {
  while (!hurry.aborted) {
    const { table } = await registry.reclaim();
    const entries = table.filter((entry) => !isReservation(entry));
    const root = entries.find((entry) => entry.pid === lead?.pid);
    if (root !== undefined) {
      await stopEntry(registry, root);
      continue;
    }
    // Not registered yet, or not any more: a signal ends it either way.
    if (lead !== undefined && !(await leadIsGone(lead, 0))) {
      signalGroup(lead.pid, "SIGTERM");
      await leadIsGone(lead, EXIT_LIMIT_MS);
      continue;
    }
    if (table.length === 0) return;
    if (entries.length === 0) await Bun.sleep(RETRY_MS);
    await Promise.all(entries.map(async (entry) => await stopEntry(registry, entry)));
  }
}

/** Why a demonstration was cut short. */
export class Interruption implements Disposable {
  readonly #cut = new AbortController();
  readonly #hurry = new AbortController();
  readonly #listeners: [NodeJS.Signals, () => void][] = [];
  /** Exit code that the interruption asks for: 128+n for a signal, 0 when nobody reads any more. */
  exitCode: number | undefined;

  constructor() {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      const listener = (): void => {
        if (this.exitCode !== undefined) this.#hurry.abort();
        this.cut(128 + constants.signals[name]);
      };
      process.on(name, listener);
      this.#listeners.push([name, listener]);
    }
  }

  /** Aborts when the show is to end. */
  get signal(): AbortSignal {
    return this.#cut.signal;
  }

  /** Aborts at the second signal: ending is to be done by force. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  /** Ends the show with this exit code; the first one counts. */
  cut(exitCode: number): void {
    this.exitCode ??= exitCode;
    this.#cut.abort();
  }

  [Symbol.dispose](): void {
    for (const [name, listener] of this.#listeners) process.off(name, listener);
  }
}

/** Ends everything by force if this process ends before `disarm` was called. */
export function armLastResort(place: Place, lead: () => Lead | undefined): { disarm(): void } {
  const onExit = (): void => destroy(place, lead());
  process.on("exit", onExit);
  return { disarm: () => process.off("exit", onExit) };
}
