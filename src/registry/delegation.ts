/**
 * What a spawner may hand to a child: paths that it has itself and has not handed out, that nobody else
 * holds, in a tree that may still grow (spec registry-and-spawn 3.7). Pure.
 */
import { PodError } from "../base/errors.ts";
import { type Names, PLAIN_NAMES } from "../scope/aliases.ts";
import type { ScopeRule } from "../scope/rule.ts";
import { covers, denyingRule, inheritedDenies, overlaps, writeRules } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";
import { conflictOwner, refuseConflict } from "./conflict.ts";
import {
  type Allocations,
  ancestorsOf,
  childrenOf,
  descendedFrom,
  findByName,
  withDescendants,
  withParent,
} from "./kinship.ts";
import { refuseDuplicate, refuseLoose, unknownPod } from "./refusal.ts";

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
  return { table: [...withParent(whole, entry, heirs, branch), entry], entry };
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
