/**
 * The registry's rules: pure operations from one list of allocations to the next. They decide who
 * may hold what; they know nothing of files, locks or processes (spec registry-and-spawn 3.7, 4).
 */
import { isPodError, PodError } from "../base/errors.ts";
import { type Names, PLAIN_NAMES } from "../scope/aliases.ts";
import { componentsOf, type ScopeRule } from "../scope/rule.ts";
import { covers, denyingRule, inheritedDenies, overlaps, writeRules } from "../scope/set.ts";
import { type Allocation, isReservation } from "./allocation.ts";
import { conflictOwner, refuseConflict } from "./conflict.ts";

/** The allocations, in insertion order. */
export type Allocations = readonly Allocation[];

/** Finds an allocation by name. */
export function findByName(table: Allocations, name: string): Allocation | undefined {
  return table.find((entry) => entry.pod_name === name);
}

/** Direct children of a Pod, in insertion order. */
export function childrenOf(table: Allocations, name: string): Allocation[] {
  return table.filter((entry) => entry.delegated_from === name);
}

/** Parents of an entry, nearest first. A name that is not in the table ends the chain. */
export function ancestorsOf(table: Allocations, entry: Allocation): Allocation[] {
  const chain: Allocation[] = [];
  let name = entry.delegated_from;
  while (name !== null) {
    const parent = findByName(table, name);
    if (parent === undefined || chain.includes(parent) || parent === entry) break;
    chain.push(parent);
    name = parent.delegated_from;
  }
  return chain;
}

/**
 * The entries without which a refused request might have been granted: the one that has what was asked
 * for, or the children of the spawner that asked. Undefined when that cannot be told.
 */
export function inTheWay(table: Allocations, refusal: unknown): Allocations | undefined {
  if (!isPodError(refusal)) return undefined;
  const { pod, children_of: spawner } = refusal.data;
  if (pod === undefined && spawner === undefined) return undefined;
  return table.filter(
    (entry) =>
      entry.pod_name === pod || (spawner !== undefined && entry.delegated_from === spawner),
  );
}

function refuseDuplicate(table: Allocations, name: string): void {
  if (findByName(table, name) === undefined) return;
  throw new PodError("duplicate_name", `pod name \`${name}\` is already registered`, {
    data: { pod: name },
  });
}

function refuseHeldSession(table: Allocations, session: string, exceptName?: string): void {
  const holder = table.find(
    (entry) => entry.session_id === session && entry.pod_name !== exceptName,
  );
  if (holder === undefined) return;
  throw new PodError(
    "session_conflict",
    `session ${session} is already held by pod \`${holder.pod_name}\` at ${holder.socket}`,
    { data: { pod: holder.pod_name } },
  );
}

/** The border check: what stands in the table was resolved before (W20), or two Pods could share a path. */
function refuseLoose(rules: readonly ScopeRule[]): void {
  for (const { target } of rules) {
    const names = componentsOf(target);
    if (target === `/${names.join("/")}` && !names.includes("..")) continue;
    throw new PodError("invalid_argument", `scope target is not canonical: ${target}`);
  }
}

/** Refusal for a name that is not registered. */
function unknownPod(name: string): PodError {
  return new PodError("unknown_pod", `pod \`${name}\` is not registered`);
}

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
  const rest = withoutOrphansOf(table, entry.pod_name).map((other, index) => {
    const before = table[index] ?? other;
    if (!branch.includes(before)) return other;
    const child = { ...before, lineage: withSuccessor(before.lineage, entry) };
    return stranded.includes(before) ? { ...child, delegated_from: entry.pod_name } : child;
  });
  return [...rest, { ...entry, delegated_from: null }];
}

/** The lineage with the present run of a name in place of its earlier ones. */
function withSuccessor(
  lineage: Allocation["lineage"],
  { pod_name, instance }: Allocation,
): Allocation["lineage"] {
  return lineage.map((ancestor) =>
    ancestor.pod_name === pod_name ? { pod_name, instance } : ancestor,
  );
}

/** Pods without a parent that descend from an earlier run of this name, and hold nothing outside its scope. */
function strandedOf(table: Allocations, entry: Allocation): Allocation[] {
  return descendedFrom(table, entry).filter(
    ({ delegated_from }) =>
      delegated_from === null || findByName(table, delegated_from) === undefined,
  );
}

/** Those that descend from an earlier run of this name, and hold nothing outside its scope. */
function descendedFrom(
  entries: readonly Allocation[],
  { pod_name, scope_allow }: Allocation,
): Allocation[] {
  return entries.filter(
    (other) =>
      other.lineage.some((ancestor) => ancestor.pod_name === pod_name) &&
      other.scope_allow.every((rule) => scope_allow.some((held) => covers(held, rule))),
  );
}

/** These entries and everything below them. */
function withDescendants(table: Allocations, tops: readonly Allocation[]): Allocation[] {
  if (tops.length === 0) return []; // mostly, and then nobody's ancestors are looked up
  return table.filter(
    (other) =>
      tops.includes(other) || ancestorsOf(table, other).some((ancestor) => tops.includes(ancestor)),
  );
}

/** An entry whose parent is not in the table counts as a root; a newcomer of that name is not its parent. */
function withoutOrphansOf(table: Allocations, name: string): Allocations {
  return table.map((entry) =>
    entry.delegated_from === name ? { ...entry, delegated_from: null } : entry,
  );
}

/** How far a tree may grow; a child at `maxDepth` is still allowed (roots are at depth 0). */
export interface TreeLimits {
  readonly maxDepth: number;
  readonly maxChildren: number;
}

/**
 * Reserves paths of a spawner for a child. `reservation` carries the requested rules; what comes
 * back carries the denies of the spawner that travel along as well (W22). With `takesBack` the child is
 * one that comes back: what an earlier run of its name had spawned, and the spawner has inherited,
 * goes back to it and does not stand in its way (W52).
 */
export function delegate(
  whole: Allocations,
  spawner: { readonly name: string; readonly instance: string },
  reservation: Allocation,
  limits: TreeLimits & { readonly takesBack?: boolean },
  names: Names = PLAIN_NAMES,
): { readonly table: Allocations; readonly entry: Allocation } {
  refuseLoose(reservation.scope_allow);
  refuseDuplicate(whole, reservation.pod_name);
  const inherited = childrenOf(whole, spawner.name);
  const heirs = limits.takesBack === true ? descendedFrom(inherited, reservation) : [];
  const branch = withDescendants(whole, heirs);
  const table = whole.filter((other) => !branch.includes(other));
  const holder = findByName(table, spawner.name);
  if (holder === undefined || holder.instance !== spawner.instance) throw unknownPod(spawner.name);
  refuseGrowth(table, holder, limits);
  const above = [holder, ...ancestorsOf(table, holder)];
  const exempt = above.map(({ pod_name }) => pod_name);
  const denies = inheritedDenies(holder.scope_deny, reservation.scope_allow);
  for (const rule of reservation.scope_allow) {
    refuseUncovered(table, holder, rule);
    if (rule.permission !== "write") continue;
    const conflict = conflictOwner(table, rule, exempt, denies, names);
    if (conflict !== undefined) refuseConflict(rule, conflict);
  }
  const entry: Allocation = {
    ...reservation,
    delegated_from: holder.pod_name,
    lineage: [
      ...above.map(({ pod_name, instance }) => ({ pod_name, instance })),
      // The topmost may have had parents that are gone now.
      ...(above.at(-1)?.lineage ?? []),
    ],
    session_id: null,
    scope_deny: denies,
  };
  const rest = withoutOrphansOf(whole, entry.pod_name).map((other, index) => {
    const before = whole[index] ?? other;
    if (!branch.includes(before)) return other;
    const child = { ...before, lineage: withSuccessor(before.lineage, entry) };
    return heirs.includes(before) ? { ...child, delegated_from: entry.pod_name } : child;
  });
  return { table: [...rest, entry], entry };
}

function refuseGrowth(table: Allocations, holder: Allocation, limits: TreeLimits): void {
  const depth = ancestorsOf(table, holder).length + 1;
  if (depth > limits.maxDepth) {
    throw new PodError(
      "limit_reached",
      `pod \`${holder.pod_name}\` is at depth ${depth - 1}; children may be at most ` +
        `${limits.maxDepth} levels below their root ([limits] max_depth)`,
    );
  }
  const children = childrenOf(table, holder.pod_name).length;
  if (children >= limits.maxChildren) {
    throw new PodError(
      "limit_reached",
      `too many live child pods (${children}, limit ${limits.maxChildren}, [limits] max_children); ` +
        "stop one with StopPod first",
      { data: { children_of: holder.pod_name } },
    );
  }
}

/** WithinEffective of spec 3.7, with denies: throws unless the spawner itself has all of `rule` now. */
function refuseUncovered(table: Allocations, holder: Allocation, rule: ScopeRule): void {
  const within = holder.scope_allow.some((held) => covers(held, rule));
  const taken =
    rule.permission === "write" &&
    childrenOf(table, holder.pod_name).some((child) =>
      writeRules(child.scope_allow).some((given) => overlaps(given, rule)),
    );
  if (!within || taken) {
    const roots = writeRules(holder.scope_allow).map((held) => held.target);
    throw new PodError(
      "not_subset",
      `requested scope \`${rule.target}\` is not within spawner \`${holder.pod_name}\`'s effective ` +
        `scope (it may write: ${roots.join(", ") || "nothing"}${lentOut(table, holder)})`,
      { data: { children_of: holder.pod_name } },
    );
  }
  const denying = denyingRule({ allow: holder.scope_allow, deny: holder.scope_deny }, rule);
  if (denying !== undefined) {
    throw new PodError(
      "denied",
      `requested scope \`${rule.target}\` is denied for spawner \`${holder.pod_name}\` by rule ` +
        `\`${denying.target}\``,
    );
  }
}

function lentOut(table: Allocations, holder: Allocation): string {
  const lent = childrenOf(table, holder.pod_name).flatMap((child) =>
    writeRules(child.scope_allow).map((rule) => `${rule.target} to \`${child.pod_name}\``),
  );
  return lent.length === 0 ? "" : `; lent out: ${lent.join(", ")}`;
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
  return withoutEntry(table, gone);
}

function withoutEntry(table: Allocations, gone: Allocation): Allocations {
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
