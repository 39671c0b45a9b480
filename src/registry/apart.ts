/**
 * Pods of an earlier run's tree that live on by themselves and hold more than that run's Pod is given
 * now: they cannot be its children again (I3), so it stays out of what they write (I1). Pure.
 */
import type { MountTree } from "../base/mounts.ts";
import { aliasesOf } from "../scope/aliases.ts";
import { describeRules, type ScopeRule } from "../scope/rule.ts";
import { overlaps, type Scope, writeRules } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";
import { type Allocations, descendsFrom, fitsInto, isParentless } from "./kinship.ts";

/**
 * Those without a parent that descend from `name`, and write both inside of `allow`, under whatever name,
 * and outside of it.
 */
export function standingApart(
  table: Allocations,
  name: string,
  allow: Scope["allow"],
  mounts: MountTree,
): Allocation[] {
  const former = table.filter(
    (entry) => descendsFrom(entry, name) && isParentless(table, entry) && !fitsInto(entry, allow),
  );
  if (former.length === 0) return [];
  const own = underEveryName(writeRules(allow), mounts);
  return former.filter(({ scope_allow }) =>
    writeRules(scope_allow).some((rule) => own.some((held) => overlaps(held, rule))),
  );
}

/** The scope without what these write, under every name that `mounts` give it: a deny works by one only. */
export function withoutThem(
  { allow, deny }: Scope,
  apart: readonly Allocation[],
  mounts: MountTree,
): Scope {
  const theirs = apart.flatMap(({ scope_allow }) => writeRules(scope_allow));
  return { allow, deny: [...deny, ...underEveryName(theirs, mounts)] };
}

function underEveryName(rules: readonly ScopeRule[], mounts: MountTree): ScopeRule[] {
  return rules.flatMap((rule) => [rule, ...aliasesOf(rule, mounts)]);
}

/** What people and the model are told of one that Pod `name` stays out of. */
export function describeApart({ pod_name, scope_allow }: Allocation, name: string): string {
  return (
    `Pod \`${pod_name}\`, once spawned below pod \`${name}\`, lives on its own and keeps ` +
    `${describeRules(scope_allow)}, which reaches beyond the scope of \`${name}\`: \`${name}\` cannot ` +
    `write there before it is brought back again without that one (to end it: pod stop ${pod_name}).`
  );
}
