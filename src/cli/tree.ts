/**
 * The live Pods as a person sees them: the registry's tree with what each Pod is doing, and its end.
 * Used by the commands that list and stop Pods; asks Pods only through their sockets.
 */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import { type Environment, requireRuntimeBase, resolveBases } from "../base/paths.ts";
import { stateOf } from "../base/process.ts";
import { printable } from "../base/text.ts";
import { type Allocation, isReservation, ownerOf } from "../registry/allocation.ts";
import { type Allocations, childrenOf, findByName } from "../registry/kinship.ts";
import { Registry } from "../registry/registry.ts";
import { signalPod } from "../spawn/group.ts";
import { type PodStatus, statusOf } from "../spawn/status.ts";
import { type StopResult, stopPod } from "../spawn/stop.ts";

/** How long one Pod may take to say what it does. */
const STATUS_TIMEOUT_MS = 2000;

/** From the adoption of an allocation to the socket a Pod needs a few milliseconds, or more under load. */
export const SETTLE_MS = 300;

/** The registry of the environment's runtime directory. */
export function openRegistry(env: Environment): Registry {
  return new Registry(requireRuntimeBase(resolveBases(env)));
}

/** The live Pod of this name; throws `unknown_pod` with the names that there are. */
export function liveEntry(table: Allocations, name: string): Allocation {
  const entry = findByName(table, name);
  if (entry !== undefined) return entry;
  const known = table.map((other) => other.pod_name).join(", ");
  throw new PodError(
    "unknown_pod",
    `no live pod named \`${printable(name)}\`${known === "" ? "" : ` (live: ${known})`}`,
  );
}

/** The live Pod of this name, once it listens; throws `unknown_pod`, or `unreachable` before. */
export function listeningEntry(table: Allocations, name: string): Allocation {
  const entry = liveEntry(table, name);
  assertStarted(entry);
  return entry;
}

function assertStarted(entry: Allocation): void {
  if (!isReservation(entry)) return;
  const by = entry.delegated_from === null ? "" : ` by pod \`${entry.delegated_from}\``;
  throw new PodError(
    "unreachable",
    `pod \`${entry.pod_name}\` is just being started${by}; retry in a moment`,
  );
}

/**
 * The error to throw for a Pod of the table that could not be talked to: one whose socket is gone has
 * just ended, or is about to. Other errors are returned as they are.
 */
export function unheard(entry: Allocation, error: unknown): unknown {
  const { pod_name: name } = entry;
  if (isPodError(error, "timed_out")) {
    const text = `pod \`${name}\` did not answer in time (it may be stopped, or at work); see: pod ls`;
    return new PodError("timed_out", text, { cause: error });
  }
  if (!isPodError(error, "unreachable")) return error;
  const { errno } = error.data;
  if (errno === undefined) return error;
  if (errno !== "ECONNREFUSED" && errno !== "ENOENT") {
    return new PodError("unreachable", `pod \`${name}\` at ${entry.socket}: ${error.message}`, {
      cause: error,
      data: error.data,
    });
  }
  const text =
    stateOf(ownerOf(entry)) === "dead"
      ? `pod \`${name}\` has just ended; to bring it back: pod resume ${name}`
      : `pod \`${name}\` does not listen: it is just ending or starting; try again in a moment`;
  return new PodError("unreachable", text, { cause: error });
}

/** A Pod below its root, with the number of Pods above it. */
export interface TreeNode {
  readonly entry: Allocation;
  readonly depth: number;
  /** True for the last child of its parent: what a drawing needs. */
  readonly last: boolean;
}

/** All Pods in drawing order: each root followed by everything below it. */
export function treeOf(table: Allocations): TreeNode[] {
  const roots = table.filter(
    ({ delegated_from }) =>
      delegated_from === null || findByName(table, delegated_from) === undefined,
  );
  const nodes = roots.flatMap((root, at) => subtree(table, root, 0, at === roots.length - 1));
  // Parents that are each other's, in a table that was edited: shown all the same.
  const shown = new Set(nodes.map(({ entry }) => entry));
  const lost = table.filter((entry) => !shown.has(entry));
  return [...nodes, ...lost.map((entry) => ({ entry, depth: 0, last: true }))];
}

function subtree(table: Allocations, entry: Allocation, depth: number, last: boolean): TreeNode[] {
  // A tree deeper than the table is long would be a cycle.
  if (depth > table.length) return [];
  const children = childrenOf(table, entry.pod_name);
  return [
    { entry, depth, last },
    ...children.flatMap((child, index) =>
      subtree(table, child, depth + 1, index === children.length - 1),
    ),
  ];
}

/** The Pod of this name and everything below it; empty when there is none. */
export function branchOf(table: Allocations, name: string): Allocation[] {
  const top = findByName(table, name);
  return top === undefined ? [] : subtree(table, top, 0, true).map(({ entry }) => entry);
}

/** How a Pod is asked; undefined when there is no answer in time. */
type AskStatus = (entry: Allocation) => Promise<PodStatus | undefined>;

/** Asks a Pod what it does; undefined when it does not answer in time. */
export const statusOfEntry: AskStatus = async (entry) => await statusOf(entry, STATUS_TIMEOUT_MS);

/** Milliseconds, measured and waited for. */
interface Clock {
  now(): number;
  sleep(ms: number): Promise<void>;
}

const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  sleep: async (ms) => await Bun.sleep(ms),
};

/**
 * The same with patience for a Pod that is in the registry and does not listen yet: one that refused
 * at once is asked once more, `SETTLE_MS` later.
 */
export async function settledStatus(
  entry: Allocation,
  ask: AskStatus = statusOfEntry,
  clock: Clock = SYSTEM_CLOCK,
): Promise<PodStatus | undefined> {
  if (isReservation(entry)) return undefined;
  const begun = clock.now();
  const status = await ask(entry);
  // Who was silent for longer had its time, and is not asked twice for it.
  if (status !== undefined || clock.now() - begun > SETTLE_MS) return status;
  await clock.sleep(SETTLE_MS);
  return await ask(entry);
}

/** One word for what a Pod is doing. */
export function stateWord(entry: Allocation, status: PodStatus | undefined): string {
  if (isReservation(entry)) return "starting";
  return status?.state ?? "unresponsive";
}

/** Ends a Pod and gives its allocation back once it is proven dead. */
export async function stopEntry(registry: Registry, entry: Allocation): Promise<StopResult> {
  assertStarted(entry);
  const result = await stopPod({ socket: entry.socket, owner: ownerOf(entry) });
  if (result === "alive") return result;
  try {
    await registry.release({ name: entry.pod_name, instance: entry.instance });
  } catch (error) {
    throw new PodError(
      "io",
      `pod \`${entry.pod_name}\` has ended, but the registry could not be told: ${messageOf(error)}; ` +
        "its paths come back with the next command that can",
    );
  }
  return result;
}

/**
 * Ends Pods level by level and returns those that could not be ended. Parents first: the end of a
 * child would wake its parent's model, and a person who stops all wants no more answers.
 */
export async function stopInOrder(
  registry: Registry,
  entries: readonly Allocation[],
): Promise<Allocation[]> {
  const left: Allocation[] = [];
  let rest = entries.filter((entry) => !isReservation(entry));
  while (rest.length > 0) {
    const names = new Set(rest.map((entry) => entry.pod_name));
    const tops = rest.filter(({ delegated_from }) => !names.has(delegated_from ?? ""));
    const level = tops.length > 0 ? tops : rest;
    const results = await Promise.all(level.map(async (entry) => await stopEntry(registry, entry)));
    left.push(...level.filter((_, index) => results[index] === "alive"));
    rest = rest.filter((entry) => !level.includes(entry));
  }
  return left;
}

/** Kills Pods with their groups at once and without waiting, each after a look at its identity. */
export function killAll(entries: readonly Allocation[]): void {
  for (const entry of entries) {
    if (stateOf(ownerOf(entry)) === "alive") signalPod(entry.pid, "SIGKILL");
  }
}
