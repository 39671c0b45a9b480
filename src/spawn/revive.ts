/**
 * Brings children of an earlier run back: each gets its old paths again by a fresh reservation and
 * goes on with its own session. What cannot come back is said and changes nothing; what lives already
 * is left alone (W52).
 */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import { assertPodName, assertSocketPath, podPaths } from "../base/paths.ts";
import type { Method } from "../protocol/method.ts";
import { type Allocation, isReservation } from "../registry/allocation.ts";
import { findByName } from "../registry/kinship.ts";
import { currentSessions, describeProblem, listSessions } from "../session/catalog.ts";
import {
  childrenToRevive,
  childToRevive,
  type KnownSession,
  withHeirs,
} from "../session/family-tree.ts";
import { logPath } from "../session/log-names.ts";
import { Replay } from "../session/replay.ts";
import { scanLog, withLog } from "../session/scan.ts";
import type { ChildEnd } from "../session/setup.ts";
import { request } from "../transport/client.ts";
import { hasEnded } from "./children.ts";
import { onceFree } from "./commands-end.ts";
import type { SpawnContext } from "./context.ts";
import { becomeReady, cancelled, reportDelegation, start } from "./start-child.ts";
import { SpawnUndo } from "./undo.ts";
import { directoryProblem, movedProblem } from "./working-directory.ts";

/** How long a child may take to bring back everything below it. */
const BELOW_TIMEOUT_MS = 120_000;

/** What is asked for; see the method `revive`. */
export type ReviveRequest = Extract<Method, { method: "revive" }>["params"];

/** What became of one child. */
interface Revived {
  readonly name: string;
  /** The session that was to come back; undefined for a child that lives and could not bring back its own. */
  readonly session: string | undefined;
  /** Why it could not be brought back whole; undefined when all went well. */
  readonly problem: string | undefined;
}

/** A child without a process. */
type MissingChild = KnownSession & {
  /** The living Pod that has its name now and is another one. */
  readonly takenBy: Allocation | undefined;
};

/**
 * Children of this Pod's earlier run that have no process now, newest first: all that are to come back
 * with it, or the one that is asked for.
 */
export function missingChildren(
  context: SpawnContext,
  wanted: Pick<ReviveRequest, "tree" | "name" | "session"> = { tree: true },
): MissingChild[] {
  const { lineage, registry, self, store, record } = context;
  const all = listSessions(store);
  const heirs = new Set(record.starts.map(({ instance }) => instance));
  const current = withHeirs(currentSessions(all), { name: self.name, lineage }, heirs);
  const byLineage = new Map(current.map((entry) => [entry.setup?.lineage, entry.session]));
  const endsOf = (known: string): readonly ChildEnd[] => {
    const session = byLineage.get(known);
    return session === undefined ? [] : recordedEnds(store, session);
  };
  const table = registry.peek();
  const lineageOf = (entry: Allocation): string | undefined =>
    all.find(({ session }) => session === entry.session_id)?.setup?.lineage;
  const asked = wanted.tree ? undefined : childToRevive(lineage, current, endsOf, wanted);
  const children = wanted.tree
    ? childrenToRevive(lineage, current, endsOf)
    : asked === undefined
      ? []
      : [asked];
  return children.flatMap((child): MissingChild[] => {
    const { session, setup } = child;
    if (table.some((entry) => entry.session_id === session)) return [];
    const holder = findByName(table, setup.name);
    if (holder === undefined) return [{ ...child, takenBy: undefined }];
    // The same Pod in a session that it goes on in, or a child of ours that has taken its place.
    const isSame = lineageOf(holder) === setup.lineage;
    const isHeir = holder.delegated_from === self.name && wanted.session === undefined;
    return isSame || isHeir ? [] : [{ ...child, takenBy: holder }];
  });
}

function recordedEnds(store: string, session: string): readonly ChildEnd[] {
  return withLog(logPath(store, session), session, (fd) => {
    const replay = new Replay();
    scanLog(fd, ({ entry }) => {
      if (entry?.kind === "extension") replay.add(entry);
    });
    return replay.state().childEnds;
  });
}

/**
 * Brings back the children that were asked for, one after another, and with `tree` also what is
 * missing below those that live; never rejects. After `signal` nothing more, and what was half done is
 * undone.
 */
export async function reviveChildren(
  context: SpawnContext,
  wanted: ReviveRequest,
  signal: AbortSignal,
): Promise<Revived[]> {
  const missing = missingChildren(context, wanted);
  // One that is just being started is new: there is nothing below it yet.
  const living = (wanted.tree ? context.children.list() : []).filter(
    (record) => record.direct && record.phase !== "starting" && !hasEnded(record),
  );
  const revived: Revived[] = [];
  for (const child of missing) {
    if (signal.aborted) break;
    const { session, setup } = child;
    let problem: string | undefined;
    try {
      await reviveChild(context, child, signal);
    } catch (error) {
      // Somebody else was faster: that it lives is what was wanted.
      if (holderOf(context, session) === undefined) problem = messageOf(error);
    }
    revived.push({ name: setup.name, session, problem });
    // Whether it came back is one thing, what is below it another: both are said.
    const socket = holderOf(context, session)?.socket;
    if (problem !== undefined || socket === undefined || !(wanted.tree || wanted.go_on)) continue;
    const below = await problemBelow(socket, wanted, signal);
    if (below !== undefined) {
      revived.push({ name: setup.name, session: undefined, problem: below });
    }
  }
  // Last, and all at once: one that does not answer holds up nobody who is to come back.
  const asked = living.map(async ({ name, socket }): Promise<Revived[]> => {
    const problem = await problemBelow(socket, wanted, signal);
    return problem === undefined ? [] : [{ name, session: undefined, problem }];
  });
  return [...revived, ...(await Promise.all(asked)).flat()];
}

/** The live Pod that writes this session. */
function holderOf({ registry }: SpawnContext, session: string): Allocation | undefined {
  return registry.peek().find((entry) => entry.session_id === session);
}

/** Why a child cannot come back while this other Pod has its name. */
export function describeTaken(holder: Allocation): string {
  const { pod_name, pid, session_id } = holder;
  if (isReservation(holder)) {
    return `its name is taken by a pod \`${pod_name}\` that is just being started; try again in a moment`;
  }
  const which = session_id === null ? "" : `, session ${session_id}`;
  return (
    `its name is taken by another pod \`${pod_name}\` that lives (pid ${pid}${which}); it can come ` +
    `back when that one has ended (to end it: pod stop ${pod_name})`
  );
}

async function reviveChild(
  context: SpawnContext,
  child: MissingChild,
  signal: AbortSignal,
): Promise<void> {
  const { session, setup, takenBy } = child;
  const damage = describeProblem(child);
  // What a damaged log says of its scope is not to be reserved for anybody.
  if (damage !== undefined) {
    throw new PodError("session_corrupt", `its session is damaged: ${damage}`);
  }
  if (takenBy !== undefined) throw new PodError("duplicate_name", describeTaken(takenBy));
  assertPodName(setup.name);
  assertSocketPath(podPaths(context.registry.base, setup.name).socket);
  // What it is denied comes from this Pod, which may deny other paths by now.
  const denied = findByName(context.registry.peek(), context.self.name)?.scope_deny ?? [];
  const deny = setup.scope.deny.filter((rule) =>
    denied.some(({ target }) => target === rule.target),
  );
  const had = { cwd: setup.cwd, scope: { allow: setup.scope.allow, deny } };
  const problem = directoryProblem(setup.cwd) ?? movedProblem(had, session);
  if (problem !== undefined) throw new PodError("invalid_argument", problem);
  const given = setup.manifest as { readonly model?: unknown };
  const unneeded = await context.models.unneededBy(given.model);
  const instance = crypto.randomUUID();
  const rules = setup.scope.allow;
  const limits = { ...context.limits, takesBack: true };
  const reserve = async (): Promise<Allocation | undefined> => {
    if (context.scope.writersIn(rules).length > 0) return undefined;
    const as = { name: setup.name, instance };
    const { value, table } = await context.registry.delegate(context.self, as, rules, limits);
    context.family.apply(table);
    return value;
  };
  const entry = await onceFree(context.scope, rules, signal, () =>
    context.scope.exclusive(reserve),
  );
  const undo = new SpawnUndo(context, entry);
  try {
    const scope = { allow: entry.scope_allow, deny: entry.scope_deny };
    const manifest = { ...given, scope };
    const earlier = context.children.get(setup.name);
    const started = start(context, entry, { cwd: setup.cwd, manifest, unneeded, session }, undo);
    // The conversation is the same, and so is what was read of it.
    if (undo.record !== undefined && earlier !== undefined) undo.record.cursor = earlier.cursor;
    await becomeReady(context, entry, started, undo, signal);
    if (signal.aborted) throw cancelled();
  } catch (error) {
    throw await undo.run(error);
  }
  undo.accepted();
  reportDelegation(context, entry);
}

/** Lets a living child bring back what is missing below it; what went wrong, or undefined. */
async function problemBelow(
  socket: string,
  { tree, go_on }: ReviveRequest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const below: Method = { method: "revive", params: { tree, go_on } };
  try {
    await request(socket, below, { timeoutMs: BELOW_TIMEOUT_MS, signal });
    return undefined;
  } catch (error) {
    if (!isPodError(error, "timed_out")) return messageOf(error);
    return (
      `it did not answer within ${BELOW_TIMEOUT_MS / 1000} s (it may be stopped, or wait for a shell ` +
      "command); see: pod ls"
    );
  }
}
