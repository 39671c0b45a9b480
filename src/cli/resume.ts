/**
 * `pod resume [NAME|UUID]`: a Pod comes back as a process in the background, with its conversation,
 * scope and name; with `--tree` everything below it comes back as well. A child whose parent lives
 * comes back below that parent, which alone can lend it its paths.
 */
import { closeSync } from "node:fs";
import { EXIT, PodError } from "../base/errors.ts";
import { openPrivateLog, readTailOf, removeFile } from "../base/files.ts";
import { readMounts } from "../base/mounts.ts";
import { type Environment, podPaths } from "../base/paths.ts";
import { childEnvironment, selfCommand, settlesWithin } from "../base/process.ts";
import type { Method } from "../protocol/method.ts";
import type { Allocation } from "../registry/allocation.ts";
import { describeApart, standingApart } from "../registry/apart.ts";
import { takeLife } from "../registry/life.ts";
import { type Allocations, findByName } from "../registry/kinship.ts";
import type { Registry } from "../registry/registry.ts";
import {
  currentSessions,
  listSessions,
  type SessionSummary,
  summarize,
} from "../session/catalog.ts";
import type { KnownSession } from "../session/family-tree.ts";
import { isKnown } from "../session/family-tree.ts";
import { forkSession, salvage } from "../session/fork.ts";
import { isSessionId } from "../session/log.ts";
import { describeExit, endGroup, launch } from "../spawn/launch.ts";
import { directoryProblem } from "../spawn/working-directory.ts";
import { request } from "../transport/client.ts";
import type { Streams } from "./output.ts";
import { sessionsDirectory } from "./sessions.ts";
import { branchOf, openRegistry } from "./tree.ts";

/** How long a Pod may take to start, and a whole tree to come back. */
const READY_TIMEOUT_MS = 20_000;
const TREE_TIMEOUT_MS = 300_000;
const STDERR_TAIL_BYTES = 4096;

/** Options of the command. */
interface ResumeOptions {
  readonly tree: boolean;
  readonly goOn: boolean;
  readonly salvage: boolean;
  /** Hash of an entry: go on from there in a session of its own. */
  readonly at?: string;
  readonly store?: string;
}

/** What the steps of one resume share. */
interface Surroundings {
  readonly registry: Registry;
  readonly store: string;
  readonly env: Environment;
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
  if (live !== undefined && !options.tree && !options.goOn) {
    throw new PodError(
      "session_conflict",
      `session ${session} is already held by pod \`${live.pod_name}\` at ${live.socket}; ` +
        `pod attach ${live.pod_name}`,
    );
  }
  const parent = live === undefined ? livingParent(chosen, store, table) : undefined;
  const below = { tree: options.tree, go_on: options.goOn };
  let problem: string | undefined;
  if (parent !== undefined) {
    problem = await revive(parent.socket, { ...below, tree: false, name: setup.name });
    const child = findByName(registry.peek(), setup.name);
    if (child === undefined) throw new PodError("spawn_failed", problem ?? "it did not come back");
    if (options.tree) problem ??= await revive(child.socket, below);
  } else {
    const socket = live?.socket ?? (await startAgain(chosen, place, options.at !== undefined));
    if (options.tree || options.goOn) problem = await revive(socket, below);
  }
  const now = registry.peek();
  const { scope_allow = [] } = findByName(now, setup.name) ?? {};
  for (const other of standingApart(now, setup.name, scope_allow, readMounts())) {
    err.write(`${describeApart(other, setup.name)}\n`);
  }
  const branch = branchOf(now, setup.name).map((entry) => entry.pod_name);
  const came = options.tree && branch.length > 1 ? `, with ${branch.slice(1).join(", ")}` : "";
  out.write(`resumed pod \`${setup.name}\` (session ${session})${came}\n`);
  if (problem === undefined) return EXIT.done;
  err.write(`not all came back: ${problem}\n`);
  return EXIT.failed;
}

/** The session that is meant; without a word, the newest of a Pod that a person had started. */
function choose(
  wanted: string | undefined,
  all: readonly SessionSummary[],
  store: string,
): KnownSession {
  if (wanted !== undefined && isSessionId(wanted)) {
    const summary = summarize(store, wanted);
    assertCurrent(summary, all);
    return known(summary, wanted);
  }
  const byChange = currentSessions(all)
    .filter(isKnown)
    .toSorted((a, b) => b.changed - a.changed);
  const copies = new Set(all.flatMap(({ session, isCopy }) => (isCopy ? [session] : [])));
  const named = byChange.filter(({ setup }) => setup.name === wanted);
  const found =
    wanted === undefined
      ? byChange.find(({ setup }) => setup.parent === null)
      : // A copy of an earlier state bears the name as well; it is asked for by its id.
        (named.find(({ setup }) => !copies.has(setup.lineage)) ?? named[0]);
  if (found !== undefined) return found;
  const what = wanted === undefined ? "no session" : `no session of a pod \`${wanted}\``;
  throw new PodError("unknown_session", `${what} to resume in ${store} (see: pod sessions)`);
}

/** A conversation that goes on in another session is not continued from where it was left there. */
function assertCurrent(summary: SessionSummary | undefined, all: readonly SessionSummary[]): void {
  if (summary?.setup === undefined) return;
  const { session, setup } = summary;
  const newest = all.find((other) => other.setup?.lineage === setup.lineage)?.session;
  if (newest === undefined || newest === session) return;
  throw new PodError(
    "session_conflict",
    `session ${session} goes on as session ${newest}; bring that back with: pod resume ${newest} ` +
      `(a copy of an earlier state: pod resume ${session} --at HASH)`,
  );
}

/** A copy is a Pod of its own, with the name of the other one: they cannot live at the same time. */
function assertFree({ setup }: KnownSession, table: Allocations): void {
  const holder = findByName(table, setup.name);
  if (holder === undefined) return;
  throw new PodError(
    "duplicate_name",
    `pod name \`${setup.name}\` is already registered, and a copy of its session would have the ` +
      `same name; stop it first: pod stop ${setup.name}`,
  );
}

function sessionIn(wanted: string | undefined, option: string): string {
  if (wanted !== undefined && isSessionId(wanted)) return wanted;
  throw new PodError("usage", `${option} needs the whole id of a session (see: pod sessions)`);
}

function known(summary: SessionSummary | undefined, session: string): KnownSession {
  if (summary === undefined || summary.bytes === 0) {
    throw new PodError(
      "unknown_session",
      summary?.problem === undefined && summary !== undefined
        ? `session ${session} has no entries to restore`
        : `session not found: ${session}`,
    );
  }
  if (isKnown(summary)) return summary;
  throw new PodError(
    "invalid_argument",
    `session ${session} does not say how its pod is started${
      summary.problem === undefined ? "" : ` (${summary.path}: ${summary.problem})`
    }; start it with a manifest: pod --session ${session}`,
  );
}

function holderOf({ session }: SessionSummary, table: Allocations): Allocation | undefined {
  return table.find((entry) => entry.session_id === session);
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

/**
 * Starts the process of a session and waits until it listens; returns its socket. A copy that cannot
 * be started (its paths are taken, its directory is gone) is removed again.
 */
async function startAgain(
  chosen: KnownSession,
  place: Surroundings,
  isNewCopy: boolean,
): Promise<string> {
  try {
    return await startProcess(chosen, place);
  } catch (error) {
    if (isNewCopy) removeFile(chosen.path);
    throw error;
  }
}

async function startProcess(
  { session, setup }: KnownSession,
  { registry, store, env }: Surroundings,
): Promise<string> {
  const { name, cwd } = setup;
  const paths = podPaths(registry.base, name);
  const gone = directoryProblem(cwd);
  if (gone !== undefined) throw new PodError("invalid_argument", `pod \`${name}\`: ${gone}`);
  const stderr = openStderr(registry, name);
  try {
    const instance = crypto.randomUUID();
    const started = launch({
      command: [...selfCommand(), "--session", session, "--recorded", instance, "--store", store],
      cwd,
      env: { ...childEnvironment(env), INSOMNIA_RUNTIME_DIR: registry.base },
      instance,
      stderr,
    });
    const ready = await started.ready({
      timeoutMs: READY_TIMEOUT_MS,
      signal: new AbortController().signal,
    });
    if (ready.kind === "ready") return paths.socket;
    if (ready.kind !== "exited") {
      await endGroup(started);
      throw new PodError(
        "timed_out",
        `pod \`${name}\` was not ready within ${READY_TIMEOUT_MS / 1000} s`,
      );
    }
    // Its last words may come an instant after its end.
    await settlesWithin(started.exited, 100);
    const said = readTailOf(stderr, STDERR_TAIL_BYTES).replace(/^error: /, "");
    throw new PodError(
      "spawn_failed",
      said === ""
        ? `pod \`${name}\` ended before it was ready (${describeExit(ready.exit)})`
        : `pod \`${name}\`: ${said}`,
    );
  } finally {
    closeSync(stderr);
  }
}

/** The log of a Pod in the background, in its directory, as a spawner makes it. */
function openStderr(registry: Registry, name: string): number {
  const life = takeLife(registry.base, name);
  if (life === undefined) {
    throw new PodError(
      "duplicate_name",
      `pod name \`${name}\` is already registered; pod attach ${name}`,
    );
  }
  try {
    return openPrivateLog(podPaths(registry.base, name).stderr, true);
  } finally {
    life.release(); // the Pod takes it
  }
}
