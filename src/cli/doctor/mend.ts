/**
 * Carries out repairs. Each looks again before it acts, because what was found may be mended by
 * another doctor or used by a new Pod meanwhile. Never ends a process, never touches what is not ours.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  rmdirSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { errnoCode, PodError } from "../../base/errors.ts";
import { removeFile } from "../../base/files.ts";
import { tryFlock } from "../../base/libc.ts";
import { ensurePrivateDirectory } from "../../base/paths.ts";
import { GONE_PREFIX, sweepGone } from "../../registry/life.ts";
import { RegistryLock } from "../../registry/lock.ts";
import { Registry } from "../../registry/registry.ts";
import { inspectTable, tablePaths } from "../../registry/table.ts";
import { removeAbandonedRooms } from "../../tools/shell/room.ts";
import { PROBE_PREFIX } from "./disk.ts";
import { listed, type Mend } from "./finding.ts";

/** How long a repair waits for the registry lock. */
const LOCK_WAIT_MS = 5000;

/** Does it and says what was done; undefined when there was nothing left to do. Throws why it could not. */
export async function mend(what: Mend): Promise<string | undefined> {
  switch (what.kind) {
    case "make-directory":
      ensurePrivateDirectory(what.path);
      return `made ${what.path} (mode 0700)`;
    case "chmod":
      return changeMode(what.path, what.mode, what.follow);
    case "registry":
      return await mendRegistry(what.base);
    case "remove-temporary":
      return await removeTemporary(what.base, what.name);
    case "sweep":
      return await sweep(what.base);
    case "remove-rooms":
      return await removeRooms(what.base);
    case "remove-empty":
      return removeEmpty(what.path);
  }
}

/** open(2): opens what is there, whatever its mode and kind, to look at it and to change its mode. */
const O_PATH = 0o10000000;

/** A link in place of anything but a base directory leads elsewhere, and is left alone. */
function changeMode(path: string, mode: number, follow: boolean): string | undefined {
  if (process.platform !== "linux") return changeModeAt(path, mode, path);
  const fd = openSync(path, O_PATH | (follow ? 0 : constants.O_NOFOLLOW));
  try {
    // What was opened is what is changed, whatever the path leads to by then.
    return changeModeAt(path, mode, `/proc/self/fd/${fd}`, fstatSync(fd));
  } finally {
    closeSync(fd);
  }
}

function changeModeAt(
  path: string,
  mode: number,
  at: string,
  info: Stats = lstatSync(at),
): string | undefined {
  if (info.isSymbolicLink() || (info.mode & 0o777) === mode) return undefined;
  if (info.uid !== process.geteuid?.()) return undefined;
  const from = (info.mode & 0o777).toString(8).padStart(4, "0");
  chmodSync(at, mode);
  return `changed the mode of ${path} from ${from} to ${mode.toString(8).padStart(4, "0")}`;
}

/** The registry's own recovery, as every listing does it: here only what it changed is told. */
async function mendRegistry(base: string): Promise<string | undefined> {
  const before = inspectTable(base);
  const names = new Set(readdirSync(base));
  const registry = new Registry(base, LOCK_WAIT_MS);
  const { table, reclaimed } = await registry.reclaim();
  const done: string[] = [];
  if (before.kind !== "ours") {
    done.push(
      `rebuilt ${tablePaths(base).file} (it was ${before.kind}) with ${table.length} live Pods`,
    );
  } else {
    const known = new Set(before.allocations.map((entry) => entry.instance));
    const back = table.filter((entry) => !known.has(entry.instance));
    if (back.length > 0) done.push(`brought back ${listed(back.map((entry) => entry.pod_name))}`);
  }
  if (reclaimed.length > 0) {
    done.push(
      `reclaimed what was held for dead ${listed(reclaimed.map((entry) => entry.pod_name))}`,
    );
  }
  const left = new Set(readdirSync(base));
  const dead = new Set(reclaimed.map((entry) => entry.pod_name));
  const removed = [...names].filter(
    (name) => !left.has(name) && !dead.has(name) && !/^(\.|pods\.)/.test(name),
  );
  if (removed.length > 0) done.push(`removed what dead Pods left: ${listed(removed)}`);
  return done.length === 0 ? undefined : done.join("; ");
}

/** Under the lock nobody is writing, so what is there was left. */
async function removeTemporary(base: string, name: string): Promise<string | undefined> {
  const path = join(base, name);
  return await new RegistryLock(tablePaths(base).lock, LOCK_WAIT_MS).hold((lock) => {
    lock.assertHeld();
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
    removeFile(path);
    return `removed ${path}`;
  });
}

async function sweep(base: string): Promise<string | undefined> {
  const count = (): number =>
    readdirSync(base).filter(
      (name) => name.startsWith(GONE_PREFIX) || name.startsWith(PROBE_PREFIX),
    ).length;
  const before = count();
  await sweepGone(base);
  for (const name of readdirSync(base)) {
    if (name.startsWith(PROBE_PREFIX)) removeProbe(join(base, name));
  }
  const removed = before - count();
  return removed > 0 ? `removed ${removed} leftovers from ${base}` : undefined;
}

/** Another doctor may be trying the locks with it at this moment. */
function removeProbe(path: string): void {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch {
    return;
  }
  try {
    if (tryFlock(fd) === "taken") removeFile(path);
  } finally {
    closeSync(fd);
  }
}

/** As the next Pod that runs a command would do it. */
async function removeRooms(base: string): Promise<string | undefined> {
  const { removed, failed } = await removeAbandonedRooms(base);
  if (failed.length > 0) throw new PodError("io", listed(failed, 3));
  if (removed.length === 0) return undefined;
  return `removed what killed Pods left in ${base}: ${listed(removed, 3)}`;
}

/** A Pod that is just making it makes it again (registry/life.ts). */
function removeEmpty(path: string): string | undefined {
  try {
    rmdirSync(path);
    return `removed the empty ${path}`;
  } catch (error) {
    if (["ENOENT", "ENOTEMPTY", "EEXIST"].includes(errnoCode(error) ?? "")) return undefined;
    throw error;
  }
}
