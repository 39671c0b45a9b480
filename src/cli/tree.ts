/**
 * The live Pods as a person sees them: the registry's tree with what each Pod is doing. Used by the
 * commands that list, wait for and stop Pods; asks Pods only through their sockets.
 */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import { stateOf } from "../base/process.ts";
import { type Environment, requireRuntimeBase, resolveBases } from "../base/paths.ts";
import { printable } from "../base/text.ts";
import { type Allocation, isReservation, ownerOf } from "../registry/allocation.ts";
import { type Allocations, childrenOf, findByName } from "../registry/operations.ts";
import { Registry } from "../registry/registry.ts";
import { signalPod } from "../spawn/group.ts";
import { type PodStatus, statusOf } from "../spawn/status.ts";
import { type StopResult, stopPod } from "../spawn/stop.ts";
import { connectPod, type PodClient } from "../transport/client.ts";

/** How long one Pod may take to say what it does. */
const STATUS_TIMEOUT_MS = 2000;

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

/** Asks a Pod what it does; undefined when it does not answer in time. */
export async function statusOfEntry(entry: Allocation): Promise<PodStatus | undefined> {
  return await statusOf(entry, STATUS_TIMEOUT_MS);
}

/** One word for what a Pod is doing. */
export function stateWord(entry: Allocation, status: PodStatus | undefined): string {
  if (isReservation(entry)) return "starting";
  return status?.state ?? "unresponsive";
}

/** Ends a Pod and gives its allocation back once it is proven dead. */
export async function stopEntry(registry: Registry, entry: Allocation): Promise<StopResult> {
  if (isReservation(entry)) {
    throw new PodError(
      "unreachable",
      `pod \`${entry.pod_name}\` is just being started by pod \`${entry.delegated_from ?? "?"}\`; retry`,
    );
  }
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

/**
 * Resolves when nothing below and including Pod `name` is working or about to: two looks in a row
 * found every Pod idle, nothing on its way, and nothing had happened in between. Ends early, without
 * an error, when `signal` aborts.
 */
export async function untilQuiet(
  registry: Registry,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  let before: string | undefined;
  while (!signal.aborted) {
    // Not a mere peek: a registry that was lost meanwhile is put together again by this.
    const { table } = await registry.reclaim();
    const look = await lookAt(branchOf(table, name), signal);
    if (look.busy !== undefined) {
      before = undefined;
      await look.busy;
      continue;
    }
    if (look.fingerprint === before) return;
    before = look.fingerprint;
  }
}

interface Look {
  /** Settles when one of the busy Pods may no longer be; undefined when none is. */
  readonly busy: Promise<unknown> | undefined;
  readonly fingerprint: string;
}

async function lookAt(entries: readonly Allocation[], signal: AbortSignal): Promise<Look> {
  const views = await Promise.all(entries.map(async (entry) => await watchPod(entry, signal)));
  const busy = views.flatMap(({ working }) => (working === undefined ? [] : [working]));
  const close = (): void => views.forEach(({ client }) => client?.terminate());
  if (busy.length === 0) close();
  return {
    busy: busy.length === 0 ? undefined : Promise.race(busy).finally(close),
    fingerprint: views.map(({ mark }) => mark).join(" "),
  };
}

interface View {
  readonly client: PodClient | undefined;
  readonly working: Promise<unknown> | undefined;
  readonly mark: string;
}

/** Pause before looking again at a Pod that cannot be asked. */
const RETRY_MS = 500;

async function watchPod(entry: Allocation, signal: AbortSignal): Promise<View> {
  const later = (): View => ({ client: undefined, working: Bun.sleep(RETRY_MS), mark: "?" });
  if (isReservation(entry)) return later();
  let client: PodClient | undefined;
  try {
    client = await connectPod(entry.socket, { timeoutMs: STATUS_TIMEOUT_MS });
    const { state, pending, runs, instance } = await askStatus(client);
    const idle = state === "idle" && pending === 0;
    const working = idle ? undefined : runEnd(client, state, signal);
    return { client, working, mark: `${instance}:${runs}` };
  } catch (error) {
    client?.terminate();
    if (isPodError(error)) return later();
    throw error;
  }
}

async function askStatus(client: PodClient): Promise<PodStatus> {
  await client.send({ method: "status" });
  for (;;) {
    const event = await client.next(STATUS_TIMEOUT_MS);
    if (event === undefined) throw new PodError("unreachable", "connection closed before response");
    if (event.event === "status") return event.data;
  }
}

/** Settles at the end of the Pod's run, of its connection, or of the wait. */
async function runEnd(client: PodClient, state: string, signal: AbortSignal): Promise<void> {
  // Idle with a report on its way: it is soon delivered or given up.
  if (state === "idle") return await Bun.sleep(RETRY_MS / 10);
  const aborted = Promise.withResolvers<undefined>();
  const onAbort = (): void => aborted.resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const event = await Promise.race([client.next(MAX_RUN_MS), aborted.promise]);
      if (event === undefined || event.event === "run_end") return;
    }
  } catch (error) {
    if (!isPodError(error)) throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** A run may take long; after this the Pod is asked again. */
const MAX_RUN_MS = 60_000;
