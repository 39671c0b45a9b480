/**
 * Finds the live Pods again when `pods.json` is lost or damaged (W3): each keeps its own allocation in
 * its directory, and a held life lock proves that it lives. Written under the registry lock before
 * the table, so that no registered Pod is ever without it.
 */
import { readdirSync } from "node:fs";
import { errnoCode, ioError, messageOf, PodError } from "../base/errors.ts";
import { readIfExists, removeFile, replaceFile } from "../base/files.ts";
import { log } from "../base/log.ts";
import { isPodName, pathExists, podPaths } from "../base/paths.ts";
import type { z } from "zod/v3";
import { type Allocation, isReservation, OwnRecordSchema } from "./allocation.ts";
import { lifeState } from "./life.ts";
import { type Allocations, ancestorsOf, findByName, release } from "./operations.ts";

type OwnRecord = z.infer<typeof OwnRecordSchema>;

/**
 * Writes the entry of a Pod into its directory; `table` tells its parents. Without a directory nothing.
 * The result takes it back, for when the table cannot be written after all; it never throws.
 */
export function keepOwnRecord(base: string, table: Allocations, entry: Allocation): () => void {
  const path = podPaths(base, entry.pod_name).allocation;
  const before = readIfExists(path);
  const ancestors = ancestorsOf(table, entry).map(({ pod_name, instance }) => ({
    pod_name,
    instance,
  }));
  try {
    replaceFile(path, JSON.stringify({ ...entry, ancestors }));
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw ioError(`cannot write ${path}`, error);
  }
  return () => {
    try {
      if (before === undefined) removeFile(path);
      else replaceFile(path, before);
    } catch (error) {
      log("warn", `${path} is newer than the registry`, messageOf(error));
    }
  };
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
  const added = new Map<string, OwnRecord["ancestors"]>();
  const found: string[] = [];
  let table = known;
  for (const { ancestors, ...entry } of livingRecords(base)) {
    const old = findByName(table, entry.pod_name);
    if (old?.instance === entry.instance) {
      // The copy knows best who the parent is, the record who the Pod is.
      const current = { ...old, ...entry, delegated_from: old.delegated_from };
      table = table.map((other) => (other === old ? current : other));
      if (isReservation(old)) found.push(entry.pod_name);
      continue;
    }
    if (old !== undefined) table = release(table, old.pod_name, old.instance);
    table = [...table, entry];
    added.set(entry.pod_name, ancestors);
    found.push(entry.pod_name);
  }
  const isThere = (parent: OwnRecord["ancestors"][number]): boolean =>
    findByName(table, parent.pod_name)?.instance === parent.instance;
  const linked = table.map((entry) => {
    const ancestors = added.get(entry.pod_name);
    if (ancestors === undefined) return entry;
    return { ...entry, delegated_from: ancestors.find(isThere)?.pod_name ?? null };
  });
  return { table: linked, found };
}

/** The own records of all Pods that hold their life lock. */
function livingRecords(base: string): OwnRecord[] {
  const records: OwnRecord[] = [];
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

function parseRecord(base: string, name: string, text: string): OwnRecord {
  try {
    const parsed = OwnRecordSchema.safeParse(JSON.parse(text));
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
