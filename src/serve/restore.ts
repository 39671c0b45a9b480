/**
 * A session that a Pod is to go on with: locked and read before anything is registered (W13), and
 * what it recorded of the Pod found again.
 */
import { isPodError, PodError } from "../base/errors.ts";
import type { Manifest } from "../manifest/schema.ts";
import { Registry } from "../registry/registry.ts";
import { currentSessions, listSessions } from "../session/catalog.ts";
import { ancestorsIn } from "../session/family-tree.ts";
import { type OpenedSession, openSession } from "../session/open.ts";
import type { Setup } from "../session/setup.ts";
import { movedManifestProblem } from "../spawn/working-directory.ts";

/**
 * Opens a session for this process. A session that a live Pod writes is refused with that Pod's name
 * and socket (`session_conflict`); the other errors are those of `openSession`.
 */
export async function restoreSession(
  store: string,
  id: string,
  base: string,
): Promise<OpenedSession> {
  try {
    return openSession(store, id);
  } catch (error) {
    if (!isPodError(error, "session_conflict")) throw error;
    const holder = await new Registry(base).lookupSession(id);
    if (holder === undefined) throw error;
    throw new PodError(
      "session_conflict",
      `session ${id} is already held by pod \`${holder.pod_name}\` at ${holder.socket}`,
      { cause: error },
    );
  }
}

/** The parents of a Pod that is brought back alone, nearest first, by the last run of each. */
export function formerParents(
  store: string,
  parent: Setup["parent"],
): { pod_name: string; instance: string }[] {
  if (parent === null) return [];
  return ancestorsIn(currentSessions(listSessions(store)), parent).map(({ name, instance }) => ({
    pod_name: name,
    instance,
  }));
}

/**
 * Refuses to go on as recorded where a path means another place now than it did: the scope would be
 * moved there (`denied`). Nothing was changed.
 */
export function assertUnmoved(
  { scope }: Pick<Manifest, "scope">,
  recorded: Setup,
  session: string,
): void {
  const problem = movedManifestProblem(scope, recorded, session);
  if (problem !== undefined) throw new PodError("denied", `failed to restore pod: ${problem}`);
}

/** What a session recorded of its Pod; `invalid_argument` for the log of a program that records nothing. */
export function recordedSetup({ state, log }: OpenedSession): Setup {
  if (state.setup !== undefined) return state.setup;
  throw new PodError(
    "invalid_argument",
    `session ${log.id} does not say how its pod is started; start it with a manifest: pod --session ${log.id}`,
  );
}
