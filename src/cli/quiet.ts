/**
 * Waiting until a Pod and everything below it have nothing left to do. Asks and listens through the
 * sockets only; a Pod that cannot be asked is never taken for a quiet one.
 */
import { isPodError, PodError } from "../base/errors.ts";
import { type Allocation, isReservation } from "../registry/allocation.ts";
import type { Registry } from "../registry/registry.ts";
import type { PodStatus } from "../spawn/status.ts";
import { connectPod, exchange, type PodClient } from "../transport/client.ts";
import { branchOf } from "./tree.ts";

/** How long one Pod may take to say what it does. */
const STATUS_TIMEOUT_MS = 2000;

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
  const answer = await exchange(
    client,
    { method: "status" },
    { timeoutMs: STATUS_TIMEOUT_MS, until: ({ event }) => event === "status" },
  );
  if (answer.event === "status") return answer.data;
  throw new PodError("unreachable", "it does not say what it does");
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
