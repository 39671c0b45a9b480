/**
 * The registry's rules: pure operations from one list of allocations to the next. They decide who
 * may hold what; they know nothing of files, locks or processes (spec registry-and-spawn 3.7, 4).
 * The one for children is in `delegation.ts`.
 */
import { PodError } from "../base/errors.ts";
import { type Names, PLAIN_NAMES } from "../scope/aliases.ts";
import { writeRules } from "../scope/set.ts";
import { type Allocation, isReservation } from "./allocation.ts";
import { conflictOwner, refuseConflict } from "./conflict.ts";
import {
  type Allocations,
  findByName,
  strandedOf,
  withDescendants,
  withParent,
} from "./kinship.ts";
import { refuseDuplicate, refuseHeldSession, refuseLoose, unknownPod } from "./refusal.ts";

/**
 * Adds a root. `entry` is complete, its targets are canonical, and its write rules must be free. Pods
 * that an earlier run of this name had spawned, and that live on inside its scope, do not stand in its
 * way: they are its children again (W52).
 */
export function register(
  table: Allocations,
  entry: Allocation,
  names: Names = PLAIN_NAMES,
): Allocations {
  refuseLoose([...entry.scope_allow, ...entry.scope_deny]);
  refuseDuplicate(table, entry.pod_name);
  if (entry.session_id !== null) refuseHeldSession(table, entry.session_id);
  const stranded = strandedOf(table, entry);
  const branch = withDescendants(table, stranded);
  const exempt = branch.map(({ pod_name }) => pod_name);
  for (const rule of writeRules(entry.scope_allow)) {
    const conflict = conflictOwner(table, rule, exempt, entry.scope_deny, names);
    if (conflict !== undefined) refuseConflict(rule, conflict);
  }
  const rest = withParent(table, entry, stranded, branch);
  return [...rest, { ...entry, delegated_from: null }];
}

/** Turns a reservation into the allocation of the process `owner`. */
export function adopt(
  table: Allocations,
  name: string,
  instance: string,
  owner: Partial<Allocation>,
  session: string,
): { readonly table: Allocations; readonly entry: Allocation } {
  const reserved = findByName(table, name);
  if (reserved === undefined) throw unknownPod(name);
  if (reserved.instance !== instance || !isReservation(reserved)) {
    throw new PodError("not_reservation", `pod \`${name}\` is not a reservation of this spawner`);
  }
  refuseHeldSession(table, session);
  const entry: Allocation = { ...reserved, ...owner, session_id: session, expires_at: null };
  return { table: table.map((other) => (other === reserved ? entry : other)), entry };
}

/**
 * Removes an allocation; its children become its parent's (spec 4, release). Nothing happens when
 * the name now belongs to another instance.
 */
export function release(table: Allocations, name: string, instance: string): Allocations {
  const gone = findByName(table, name);
  if (gone === undefined || gone.instance !== instance) return table;
  return table
    .filter((entry) => entry !== gone)
    .map((entry) =>
      entry.delegated_from === gone.pod_name
        ? { ...entry, delegated_from: gone.delegated_from }
        : entry,
    );
}

/** Removes every allocation that `isDead` says is dead, re-parenting on the way; asks once for each. */
export function reclaim(
  table: Allocations,
  isDead: (entry: Allocation) => boolean,
): { readonly table: Allocations; readonly removed: readonly Allocation[] } {
  const kept: Allocation[] = [];
  const removed: Allocation[] = [];
  for (const entry of table) (isDead(entry) ? removed : kept).push(entry);
  if (removed.length === 0) return { table, removed };
  const heirs = new Map(removed.map((entry) => [entry.pod_name, entry.delegated_from]));
  for (const { pod_name } of kept) heirs.delete(pod_name);
  const heirOf = (name: string | null): string | null => {
    let parent = name;
    for (let steps = 0; parent !== null && steps <= heirs.size; steps += 1) {
      const next = heirs.get(parent);
      if (next === undefined) return parent;
      parent = next;
    }
    return null; // a root, or dead Pods that were each other's parents
  };
  const rest = kept.map((entry) => {
    const parent = heirOf(entry.delegated_from);
    return parent === entry.delegated_from ? entry : { ...entry, delegated_from: parent };
  });
  return { table: rest, removed };
}

/** Notes that a Pod writes another session from now on. */
export function updateSession(
  table: Allocations,
  name: string,
  instance: string,
  session: string,
): Allocations {
  refuseHeldSession(table, session, name);
  const entry = findByName(table, name);
  // A reservation gets its session by being adopted.
  if (entry === undefined || entry.instance !== instance || isReservation(entry)) {
    throw unknownPod(name);
  }
  return table.map((other) => (other === entry ? { ...entry, session_id: session } : other));
}
