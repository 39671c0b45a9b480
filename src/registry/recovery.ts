/**
 * Finds the live Pods again when `pods.json` is lost or damaged (W3): each keeps its own allocation in
 * its directory, and a held life lock proves that it lives. Written under the registry lock before
 * the table, so that no registered Pod is ever without it.
 */
import { readdirSync, realpathSync } from "node:fs";
import { errnoCode, ioError, isPodError, messageOf, PodError } from "../base/errors.ts";
import { readIfExists, removeFile, replaceFile } from "../base/files.ts";
import { heldFlocks } from "../base/held-locks.ts";
import { log } from "../base/log.ts";
import { isPodName, pathExists, podPaths } from "../base/paths.ts";
import { stateOf } from "../base/process.ts";
import { canonicalPath } from "../scope/rule.ts";
import { type Allocation, allocationSchema, isReservation, ownerOf } from "./allocation.ts";
import { lifeState } from "./life.ts";
import { type Allocations, findByName, fitsInto } from "./kinship.ts";
import { release } from "./operations.ts";

/**
 * Writes the entry of a Pod into its directory. Nothing without a directory, or for a reservation. The
 * result takes it back, for when the table cannot be written after all; it never throws.
 */
export function keepOwnRecord(base: string, entry: Allocation): () => void {
  if (isReservation(entry)) return () => undefined;
  const path = podPaths(base, entry.pod_name).allocation;
  const before = readIfExists(path);
  try {
    replaceFile(path, JSON.stringify(entry));
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
  return { table: linkToAncestors(table), found };
}

/**
 * `table`, from which the dead are gone, with the Pods that live and have no entry: somebody put an
 * older file in its place. For every operation that grants, so it costs one look at the directory
 * when none is missing. Throws `registry_corrupt` when such a Pod's own record cannot be used.
 */
export function withLostPods(
  base: string,
  table: Allocations,
): { readonly table: Allocations; readonly found: readonly string[] } {
  const known = new Set(table.map((entry) => entry.pod_name));
  const unknown = readdirSync(base).filter((name) => !known.has(name) && isPodName(name));
  const lost = unknown.toSorted().flatMap((name): Allocation[] => {
    const record = livingRecordOf(base, name);
    // A Pod that is just starting may hold the directory of a dead one, whose record still lies there.
    if (record === undefined || stateOf(ownerOf(record)) === "dead") return [];
    return [{ ...record, delegated_from: null }];
  });
  if (lost.length === 0) return { table, found: [] };
  const found = lost.map((entry) => entry.pod_name);
  return { table: linkToAncestors([...table, ...lost]), found };
}

/**
 * The entries below the nearest of their ancestors that is there and has all that they hold: what was
 * delegated lies within it, and a root that came back alone may hold what that one never had (I3).
 * Without one they keep the parent they have: a reservation of an earlier version has no lineage.
 */
function linkToAncestors(table: Allocations): Allocations {
  return table.map((entry) => {
    const parent = entry.lineage.find(({ pod_name, instance }) => {
      const ancestor = findByName(table, pod_name);
      return ancestor?.instance === instance && fitsInto(entry, ancestor.scope_allow);
    });
    return parent === undefined ? entry : { ...entry, delegated_from: parent.pod_name };
  });
}

/** A process that holds the life lock of a Pod directory that was deleted under it. */
interface HiddenPod {
  readonly name: string;
  readonly pid: number;
}

/** The base as the kernel names what is in it, also when it was deleted. */
export function canonicalBase(base: string): string {
  try {
    return realpathSync(base);
  } catch {
    const canonical = canonicalPath(base);
    return canonical.ok ? canonical.path : base;
  }
}

/** Live Pods without a directory, found by the locks that the kernel knows (Linux). About 10 ms. */
export function podsWithoutDirectory(base: string): HiddenPod[] {
  const root = canonicalBase(base);
  return heldFlocks(root).flatMap(({ pid, path, deleted }) => {
    const [name = "", file, ...more] = path.slice(root.length + 1).split("/");
    const isLife = deleted && file === "lock" && more.length === 0 && isPodName(name);
    return isLife ? [{ name, pid }] : [];
  });
}

/**
 * Throws `registry_corrupt` when a Pod lives of which neither `table`, put together after a loss, nor
 * a directory tells what it may write: whoever deleted the runtime directory did not end the Pods.
 */
export function refuseHiddenPods(base: string, table: Allocations): void {
  const hidden = podsWithoutDirectory(base).filter(
    ({ name, pid }) => !table.some((entry) => entry.pod_name === name && entry.pid === pid),
  );
  const [first] = hidden;
  if (first === undefined) return;
  const names = hidden.map(({ name, pid }) => `\`${name}\` (pid ${pid})`).join(", ");
  throw new PodError(
    "registry_corrupt",
    `the files of live pods were deleted from ${base}, so nobody knows what they may write: ${names}; ` +
      `end them (kill ${hidden.map(({ pid }) => pid).join(" ")}) and retry`,
    { data: { pod: first.name, pid: first.pid } },
  );
}

/** The own records of all Pods that hold their life lock. */
function livingRecords(base: string): Allocation[] {
  return readdirSync(base)
    .filter(isPodName)
    .toSorted()
    .flatMap((name) => livingRecordOf(base, name) ?? []);
}

/** The record of a Pod that holds its life lock; undefined when nobody does, or it is only starting. */
function livingRecordOf(base: string, name: string): Allocation | undefined {
  const { allocation, socket } = podPaths(base, name);
  if (!isHeld(base, name)) return undefined;
  const text = readIfExists(allocation);
  if (text !== undefined) return parseRecord(base, name, text);
  // Without a socket it is only starting: not registered, or reserved, and then it will be refused.
  if (pathExists(socket)) throw unusable(base, name);
  return undefined;
}

/** A directory that nobody could live in is none; one that may not be looked at is no answer. */
function isHeld(base: string, name: string): boolean {
  try {
    return lifeState(base, name) === "held";
  } catch (error) {
    const errno = isPodError(error) ? error.data.errno : undefined;
    if (errno === "EACCES" || errno === "EPERM") throw error;
    return false;
  }
}

function parseRecord(base: string, name: string, text: string): Allocation {
  try {
    const parsed = allocationSchema().safeParse(JSON.parse(text));
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
    `live pod \`${name}\` is not in pods.json and its own record ${allocation} cannot be used, so ` +
      `nobody knows what it may write; end it (${victim}) and retry`,
  );
}
