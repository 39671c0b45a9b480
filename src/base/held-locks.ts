/**
 * Who holds `flock` on the files below a directory, asked of the kernel (proc(5), `fd` and `fdinfo`).
 * It also sees files that were deleted since, which no path leads to any more. Nothing is opened, locked
 * or signalled. Where there is no /proc, nobody is found; processes of other users stay unseen.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** One lock that a process holds. */
export interface HeldFlock {
  readonly pid: number;
  /** The file as the kernel names it now, without the mark of deletion. */
  readonly path: string;
  /** True when the file has no name any more. */
  readonly deleted: boolean;
}

/** What proc(5) puts behind the name of a deleted file. */
const DELETED = " (deleted)";

/** Descriptors looked at in one process; more is no Pod. */
const MAX_DESCRIPTORS = 10_000;

/** All locks held below `directory`, a canonical path, by processes that see the files we see. */
export function heldFlocks(directory: string): HeldFlock[] {
  const prefix = directory.endsWith("/") ? directory : `${directory}/`;
  const pids = namesIn("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => flocksOf(pid, prefix));
}

function flocksOf(pid: string, prefix: string): HeldFlock[] {
  const found: HeldFlock[] = [];
  for (const fd of namesIn(`/proc/${pid}/fd`).slice(0, MAX_DESCRIPTORS)) {
    const target = linkOf(`/proc/${pid}/fd/${fd}`);
    if (target?.startsWith(prefix) !== true || !holdsFlock(pid, fd)) continue;
    // In another mount namespace the same words name another file.
    if (linkOf(`/proc/${pid}/ns/mnt`) !== linkOf("/proc/self/ns/mnt")) return [];
    const deleted = target.endsWith(DELETED);
    const path = deleted ? target.slice(0, -DELETED.length) : target;
    found.push({ pid: Number(pid), path, deleted });
  }
  return found;
}

/** A line `lock: 1: FLOCK ADVISORY WRITE …` is there for the descriptor through which the lock is held. */
function holdsFlock(pid: string, fd: string): boolean {
  try {
    return /^lock:\s.*\bFLOCK\b/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"));
  } catch {
    return false;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // gone, not ours, or no /proc
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** The command line of a process for people, cut to `limit` characters; empty when it cannot be read. */
export function commandOf(pid: number, limit = 80): string {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
    return words.length > limit ? `${words.slice(0, limit)}…` : words;
  } catch {
    return "";
  }
}

/** The state of a process as proc(5) writes it, for example `T (stopped)`; empty when there is none. */
export function runStateOf(pid: number): string {
  try {
    return /^State:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  } catch {
    return "";
  }
}
