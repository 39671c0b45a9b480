/**
 * How one operation on the registry is decided: the dead are taken out, live Pods that the table lacks
 * are brought in, then the operation says yes or no. In a long table not everybody's death is looked
 * into at once. Decides only; what follows from it on disk is the registry's.
 */
import type { Allocation } from "./allocation.ts";
import type { Allocations } from "./kinship.ts";
import { reclaim } from "./operations.ts";
import { inTheWay } from "./refusal.ts";

/**
 * Entries whose death is looked into whole at every operation (13 µs each). In a longer table only
 * the cheap half is done, and the rest for those who are in the way of a request.
 */
const MAX_PROOFS = 100;

/** So often the dead who are in the way are taken out one after the other, before all are looked at. */
const MAX_LOOKS = 4;

/** What an operation makes of the table. */
interface Change<Value> {
  readonly table: Allocations;
  readonly value: Value;
  /** Entries that are noted in their Pods' directories, too, because who they are has changed. */
  readonly noted?: readonly Allocation[];
  /** Why parts of it were refused, when it was not refused as a whole. */
  readonly refusals?: readonly unknown[];
}

/** A pure operation; throws when it is refused. */
export type Operation<Value> = (table: Allocations) => Change<Value>;

/** A change, or why there is none, with the dead that were found on the way. */
type Decision<Value> = { readonly reclaimed: readonly Allocation[] } & (
  | (Change<Value> & { readonly refused: false })
  | { readonly refused: true; readonly table: Allocations; readonly why: unknown }
);

/** What is asked of the machine while an operation is decided. */
export interface Facts {
  /** The whole proof of death. */
  isDead(entry: Allocation): boolean;
  /** The cheap half of it; never true for the living. */
  isPlainlyDead(entry: Allocation): boolean;
  /** The table with the live Pods that it lacks; the dead are out of it already. */
  withLost(table: Allocations): Allocations;
}

/** Decides `operation`; `thorough` looks into every entry's death, however long the table is. */
export function decide<Value>(
  table: Allocations,
  operation: Operation<Value>,
  facts: Facts,
  thorough: boolean,
): Decision<Value> {
  const decideWithout = (dead: (entry: Allocation) => boolean): Decision<Value> => {
    const { table: living, removed: reclaimed } = reclaim(table, dead);
    const whole = facts.withLost(living);
    try {
      return { ...operation(whole), reclaimed, refused: false };
    } catch (why) {
      return { table: whole, reclaimed, refused: true, why };
    }
  };
  if (thorough || table.length <= MAX_PROOFS) return decideWithout((entry) => facts.isDead(entry));
  const dead = new Set<string>();
  for (let look = 0; look < MAX_LOOKS; look += 1) {
    const quick = decideWithout((entry) => dead.has(entry.pod_name) || facts.isPlainlyDead(entry));
    const refusals = quick.refused ? [quick.why] : (quick.refusals ?? []);
    const suspects = refusals.map((why) => inTheWay(quick.table, why));
    if (suspects.includes(undefined)) break;
    const found = suspects.flatMap((entries) => (entries ?? []).filter(facts.isDead));
    if (found.length === 0) return quick;
    for (const entry of found) dead.add(entry.pod_name);
  }
  return decideWithout((entry) => facts.isDead(entry));
}
