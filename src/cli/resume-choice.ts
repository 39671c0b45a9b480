/**
 * Which session `pod resume` is to bring back, and why one is refused before anything is started.
 */
import { PodError } from "../base/errors.ts";
import { type Allocations, findByName } from "../registry/kinship.ts";
import {
  currentSessions,
  describeProblem,
  type SessionSummary,
  summarize,
} from "../session/catalog.ts";
import { isKnown, type KnownSession } from "../session/family-tree.ts";
import { isSessionId } from "../session/log-names.ts";

/** The session that is meant; without a word, the newest of a Pod that a person had started. */
export function choose(
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
export function assertCurrent(
  summary: SessionSummary | undefined,
  all: readonly SessionSummary[],
): void {
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
export function assertFree({ setup }: KnownSession, table: Allocations): void {
  const holder = findByName(table, setup.name);
  if (holder === undefined) return;
  throw new PodError(
    "duplicate_name",
    `pod name \`${setup.name}\` is already registered, and a copy of its session would have the ` +
      `same name; stop it first: pod stop ${setup.name}`,
  );
}

/** The id that an option needs; `usage` for anything else. */
export function sessionIn(wanted: string | undefined, option: string): string {
  if (wanted !== undefined && isSessionId(wanted)) return wanted;
  throw new PodError("usage", `${option} needs the whole id of a session (see: pod sessions)`);
}

/** A session that says how its Pod is started; throws why it does not. */
export function known(summary: SessionSummary | undefined, session: string): KnownSession {
  if (summary === undefined) {
    throw new PodError("unknown_session", `session not found: ${session}`);
  }
  if (isKnown(summary)) return summary;
  const damage = describeProblem(summary);
  if (damage !== undefined) {
    throw new PodError("session_corrupt", `session ${session} is damaged: ${damage}`);
  }
  if (summary.bytes === 0) {
    throw new PodError("unknown_session", `session ${session} has no entries to restore`);
  }
  throw new PodError(
    "invalid_argument",
    `session ${session} does not say how its pod is started; start it with a manifest: ` +
      `pod --session ${session}`,
  );
}
