/**
 * Pods of an earlier run's tree that live on by themselves and hold more than that run's Pod is given
 * now: they cannot be its children again (I3), so it stays out of what they write (I1). Pure.
 */
import { describeRules } from "../scope/rule.ts";
import { overlaps, type Scope, writeRules } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";
import { type Allocations, descendsFrom, fitsInto, isParentless } from "./kinship.ts";

/** Those without a parent that descend from `name`, and write both inside of `allow` and outside of it. */
export function standingApart(
  table: Allocations,
  name: string,
  allow: Scope["allow"],
): Allocation[] {
  const own = writeRules(allow);
  return table.filter(
    (entry) =>
      descendsFrom(entry, name) &&
      isParentless(table, entry) &&
      !fitsInto(entry, allow) &&
      writeRules(entry.scope_allow).some((rule) => own.some((held) => overlaps(held, rule))),
  );
}

/** The scope without what these write. */
export function withoutThem({ allow, deny }: Scope, apart: readonly Allocation[]): Scope {
  return { allow, deny: [...deny, ...apart.flatMap(({ scope_allow }) => writeRules(scope_allow))] };
}

/** What people and the model are told of one. */
export function describeApart({ pod_name, scope_allow }: Allocation): string {
  return (
    `Pod \`${pod_name}\`, once spawned below this one, lives on its own and keeps ` +
    `${describeRules(scope_allow)}, which reaches beyond this pod's scope: this pod cannot write there ` +
    `before it is brought back again without that one (to end it: pod stop ${pod_name}).`
  );
}
