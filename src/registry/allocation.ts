/**
 * One entry of the registry: who holds which paths (spec registry-and-spawn 2.1). Keys beyond the
 * reference's tell instances apart and prove life; unknown keys are kept (W10).
 */
import { z } from "zod/v3";
import type { ProcessIdentity } from "../base/process.ts";
import { ScopeRuleSchema } from "../scope/rule.ts";

const nullableString = z.string().nullable().default(null);

/** An allocation as it stands in `pods.json` and in a Pod's `allocation.json`. */
export const AllocationSchema = z
  .object({
    pod_name: z.string(),
    /** The owning process; in a reservation the spawner's, as a live placeholder. */
    pid: z.number().int().min(0),
    socket: z.string(),
    scope_allow: z.array(ScopeRuleSchema),
    scope_deny: z.array(ScopeRuleSchema).default([]),
    /** Name of the direct parent; null for a root. */
    delegated_from: nullableString,
    /** Session being written; null while this is a reservation. */
    session_id: nullableString,
    /** Identity of this one run of the name; what is not matched by it is not touched. */
    instance: z.string().default(""),
    pid_start: nullableString,
    boot_id: nullableString,
    pid_namespace: nullableString,
    machine_id: nullableString,
    /** Milliseconds since the epoch after which an unadopted reservation is void; null once adopted. */
    expires_at: z.number().nullable().default(null),
  })
  .passthrough();
export type Allocation = z.infer<typeof AllocationSchema>;

/** The identity keys of an allocation owned by `process`. */
export function identityKeys(process: ProcessIdentity) {
  return {
    pid: process.pid,
    pid_start: process.start,
    boot_id: process.boot,
    pid_namespace: process.pidNamespace,
    machine_id: process.machine,
  };
}

/** The recorded identity of the owning process. */
export function ownerOf(entry: Allocation): ProcessIdentity {
  return {
    pid: entry.pid,
    start: entry.pid_start,
    boot: entry.boot_id,
    pidNamespace: entry.pid_namespace,
    machine: entry.machine_id,
  };
}

/** True while the entry is reserved for a child that has not come up. */
export function isReservation(entry: Allocation): boolean {
  return entry.session_id === null;
}
