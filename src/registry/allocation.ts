/**
 * One entry of the registry: who holds which paths (spec registry-and-spawn 2.1). Keys beyond the
 * reference's tell instances apart and prove life; unknown keys are kept (W10).
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import type { ProcessIdentity } from "../base/process.ts";
import { scopeRuleSchema } from "../scope/rule.ts";

const nullableString = lazily(() => z.string().nullable().default(null));

/** An allocation as it stands in `pods.json`. */
export const allocationSchema = lazily(() =>
  z
    .object({
      pod_name: z.string(),
      /** The owning process; in a reservation the spawner's, as a live placeholder. */
      pid: z.number().int().min(0),
      socket: z.string(),
      scope_allow: z.array(scopeRuleSchema()),
      scope_deny: z.array(scopeRuleSchema()).default([]),
      /** Name of the direct parent; null for a root. */
      delegated_from: nullableString(),
      /** Session being written; null while this is a reservation. */
      session_id: nullableString(),
      /** Identity of this one run of the name; what is not matched by it is not touched. */
      instance: z.string().default(""),
      pid_start: nullableString(),
      boot_id: nullableString(),
      pid_namespace: nullableString(),
      machine_id: nullableString(),
      /** Milliseconds since the epoch after which an unadopted reservation is void; null once adopted. */
      expires_at: z.number().nullable().default(null),
      /**
       * Whose descendant this is: its parents when it was spawned, nearest first; empty for a root that
       * never was a child. The dead stay in it, so a root that starts again under its name finds who is
       * left of its tree (W52), and a lost table can be linked again.
       */
      lineage: z.array(z.object({ pod_name: z.string(), instance: z.string() })).default([]),
    })
    .passthrough(),
);
export type Allocation = z.infer<ReturnType<typeof allocationSchema>>;

/** True for a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isText = (value: unknown): boolean => typeof value === "string";
const isTextOrNull = (value: unknown): boolean => value === null || isText(value);

function isCompleteRule(value: unknown): boolean {
  return (
    isRecord(value) &&
    isText(value.target) &&
    (value.permission === "read" || value.permission === "write") &&
    typeof value.recursive === "boolean" &&
    Object.keys(value).length === 3
  );
}

function isAncestor(value: unknown): boolean {
  return (
    isRecord(value) &&
    isText(value.pod_name) &&
    isText(value.instance) &&
    Object.keys(value).length === 2
  );
}

/**
 * True for an entry that the schema would return unchanged, as all are that we wrote. Spares the
 * schema, which takes 70 ms for the first 1,000 entries and is run under the lock otherwise.
 */
export function isComplete(value: unknown): value is Allocation {
  return (
    isRecord(value) &&
    isText(value.pod_name) &&
    typeof value.pid === "number" &&
    Number.isInteger(value.pid) &&
    value.pid >= 0 &&
    isText(value.socket) &&
    Array.isArray(value.scope_allow) &&
    value.scope_allow.every(isCompleteRule) &&
    Array.isArray(value.scope_deny) &&
    value.scope_deny.every(isCompleteRule) &&
    isTextOrNull(value.delegated_from) &&
    isTextOrNull(value.session_id) &&
    isText(value.instance) &&
    isTextOrNull(value.pid_start) &&
    isTextOrNull(value.boot_id) &&
    isTextOrNull(value.pid_namespace) &&
    isTextOrNull(value.machine_id) &&
    Array.isArray(value.lineage) &&
    value.lineage.every(isAncestor) &&
    (value.expires_at === null || typeof value.expires_at === "number")
  );
}

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
