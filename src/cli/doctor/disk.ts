/**
 * The file systems below the base directories: kind, space, locks, and how long a Pod's name may be.
 * The only thing written is one empty file of our own, for the time of a lock.
 */
import { closeSync, constants, openSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { messageOf, remedyOf } from "../../base/errors.ts";
import { removeFile } from "../../base/files.ts";
import { tryFlock } from "../../base/libc.ts";
import { MAX_SOCKET_PATH_BYTES } from "../../base/paths.ts";
import { networkKind } from "../../registry/surroundings.ts";
import { type Finding, ok, problem, quoted, warning } from "./finding.ts";

/** Names of the files that try the locks; no Pod can have such a name. */
export const PROBE_PREFIX = ".doctor-";

/** Kinds by the number that statfs(2) gives (linux/magic.h). */
const LOCAL_KINDS: Readonly<Record<number, string>> = {
  0xef53: "ext4",
  0x58465342: "XFS",
  0x9123683e: "Btrfs",
  0x01021994: "tmpfs",
  0x858458f6: "ramfs",
  0x794c7630: "overlay",
  0x2fc12fc1: "ZFS",
  0xf2f52010: "F2FS",
  0xca451a4e: "bcachefs",
};

/** What statfs(2) tells. */
export interface SpaceFacts {
  readonly path: string;
  readonly type: number;
  readonly freeBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** Asks the file system of an existing path. Throws what the system says. */
export function spaceFacts(path: string): SpaceFacts {
  const { type, bavail, bsize, files, ffree } = statfsSync(path);
  return {
    path,
    type: type >>> 0,
    freeBytes: bavail * bsize,
    totalInodes: files,
    freeInodes: ffree,
  };
}

/** Network file systems keep locks to one machine, or to none (W6). */
export function checkKind({ path, type }: SpaceFacts, platform: string): Finding {
  if (platform !== "linux") return ok("file-system", `kind not known on ${platform}`);
  const network = networkKind(type);
  if (network !== undefined) {
    return warning(
      "file-system",
      `${path} is on ${network}, where locks may not reach other machines or be lost`,
      "set INSOMNIA_RUNTIME_DIR to a directory on a local disk",
    );
  }
  const kind = LOCAL_KINDS[type] ?? `of kind 0x${type.toString(16)}`;
  return ok("file-system", `${path} is on a local file system (${kind})`);
}

const MIB = 1024 * 1024;
/** Below the first a Pod cannot work, below the second it soon may not. */
const MIN_BYTES = MIB;
const LOW_BYTES = 64 * MIB;
const MIN_INODES = 16;
const LOW_INODES = 1000;

/** Space and inodes for what a Pod writes. */
export function checkSpace(check: string, facts: SpaceFacts): Finding {
  const { path, freeBytes, totalInodes, freeInodes } = facts;
  const size = `${(freeBytes / MIB).toFixed(freeBytes < 10 * MIB ? 1 : 0)} MiB`;
  // Some file systems make inodes as they need them and report none at all.
  const inodes = totalInodes === 0 ? Number.POSITIVE_INFINITY : freeInodes;
  const count = totalInodes === 0 ? "" : ` and ${freeInodes} inodes`;
  const finding = `${size}${count} free on the file system of ${path}`;
  const advice = `free some: see df -h ${quoted(path)} and df -i ${quoted(path)}`;
  if (freeBytes < MIN_BYTES || inodes < MIN_INODES)
    return problem(check, `only ${finding}`, advice);
  if (freeBytes < LOW_BYTES || inodes < LOW_INODES)
    return warning(check, `only ${finding}`, advice);
  return ok(check, finding);
}

/** How a trial of the locks came out. */
type LockTrial =
  | { readonly outcome: "works" }
  | { readonly outcome: "not exclusive" }
  | { readonly outcome: "unsupported"; readonly errno: number }
  | { readonly outcome: "no file"; readonly why: string };

/** Other doctors may remove a file that nobody has locked, or lock it, at the very moment. */
const LOCK_TRIALS = 5;

/** Takes a lock on a new file in `directory`, sees that it excludes another, gives it back. */
export function tryLocks(directory: string): LockTrial {
  let trial = tryLocksOnce(directory);
  for (let more = 1; trial.outcome !== "works" && more < LOCK_TRIALS; more += 1) {
    trial = tryLocksOnce(directory);
  }
  return trial;
}

function tryLocksOnce(directory: string): LockTrial {
  const path = join(directory, `${PROBE_PREFIX}${crypto.randomUUID()}`);
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const open: number[] = [];
  try {
    const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    open.push(fd);
    const first = tryFlock(fd);
    if (typeof first === "object") return { outcome: "unsupported", errno: first.errno };
    const other = openSync(path, O_RDWR | O_NOFOLLOW);
    open.push(other);
    if (tryFlock(other) !== "busy") return { outcome: "not exclusive" };
    closeSync(open.shift() ?? fd);
    return { outcome: tryFlock(other) === "taken" ? "works" : "not exclusive" };
  } catch (error) {
    return { outcome: "no file", why: `${messageOf(error)}${remedyOf(error)}` };
  } finally {
    for (const fd of open) closeSync(fd);
    try {
      removeFile(path);
    } catch {
      // Reported as a leftover by the next one.
    }
  }
}

/** Without locks nothing of the registry's promises can be kept. */
export function checkLocks(directory: string, trial: LockTrial): Finding {
  const advice = "set INSOMNIA_RUNTIME_DIR to a directory on a local disk";
  switch (trial.outcome) {
    case "works":
      return ok("locks", `flock works in ${directory}: taken, exclusive, released`);
    case "not exclusive":
      return problem("locks", `flock in ${directory} does not exclude others`, advice);
    case "unsupported":
      return problem("locks", `${directory} does not support flock (errno ${trial.errno})`, advice);
    case "no file":
      return problem("locks", `no file can be made in ${directory}: ${trial.why}`, advice);
  }
}

/** Longest name a Pod may have (W34). */
const MAX_NAME = 64;
const SHORT_NAME = 24;

/** How many bytes are left for a Pod's name in its socket path (W35). */
export function checkSocketPaths(base: string): Finding {
  const room = MAX_SOCKET_PATH_BYTES - Buffer.byteLength(join(base, "/", "sock"));
  const longest = Math.min(MAX_NAME, room - 1);
  const limit = `${base} leaves ${Math.max(0, longest)} of ${MAX_NAME} bytes for a Pod's name (socket paths have at most ${MAX_SOCKET_PATH_BYTES})`;
  const advice = "set INSOMNIA_RUNTIME_DIR to a shorter path";
  if (longest < 1) return problem("socket-paths", `no Pod can listen: ${limit}`, advice);
  if (longest < SHORT_NAME) return warning("socket-paths", limit, advice);
  return ok("socket-paths", limit);
}
