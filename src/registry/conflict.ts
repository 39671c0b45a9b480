/**
 * Who stands in the way of a write rule: the search over all allocations, and the refusal that names
 * the holder (spec registry-and-spawn 3.7, ConflictOwner). Pure.
 */
import { PodError } from "../base/errors.ts";
import { isContested, type Names, PLAIN_NAMES, viewsOf } from "../scope/aliases.ts";
import type { ScopeRule } from "../scope/rule.ts";
import { overlaps, writeRules } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";

/** An allocation with the write rule that clashes. */
interface Conflict {
  readonly entry: Allocation;
  readonly rule: ScopeRule;
}

/**
 * The holder to name when `wanted` (a write rule) cannot be given: of all allocations whose write
 * access overlaps it, the deepest of the first branch. Every allocation is looked at; the tree only
 * chooses whom to name (W30). `exempt` are holders that do not count: the spawner and its ancestors;
 * `denies` are the rules by which the one who asks keeps itself out; a region is compared under all
 * the names that `names` knows for it (W31).
 */
export function conflictOwner(
  table: readonly Allocation[],
  wanted: ScopeRule,
  exempt: readonly string[] = [],
  denies: readonly ScopeRule[] = [],
  names: Names = PLAIN_NAMES,
): Conflict | undefined {
  const views = viewsOf(wanted, names.mounts);
  const asked = { rule: wanted, denies };
  const conflicts = new Map<string, Conflict>();
  for (const entry of table) {
    if (exempt.includes(entry.pod_name)) continue;
    const rule = writeRules(entry.scope_allow).find((held) =>
      isContested({ rule: held, denies: entry.scope_deny }, asked, views, names),
    );
    if (rule !== undefined) conflicts.set(entry.pod_name, { entry, rule });
  }
  const all = [...conflicts.values()];
  let owner = all.find(({ entry }) => !conflicts.has(entry.delegated_from ?? "")) ?? all.at(0);
  for (let steps = 0; owner !== undefined && steps < all.length; steps += 1) {
    const { pod_name } = owner.entry;
    const deeper = all.find(({ entry }) => entry.delegated_from === pod_name);
    if (deeper === undefined) break;
    owner = deeper;
  }
  return owner;
}

/** Throws `write_conflict`, which names the holder, its rule and how to end it. */
export function refuseConflict(wanted: ScopeRule, conflict: Conflict): never {
  const { entry, rule } = conflict;
  const alias = overlaps(rule, wanted) ? "" : "two names of the same files; ";
  throw new PodError(
    "write_conflict",
    `requested scope \`${wanted.target}\` conflicts with pod \`${entry.pod_name}\` rule ` +
      `\`${rule.target}\` (${alias}pid ${entry.pid}, socket ${entry.socket}; ` +
      `to end it: pod stop ${entry.pod_name})`,
    { data: { pod: entry.pod_name, pid: entry.pid, socket: entry.socket } },
  );
}
