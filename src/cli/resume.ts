/**
 * `pod resume [NAME|UUID]`: a Pod comes back as a process in the background, with its conversation,
 * scope and name; with `--tree` everything below it comes back as well. A child whose parent lives
 * comes back below that parent, which alone can lend it its paths.
 */
import { EXIT, PodError } from "../base/errors.ts";
import { readMounts } from "../base/mounts.ts";
import type { Environment } from "../base/paths.ts";
import { describeApart, standingApart } from "../registry/apart.ts";
import { findByName } from "../registry/kinship.ts";
import { listSessions, summarize } from "../session/catalog.ts";
import type { KnownSession } from "../session/family-tree.ts";
import { forkSession, salvage } from "../session/fork.ts";
import { keptCuts } from "../session/log-names.ts";
import type { Streams } from "./output.ts";
import { assertCurrent, assertFree, choose, known, sessionIn } from "./resume-choice.ts";
import { bringBack, revive, runOf, withoutTheDying } from "./resume-kin.ts";
import type { Surroundings } from "./resume-start.ts";
import { sessionsDirectory } from "./sessions.ts";
import { branchOf, openRegistry } from "./tree.ts";

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
  const cutBefore = new Set(keptCuts(store));
  let { table } = await registry.reclaim();
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
  table = await withoutTheDying(chosen, place, table);
  const live = runOf(setup, place, table);
  const isMore = options.tree || options.goOn;
  if (live !== undefined && !isMore) throw alreadyHeld(session, setup.name, live.socket);
  const came = await bringBack(chosen, table, place, options.at !== undefined, err);
  const back = runOf(setup, place, registry.peek());
  if (came.by === "others" && !isMore && back !== undefined) {
    throw alreadyHeld(session, setup.name, back.socket);
  }
  let { problem } = came;
  if (back !== undefined && isMore) {
    const missing = await revive(back, { tree: options.tree, go_on: options.goOn }, place, err);
    problem ??= missing;
  }
  const now = registry.peek();
  const { scope_allow = [] } = findByName(now, setup.name) ?? {};
  for (const other of standingApart(now, setup.name, scope_allow, readMounts())) {
    err.write(`${describeApart(other, setup.name)}\n`);
  }
  for (const cut of keptCuts(store)) {
    if (!cutBefore.has(cut) && !options.salvage) {
      err.write(
        `the end of a session log was not written completely; it was cut off and is kept in ${cut}\n`,
      );
    }
  }
  if (runOf(setup, place, now) === undefined) {
    throw new PodError("spawn_failed", `pod \`${setup.name}\` came back and has ended since`);
  }
  const branch = branchOf(now, setup.name).map((entry) => entry.pod_name);
  const others = options.tree && branch.length > 1 ? `, with ${branch.slice(1).join(", ")}` : "";
  out.write(`resumed pod \`${setup.name}\` (session ${session})${others}\n`);
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
