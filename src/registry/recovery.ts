/**
 * Finds the live Pods again when `pods.json` is lost or damaged (W3): each keeps its own allocation in
 * its directory, and a held life lock proves that it lives. Written under the registry lock before
 * the table, so that no registered Pod is ever without it.
 */
import { readdirSync } from "node:fs";
import { errnoCode, ioError, PodError } from "../base/errors.ts";
import { readIfExists, replaceFile } from "../base/files.ts";
import { isPodName, pathExists, podPaths } from "../base/paths.ts";
import { type Allocation, AllocationSchema, isReservation } from "./allocation.ts";
import { lifeState } from "./life.ts";
import { type Allocations, findByName, release } from "./operations.ts";

/** Writes the entry of a Pod into its directory. Nothing without a directory, or for a reservation. */
export function keepOwnRecord(base: string, entry: Allocation): void {
  if (isReservation(entry)) return;
  const path = podPaths(base, entry.pod_name).allocation;
  try {
    replaceFile(path, JSON.stringify(entry));
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw ioError(`cannot write ${path}`, error);
  }
}

/**
 * `known`, the last good copy, which may be one operation old, made up to date with the Pods that
 * live now. `found` names those whose entry was missing or older. Throws `registry_corrupt` when a
 * live Pod's own record cannot be used.
 */
export function withLivingPods(
  base: string,
  known: Allocations,
): { readonly table: Allocations; readonly found: readonly string[] } {
  const found: string[] = [];
  let table = known;
  for (const entry of livingRecords(base)) {
    const old = findByName(table, entry.pod_name);
    if (old?.instance === entry.instance) {
      // The copy may know who the parent is, the record knows who the Pod is.
      const current = { ...old, ...entry, delegated_from: old.delegated_from };
      table = table.map((other) => (other === old ? current : other));
      if (isReservation(old)) found.push(entry.pod_name);
      continue;
    }
    if (old !== undefined) table = release(table, old.pod_name, old.instance);
    table = [...table, { ...entry, delegated_from: null }];
    found.push(entry.pod_name);
  }
  const isThere = (parent: Allocation["lineage"][number]): boolean =>
    findByName(table, parent.pod_name)?.instance === parent.instance;
  // The nearest ancestor that is there; an entry without a lineage keeps what the copy says.
  const linked = table.map((entry) => {
    const parent = entry.lineage.find(isThere);
    return parent === undefined ? entry : { ...entry, delegated_from: parent.pod_name };
  });
  return { table: linked, found };
}

/** The own records of all Pods that hold their life lock. */
function livingRecords(base: string): Allocation[] {
  const records: Allocation[] = [];
  for (const name of readdirSync(base).toSorted()) {
    if (!isPodName(name) || lifeState(base, name) !== "held") continue;
    const { allocation, socket } = podPaths(base, name);
    const text = readIfExists(allocation);
    if (text !== undefined) records.push(parseRecord(base, name, text));
    // Without a socket it is only starting: not registered, or reserved, and then it will be refused.
    else if (pathExists(socket)) throw unusable(base, name);
  }
  return records;
}

function parseRecord(base: string, name: string, text: string): Allocation {
  try {
    const parsed = AllocationSchema.safeParse(JSON.parse(text));
    if (parsed.success && parsed.data.pod_name === name) return parsed.data;
  } catch {
    // Not JSON at all.
  }
  throw unusable(base, name);
}

function unusable(base: string, name: string): PodError {
  const { allocation, lock, pid } = podPaths(base, name);
  const noted = readIfExists(pid)?.trim() ?? "";
  const victim = /^\d+$/.test(noted) ? `kill ${noted}` : `fuser -k ${lock}`;
  return new PodError(
    "registry_corrupt",
    `pods.json is lost and ${allocation} of live pod \`${name}\` cannot be used, so nobody knows ` +
      `what it may write; end it (${victim}) and retry`,
  );
}
