/**
 * Who is whose in the table: children, ancestors, and what the earlier runs of a name left behind. Pure;
 * looks at names and lineages, decides nothing. A table may have been edited, so no walk relies on its
 * being a tree.
 */
import type { ScopeRule } from "../scope/rule.ts";
import { covers } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";

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

/** True for a root, and for an entry whose parent is not in the table, which counts as one. */
export function isParentless(table: Allocations, { delegated_from }: Allocation): boolean {
  return delegated_from === null || findByName(table, delegated_from) === undefined;
}

/** True when an entry descends from some run of this name. */
export function descendsFrom({ lineage }: Allocation, name: string): boolean {
  return lineage.some((ancestor) => ancestor.pod_name === name);
}

/** True when all that an entry holds lies within these rules: otherwise their owner is no parent for it (I3). */
export function fitsInto({ scope_allow }: Allocation, allow: readonly ScopeRule[]): boolean {
  return scope_allow.every((rule) => allow.some((held) => covers(held, rule)));
}

/** Pods without a parent that descend from an earlier run of this name, and hold nothing outside its scope. */
export function strandedOf(table: Allocations, entry: Allocation): Allocation[] {
  return descendedFrom(table, entry).filter((other) => isParentless(table, other));
}

/** Those that descend from an earlier run of this name, and hold nothing outside its scope. */
export function descendedFrom(
  entries: readonly Allocation[],
  { pod_name, scope_allow }: Allocation,
): Allocation[] {
  return entries.filter((other) => descendsFrom(other, pod_name) && fitsInto(other, scope_allow));
}

/** These entries and everything below them. */
export function withDescendants(table: Allocations, tops: readonly Allocation[]): Allocation[] {
  if (tops.length === 0) return []; // mostly, and then nobody's ancestors are looked up
  return table.filter(
    (other) =>
      tops.includes(other) || ancestorsOf(table, other).some((ancestor) => tops.includes(ancestor)),
  );
}

/**
 * The table with a newcomer as the parent of `heirs`, its present run in the lineages of their whole
 * `branch`; the newcomer itself is not added. An entry whose parent is not in the table counts as a
 * root, and a newcomer of that name is not its parent. What does not change stays the same object.
 */
export function withParent(
  table: Allocations,
  newcomer: Allocation,
  heirs: readonly Allocation[],
  branch: readonly Allocation[],
): Allocations {
  return table.map((entry) => {
    if (branch.includes(entry)) {
      const child = { ...entry, lineage: withSuccessor(entry.lineage, newcomer) };
      return heirs.includes(entry) ? { ...child, delegated_from: newcomer.pod_name } : child;
    }
    return entry.delegated_from === newcomer.pod_name ? { ...entry, delegated_from: null } : entry;
  });
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
