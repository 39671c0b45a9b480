/**
 * The registry against what each live Pod noted of itself (`allocation.json`): they differ when
 * somebody edited one of them, and without a record a Pod cannot be found again. Reads only.
 */
import { readIfExists } from "../../base/files.ts";
import { isPodName, podPaths } from "../../base/paths.ts";
import { type Allocation, allocationSchema, isReservation } from "../../registry/allocation.ts";
import { type Finding, listed, ok, problem, quoted, warning } from "./finding.ts";

/** A live Pod's entry beside its own record. */
interface RecordFacts {
  readonly entry: Allocation;
  /** Undefined when it cannot be used. */
  readonly record: Pick<Allocation, "instance" | "scope_allow" | "scope_deny"> | undefined;
}

/** Reads the records of entries that must have one. */
export function recordFacts(base: string, entries: readonly Allocation[]): RecordFacts[] {
  return entries
    .filter((entry) => isPodName(entry.pod_name) && !isReservation(entry))
    .map((entry) => ({ entry, record: readRecord(podPaths(base, entry.pod_name).allocation) }));
}

function readRecord(path: string): RecordFacts["record"] {
  try {
    return allocationSchema().parse(JSON.parse(readIfExists(path) ?? ""));
  } catch {
    return undefined;
  }
}

/** The finding on them; pure. */
export function checkRecords(base: string, table: string, facts: readonly RecordFacts[]): Finding {
  const check = "records";
  const names = (some: readonly RecordFacts[]): string =>
    listed(some.map(({ entry }) => entry.pod_name));
  const edited = facts.filter(
    ({ entry, record }) => record !== undefined && !agrees(entry, record),
  );
  if (edited.length > 0) {
    return problem(
      check,
      `the scope in ${table} is not the one that these Pods have: ${names(edited)}`,
      `have it rebuilt from the Pods: mv ${quoted(table)} ${quoted(`${table}.edited`)} && pod ls`,
    );
  }
  const bare = facts.filter(({ record }) => record === undefined);
  if (bare.length > 0) {
    return warning(
      check,
      `the record below ${base} cannot be used, so they are lost if pods.json is: ${names(bare)}`,
      `end them when you can: pod stop ${bare.map(({ entry }) => entry.pod_name).join(" ")}`,
    );
  }
  return ok(check, `${facts.length} agree with the registry`);
}

function agrees(entry: Allocation, record: NonNullable<RecordFacts["record"]>): boolean {
  return (
    entry.instance !== record.instance || // of another run: it is judged by its lock
    (Bun.deepEquals(entry.scope_allow, record.scope_allow) &&
      Bun.deepEquals(entry.scope_deny, record.scope_deny))
  );
}
