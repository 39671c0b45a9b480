/**
 * `pod resume [NAME|UUID]`: a Pod comes back as a process in the background, with its conversation,
 * scope and name; with `--tree` everything below it comes back as well. A child whose parent lives
 * comes back below that parent, which alone can lend it its paths.
 */
import { EXIT, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import type { Method } from "../protocol/method.ts";
import type { Allocation } from "../registry/allocation.ts";
import { describeApart, standingApart } from "../registry/apart.ts";
import { type Allocations, findByName } from "../registry/kinship.ts";
import { listSessions, type SessionSummary, summarize } from "../session/catalog.ts";
import type { KnownSession } from "../session/family-tree.ts";
import { forkSession, salvage } from "../session/fork.ts";
import { request } from "../transport/client.ts";
import type { Streams } from "./output.ts";
import { assertCurrent, assertFree, choose, known, sessionIn } from "./resume-choice.ts";
import { startAgain, type Surroundings } from "./resume-start.ts";
import { sessionsDirectory } from "./sessions.ts";
import { branchOf, openRegistry } from "./tree.ts";

/** How long a whole tree may take to come back. */
const TREE_TIMEOUT_MS = 300_000;

/** Options of the command. */
interface ResumeOptions {
  readonly tree: boolean;
  readonly goOn: boolean;
  readonly salvage: boolean;
  /** Hash of an entry: go on from there in a session of its own. */
  readonly at?: string;
  readonly store?: string;
}

/** Brings a Pod back and says what came. */
export async function resumePod(
  wanted: string | undefined,
  options: ResumeOptions,
  env: Environment,
  cwd: string,
  { out, err }: Streams,
): Promise<number> {
  const registry = openRegistry(env);
  const store = sessionsDirectory(env, cwd, options.store);
  const place: Surroundings = { registry, store, env };
  const { table } = await registry.reclaim();
  let chosen: KnownSession;
  if (options.at !== undefined) {
    const copied = sessionIn(wanted, "--at");
    assertFree(known(summarize(store, copied), copied), table);
    const forked = forkSession(store, copied, options.at);
    chosen = known(summarize(store, forked), forked);
  } else if (options.salvage) {
    const damaged = sessionIn(wanted, "--salvage");
    assertCurrent(summarize(store, damaged), listSessions(store));
    const saved = salvage(store, damaged);
    err.write(`${saved.said}\n`);
    chosen = known(summarize(store, saved.session), saved.session);
  } else {
    chosen = choose(wanted, listSessions(store), store);
  }
  const { setup, session } = chosen;
  const live = holderOf(chosen, table);
  const isMore = options.tree || options.goOn;
  if (live !== undefined && !isMore) throw alreadyHeld(session, setup.name, live.socket);
  const parent = live === undefined ? livingParent(chosen, store, table) : undefined;
  const below = { tree: options.tree, go_on: options.goOn };
  let problem: string | undefined;
  if (parent !== undefined) {
    const one = { ...below, tree: false, name: setup.name, session };
    problem = await revive(parent.socket, one);
    const child = livesAs(chosen, store, registry.peek());
    if (child === undefined) {
      throw new PodError(
        "spawn_failed",
        problem ?? `session ${session} of pod \`${setup.name}\` did not come back`,
      );
    }
    if (options.tree) problem ??= await revive(child.socket, below);
  } else {
    const { socket, by } = await startAgain(chosen, place, options.at !== undefined);
    if (by === "others" && !isMore) throw alreadyHeld(session, setup.name, socket);
    if (isMore) problem = await revive(socket, below);
  }
  const now = registry.peek();
  const { scope_allow = [] } = findByName(now, setup.name) ?? {};
  for (const other of standingApart(now, setup.name, scope_allow)) {
    err.write(`${describeApart(other)}\n`);
  }
  if (livesAs(chosen, store, now) === undefined) {
    throw new PodError("spawn_failed", `pod \`${setup.name}\` came back and has ended since`);
  }
  const branch = branchOf(now, setup.name).map((entry) => entry.pod_name);
  const came = options.tree && branch.length > 1 ? `, with ${branch.slice(1).join(", ")}` : "";
  out.write(`resumed pod \`${setup.name}\` (session ${session})${came}\n`);
  if (problem === undefined) return EXIT.done;
  err.write(`not all came back: ${problem}\n`);
  return EXIT.failed;
}

function alreadyHeld(session: string, name: string, socket: string): PodError {
  return new PodError(
    "session_conflict",
    `session ${session} is already held by pod \`${name}\` at ${socket}; pod attach ${name}`,
  );
}

function holderOf({ session }: SessionSummary, table: Allocations): Allocation | undefined {
  return table.find((entry) => entry.session_id === session);
}

/** The live Pod that goes on with this conversation, maybe in a newer session by now. */
function livesAs(
  { session, setup }: KnownSession,
  store: string,
  table: Allocations,
): Allocation | undefined {
  const entry = findByName(table, setup.name);
  if (entry?.session_id == null) return undefined;
  if (entry.session_id === session) return entry;
  return summarize(store, entry.session_id)?.setup?.lineage === setup.lineage ? entry : undefined;
}

/** The live Pod that had spawned the one that is wanted. */
function livingParent(
  { setup }: KnownSession,
  store: string,
  table: Allocations,
): Allocation | undefined {
  const { parent } = setup;
  const entry = parent === null ? undefined : findByName(table, parent.name);
  if (parent === null || entry?.session_id == null) return undefined;
  return summarize(store, entry.session_id)?.setup?.lineage === parent.lineage ? entry : undefined;
}

type ReviveParams = Extract<Method, { method: "revive" }>["params"];

/** Asks a live Pod to bring children back; what did not come back, or undefined. */
async function revive(socket: string, params: ReviveParams): Promise<string | undefined> {
  try {
    await request(socket, { method: "revive", params }, { timeoutMs: TREE_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    if (error instanceof PodError && error.data.wire !== undefined) return error.message;
    throw error;
  }
}
