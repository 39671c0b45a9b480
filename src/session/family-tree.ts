/**
 * Which sessions belong to the children of a Pod, and which of them are to come back with it: all
 * that did not end while their parent lived and knew of it. Pure, over summaries of a directory.
 */
import type { SessionSummary } from "./catalog.ts";
import type { ChildEnd, Setup } from "./setup.ts";

/** A session that says whose it is. */
export type KnownSession = SessionSummary & { readonly setup: Setup };

/** True for a session with a setup. */
export function isKnown(summary: SessionSummary): summary is KnownSession {
  return summary.setup !== undefined;
}

/**
 * The children of a Pod that come back with it, newest first. `current` are the newest sessions of all
 * Pods; `ends` tells the ends that a Pod of this lineage recorded. Of several that had one name the one
 * that was at work last counts. A child that was ended for good leaves its own children to its parent, as the
 * registry does.
 */
export function childrenToRevive(
  lineage: string,
  current: readonly SessionSummary[],
  ends: (lineage: string) => readonly ChildEnd[],
): KnownSession[] {
  const names = new Set<string>();
  const visited = new Set<string>();
  const collect = (parent: string, above: readonly ChildEnd[]): KnownSession[] => {
    if (visited.has(parent)) return [];
    visited.add(parent);
    // Whoever inherited a child saw its end: a branch that was stopped whole stays away whole.
    const known = [...above, ...ends(parent)];
    const children = current
      .filter(isKnown)
      .filter(({ setup }) => setup.parent?.lineage === parent);
    const isLast = ({ setup: { name }, changed }: KnownSession): boolean =>
      children.every((other) => other.setup.name !== name || other.changed <= changed);
    return children.filter(isLast).flatMap((child) => {
      if (names.has(child.setup.name)) return [];
      names.add(child.setup.name);
      return endedForGood(child, known) ? collect(child.setup.lineage, known) : [child];
    });
  };
  return collect(lineage, []);
}

/**
 * The sessions with those of `heirs` as children of `parent`: Pods that it took over from one whose own
 * session is gone, so that nothing else leads to them. `heirs` are the instances of its children.
 */
export function withHeirs(
  current: readonly SessionSummary[],
  parent: NonNullable<Setup["parent"]>,
  heirs: ReadonlySet<string>,
): SessionSummary[] {
  const known = new Set(current.map(({ setup }) => setup?.lineage));
  return current.map((entry) => {
    const { setup } = entry;
    const isCutOff = setup?.parent != null && !known.has(setup.parent.lineage);
    return isCutOff && heirs.has(setup.instance)
      ? { ...entry, setup: { ...setup, parent } }
      : entry;
  });
}

/**
 * The child that is asked for by itself, by its session or else by its name: also one that was ended for
 * good, which only keeps it out of what comes back unasked. Otherwise as `childrenToRevive`.
 */
export function childToRevive(
  lineage: string,
  current: readonly SessionSummary[],
  ends: (lineage: string) => readonly ChildEnd[],
  { name, session }: { readonly name?: string | undefined; readonly session?: string | undefined },
): KnownSession | undefined {
  const isMeant = (child: KnownSession): boolean =>
    session === undefined ? child.setup.name === name : child.session === session;
  return (
    current
      .filter(isKnown)
      .find((child) => isMeant(child) && child.setup.parent?.lineage === lineage) ??
    childrenToRevive(lineage, current, ends).find(isMeant)
  );
}

/**
 * The Pods above one with this parent, nearest first, as far as their sessions are there. `current` are
 * the newest sessions of all Pods.
 */
export function ancestorsIn(
  current: readonly SessionSummary[],
  parent: Setup["parent"],
): readonly Setup[] {
  const above: Setup[] = [];
  for (let next = parent; next !== null;) {
    const { lineage } = next;
    const setup = current.find((known) => known.setup?.lineage === lineage)?.setup;
    if (setup === undefined || above.includes(setup)) break;
    above.push(setup);
    next = setup.parent;
  }
  return above;
}

/**
 * Stopped by its parent, or ended by somebody's request while its parent, or who had inherited it, lived
 * and saw that it was gone. An end before the last entry of the child was that of an earlier run, which
 * came back since.
 */
function endedForGood({ setup, rest, changed }: KnownSession, ends: readonly ChildEnd[]): boolean {
  const { name, instance } = setup;
  const seen = ends.filter(
    (known) => known.instance === instance || (known.name === name && known.at >= changed),
  );
  return (
    seen.some(({ end }) => end === "stopped") || (seen.length > 0 && rest === "client request")
  );
}
