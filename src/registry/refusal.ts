/**
 * What is refused whatever else the table says: a name or a session that is taken, a name that is not
 * there, a path that is not canonical. And who was in the way when something was refused. Pure.
 */
import { isPodError, PodError } from "../base/errors.ts";
import { componentsOf, type ScopeRule } from "../scope/rule.ts";
import { type Allocations, findByName } from "./kinship.ts";

/** Throws `duplicate_name` when the name is in the table. */
export function refuseDuplicate(table: Allocations, name: string): void {
  if (findByName(table, name) === undefined) return;
  throw new PodError("duplicate_name", `pod name \`${name}\` is already registered`, {
    data: { pod: name },
  });
}

/** Throws `session_conflict` when another Pod than `exceptName` writes this session. */
export function refuseHeldSession(table: Allocations, session: string, exceptName?: string): void {
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
export function refuseLoose(rules: readonly ScopeRule[]): void {
  for (const { target } of rules) {
    const names = componentsOf(target);
    if (target === `/${names.join("/")}` && !names.includes("..")) continue;
    throw new PodError("invalid_argument", `scope target is not canonical: ${target}`);
  }
}

/** Refusal for a name that is not registered. */
export function unknownPod(name: string): PodError {
  return new PodError("unknown_pod", `pod \`${name}\` is not registered`);
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
