/** Small families of Pods, made with the operations under test; instances are `<name>-1`. */
import type { Allocation } from "../../src/registry/allocation.ts";
import { delegate } from "../../src/registry/delegation.ts";
import { type Allocations } from "../../src/registry/kinship.ts";
import { adopt, register } from "../../src/registry/operations.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { entry, rule } from "./entries.ts";

const LIMITS = { maxDepth: 4, maxChildren: 16 };

/** The table after `spawner` gave `allow` to `child`, which has adopted it. */
export function spawned(
  table: Allocations,
  spawner: string,
  child: string,
  allow: readonly ScopeRule[],
): Allocations {
  const { table: reserved } = reserve(table, spawner, child, allow);
  return adopt(reserved, child, `${child}-1`, { pid: 1 }, `session of ${child}-1`).table;
}

export function reserve(
  table: Allocations,
  spawner: string,
  child: string,
  allow: readonly ScopeRule[],
  limits = LIMITS,
) {
  const id = { name: spawner, instance: `${spawner}-1` };
  return delegate(table, id, entry(child, allow, { session_id: null, expires_at: 9 }), limits);
}

export const roots = (...entries: Allocation[]): Allocations =>
  entries.reduce<Allocations>((table, next) => register(table, next), []);

/** `a`: /src, its child `b`: /src/core. */
export const family = (): Allocations =>
  spawned(roots(entry("a", [rule("/src")])), "a", "b", [rule("/src/core")]);

/** `a`: /src, `b`: /src/core, `d`: /src/core/x, each the child of the one before. */
export const line = (): Allocations => spawned(family(), "b", "d", [rule("/src/core/x")]);
