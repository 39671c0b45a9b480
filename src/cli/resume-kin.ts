/**
 * Where a Pod that `pod resume` brings back belongs among those that live: below its parent, which
 * alone can lend it its paths, or on its own. Asks the Pods above and below it over their sockets.
 */
import { isPodError, PodError } from "../base/errors.ts";
import { looksUntil, stateOf } from "../base/process.ts";
import type { Method } from "../protocol/method.ts";
import { type Allocation, isReservation, ownerOf } from "../registry/allocation.ts";
import { type Allocations, findByName } from "../registry/kinship.ts";
import { overlaps, writeRules } from "../scope/set.ts";
import { currentSessions, listSessions, summarize } from "../session/catalog.ts";
import { ancestorsIn, type KnownSession } from "../session/family-tree.ts";
import { connectPod, request } from "../transport/client.ts";
import type { Streams } from "./output.ts";
import { startAgain, type Surroundings, untilListening } from "./resume-start.ts";
import { branchOf, statusOfEntry, unheard } from "./tree.ts";

/** How long a whole tree may take to come back, and when a person is told what is waited for. */
const TREE_TIMEOUT_MS = 300_000;
const SLOW_MS = 5000;
/** How often the place of a Pod is looked for, and how long a Pod above it may take to end. */
const MAX_TRIES = 3;
const ENDING_MS = 2000;

type ReviveParams = Extract<Method, { method: "revive" }>["params"];

/** The live Pod that goes on with this conversation, in whatever session by now. */
export function runOf(
  { name, lineage }: { readonly name: string; readonly lineage: string },
  { store }: Pick<Surroundings, "store">,
  table: Allocations,
): Allocation | undefined {
  const entry = findByName(table, name);
  if (entry?.session_id == null) return undefined;
  // A conversation without an entry has no log yet.
  const known = entry.session_id === lineage ? lineage : lineageOf(entry.session_id, store);
  return known === lineage ? entry : undefined;
}

function lineageOf(session: string, store: string): string | undefined {
  return summarize(store, session)?.setup?.lineage;
}

/** How a Pod came back, and what went wrong although it did. */
interface Return {
  readonly by: "us" | "others";
  readonly problem?: string | undefined;
}

/**
 * Brings a Pod back that may live already: through its parent when that lives, else as a process of
 * its own. Where its parent comes or goes at the same moment, it is tried again with that one, or
 * without it.
 */
export async function bringBack(
  chosen: KnownSession,
  before: Allocations,
  place: Surroundings,
  isNewCopy: boolean,
  err: Streams["err"],
): Promise<Return> {
  let table = before;
  for (let tries = 1; ; tries += 1) {
    const parent = livingParent(chosen, place, table);
    try {
      if (runOf(chosen.setup, place, table) === undefined) {
        if (parent !== undefined) return await throughParent(chosen, parent, place, err);
        if (!isNewCopy) assertRoom(chosen, place, table);
      }
      return { by: await startAgain(chosen, place, isNewCopy) };
    } catch (error) {
      if (isNewCopy || tries === MAX_TRIES) throw error;
      if (!isPodError(error, "spawn_failed", "write_conflict", "unreachable")) throw error;
      if (parent !== undefined && error.code === "unreachable") await diesSoon(parent);
      table = (await place.registry.reclaim()).table;
      if (livingParent(chosen, place, table)?.instance !== parent?.instance) continue;
      if (parent === undefined) assertRoom(chosen, place, table);
      throw error;
    }
  }
}

/**
 * The table once the wanted Pod is really there or gone: one that was killed a moment ago has let go of its
 * socket, while its process is still being taken down.
 */
export async function withoutTheDying(
  { setup }: KnownSession,
  place: Surroundings,
  table: Allocations,
): Promise<Allocations> {
  const live = runOf(setup, place, table);
  if (live === undefined || !(await refuses(live))) return table;
  await diesSoon(live);
  return (await place.registry.reclaim()).table;
}

/** True when there is a socket and nobody behind it; one that is just starting has none. */
async function refuses({ socket }: Allocation): Promise<boolean> {
  try {
    (await connectPod(socket, { timeoutMs: ENDING_MS })).terminate();
    return false;
  } catch (error) {
    return isPodError(error, "unreachable") && error.data.errno === "ECONNREFUSED";
  }
}

/** The live Pod that had spawned the one that is wanted. */
function livingParent(
  { setup: { parent } }: KnownSession,
  place: Surroundings,
  table: Allocations,
): Allocation | undefined {
  return parent === null ? undefined : runOf(parent, place, table);
}

/** Waits a moment for the end of a Pod that does not listen any more. */
async function diesSoon(entry: Allocation): Promise<void> {
  await looksUntil(() => stateOf(ownerOf(entry)) === "dead", ENDING_MS);
}

async function throughParent(
  { session, setup }: KnownSession,
  parent: Allocation,
  place: Surroundings,
  err: Streams["err"],
): Promise<{ readonly by: "us"; readonly problem: string | undefined }> {
  await untilListening(parent, place);
  const one = { name: setup.name, session, tree: false, go_on: false };
  const problem = await revive(parent, one, place, err);
  if (runOf(setup, place, place.registry.peek()) !== undefined) return { by: "us", problem };
  throw new PodError(
    "spawn_failed",
    problem ?? `session ${session} of pod \`${setup.name}\` did not come back`,
  );
}

/**
 * Refuses a Pod whose paths are with one that lives above its dead parent: that one is not in the way,
 * the one between them is missing.
 */
function assertRoom({ setup }: KnownSession, place: Surroundings, table: Allocations): void {
  const above = ancestorsIn(currentSessions(listSessions(place.store)), setup.parent);
  const at = above.findIndex((ancestor) => runOf(ancestor, place, table) !== undefined);
  const [missing, next] = [above[at - 1], above[at]];
  const holder = next === undefined ? undefined : runOf(next, place, table);
  if (missing === undefined || holder === undefined) return;
  const wanted = writeRules(setup.scope.allow);
  const held = writeRules(holder.scope_allow);
  if (!wanted.some((rule) => held.some((other) => overlaps(rule, other)))) return;
  throw new PodError(
    "write_conflict",
    `pod \`${setup.name}\` belongs below pod \`${missing.name}\`, which is gone, and its paths are ` +
      `with pod \`${holder.pod_name}\` above that; bring \`${missing.name}\` back first, with all ` +
      `below it: pod resume ${missing.name} --tree (or, if that was stopped for good, what is left below ` +
      `it: pod resume ${holder.pod_name} --tree)`,
  );
}

/** Asks a live Pod to bring children back; what did not come back, or undefined. */
export async function revive(
  entry: Allocation,
  params: ReviveParams,
  place: Surroundings,
  err: Streams["err"],
): Promise<string | undefined> {
  const done = new AbortController();
  const slow = setTimeout(() => {
    // Only a courtesy: what cannot be told now is told by the answer.
    void sayWhoIsSilent(entry, place, err, done.signal).catch(() => undefined);
  }, SLOW_MS);
  try {
    await request(entry.socket, { method: "revive", params }, { timeoutMs: TREE_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    if (isPodError(error) && error.data.wire !== undefined) return error.message;
    throw unheard(entry, error);
  } finally {
    clearTimeout(slow);
    done.abort();
  }
}

async function sayWhoIsSilent(
  top: Allocation,
  { registry }: Surroundings,
  err: Streams["err"],
  done: AbortSignal,
): Promise<void> {
  const branch = branchOf(registry.peek(), top.pod_name).filter((entry) => !isReservation(entry));
  const states = await Promise.all(branch.map(async (entry) => await statusOfEntry(entry)));
  if (done.aborted) return;
  const silent = branch
    .filter((_, at) => states[at] === undefined)
    .map(({ pod_name, pid }) => `\`${pod_name}\` (pid ${pid})`);
  err.write(
    silent.length === 0
      ? `still bringing back what is below pod \`${top.pod_name}\`\n`
      : `still waiting: no answer from ${silent.join(", ")}; what does not answer can be ended with: pod stop NAME\n`,
  );
}
