/**
 * The life lock: a Pod holds `flock` on `<runtime>/<pod>/lock` from before it registers until its
 * process ends, whatever way it ends. Lock obtainable means nobody lives there. Whoever holds it
 * owns the directory, and only the owner removes it (W14).
 */
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rm,
  rmdirSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { errnoCode, ioError, PodError } from "../base/errors.ts";
import { isStillAt } from "../base/files.ts";
import { tryFlock } from "../base/libc.ts";
import { podPaths } from "../base/paths.ts";

/** Attempts against somebody who removes the directory at the same moment. */
const MAX_ATTEMPTS = 20;

/** Directories on their way out have names that no Pod can have. */
export const GONE_PREFIX = ".gone-";

/** The held life lock of one Pod directory. */
export class LifeLock {
  readonly directory: string;
  /** The directory was made by the call that took the lock: nobody else can have put anything there. */
  isFresh = false;
  readonly #path: string;
  #fd: number | undefined;

  constructor(directory: string, path: string, fd: number) {
    this.directory = directory;
    this.#path = path;
    this.#fd = fd;
  }

  /** Removes everything in the directory but the lock and the names in `keep`. */
  clear(keep: readonly string[] = []): void {
    try {
      for (const name of readdirSync(this.directory)) {
        if (name === "lock" || keep.includes(name)) continue;
        rmSync(join(this.directory, name), { recursive: true, force: true });
      }
    } catch (error) {
      throw ioError(`cannot clear ${this.directory}`, error);
    }
  }

  /**
   * Takes the directory away from its name in one step, lock and all, and gives the lock up: whoever
   * comes next makes a directory of its own, and never meets half of this one. Returns where it is
   * now; undefined when the name no longer meant our directory.
   */
  moveAside(): string | undefined {
    try {
      if (this.#fd === undefined || !isStillAt(this.#fd, this.#path)) return undefined;
      const gone = join(dirname(this.directory), GONE_PREFIX + crypto.randomUUID());
      renameSync(this.directory, gone);
      return gone;
    } catch (error) {
      throw ioError(`cannot remove ${this.directory}`, error);
    } finally {
      this.release();
    }
  }

  /** Removes the directory with all in it and gives the lock up; nothing when it is not ours any more. */
  removeDirectory(): void {
    const gone = this.moveAside();
    if (gone === undefined) return;
    try {
      rmSync(gone, { recursive: true, force: true });
    } catch {
      // It has no name any more; `sweepGone` tries again.
    }
  }

  /** Gives the lock up and leaves the directory. */
  release(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/**
 * Takes the life lock of Pod `name` below `base`, making the directory (0700) if needed.
 * Undefined when a live process holds it, or looks at it at this very moment.
 */
export function takeLife(base: string, name: string): LifeLock | undefined {
  const { directory } = podPaths(base, name);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    let made = true;
    try {
      mkdirSync(directory, { mode: 0o700 });
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw ioError(`create runtime dir ${directory}`, error);
      made = false;
    }
    const held = takeExisting(base, name);
    if (held === "vanished") continue;
    if (held !== undefined) held.isFresh = made;
    return held;
  }
  throw new PodError("io", `${directory} keeps disappearing; is something cleaning ${base}?`);
}

/** As `takeLife`, but only for a directory that exists; undefined when it is held or not there. */
export function takeLifeIfPresent(base: string, name: string): LifeLock | undefined {
  const held = takeExisting(base, name);
  return held === "vanished" ? undefined : held;
}

function takeExisting(base: string, name: string): LifeLock | undefined | "vanished" {
  const { directory, lock } = podPaths(base, name);
  if (!isPodDirectory(directory)) return "vanished";
  return lockExisting(directory, lock, constants.O_CREAT);
}

/**
 * True for a directory that a Pod made: it has the lock, which is the first thing in it, or nothing.
 * False when there is none. Anything else is not ours to clear, and an error: with a misplaced
 * runtime base it may be somebody's work (W34).
 */
function isPodDirectory(directory: string): boolean {
  let names: string[];
  try {
    // A link would lead the clearing elsewhere.
    if (!lstatSync(directory).isDirectory()) {
      throw new PodError("io", `${directory} is in the way: it is not a directory; remove it`);
    }
    names = readdirSync(directory);
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return false;
    throw error instanceof PodError ? error : ioError(`cannot read ${directory}`, error);
  }
  if (names.length === 0 || names.includes("lock")) return true;
  throw new PodError(
    "io",
    `${directory} was not made by a pod (it contains ${names[0]}), so it is not cleared; ` +
      "choose another pod name or another INSOMNIA_RUNTIME_DIR",
  );
}

/**
 * Removes the directory of Pod `name` if nothing is in it: somebody made it and died before its lock,
 * or is about to lock it, and then makes it anew (`takeLife`). Leaves everything else alone.
 */
export function removeIfEmpty(base: string, name: string): void {
  try {
    rmdirSync(podPaths(base, name).directory);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST", "ENOTDIR", "ENOENT"].includes(errnoCode(error) ?? "")) throw error;
  }
}

/** Deletes what was moved aside, here or by somebody who died before deleting it. Never throws. */
export async function sweepGone(base: string): Promise<void> {
  let names: string[] = [];
  try {
    names = readdirSync(base).filter((name) => name.startsWith(GONE_PREFIX));
  } catch {
    // Nothing to read, nothing to sweep.
  }
  for (const name of names) {
    // Others may sweep the same one; what stays is for the next.
    await remove(join(base, name));
  }
}

/** Off the event loop; resolves whatever came of it. Not `promises.rm`: `promises` costs every Pod 0.2 ms. */
function remove(path: string): Promise<void> {
  return new Promise((resolve) => rm(path, { recursive: true, force: true }, () => resolve()));
}

/** What a look at a life lock tells, without keeping it. */
type LifeState = "held" | "free" | "absent";

/** Looks whether somebody holds the life lock of Pod `name`; makes nothing. */
export function lifeState(base: string, name: string): LifeState {
  const { directory, lock } = podPaths(base, name);
  const held = lockExisting(directory, lock, 0);
  if (held === undefined) return "held";
  if (held === "vanished") return "absent";
  held.release();
  return "free";
}

/**
 * True while a shell command of Pod `name` runs: each holds the lock on `shell.lock` with which it was
 * started, whatever became of the Pod. What cannot be looked at counts as over, as does a Pod that
 * never ran one.
 */
export function commandsLive(base: string, name: string): boolean {
  return isLockHeld(podPaths(base, name).shellLock);
}

/** True while somebody holds the lock on the file at `path`; one that cannot be opened is free. */
export function isLockHeld(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch {
    return false;
  }
  try {
    return tryFlock(fd) === "busy";
  } finally {
    closeSync(fd);
  }
}

function lockExisting(
  directory: string,
  path: string,
  create: number,
): LifeLock | undefined | "vanished" {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | create, 0o600);
  } catch (error) {
    if (errnoCode(error) === "ENOENT" || errnoCode(error) === "ENOTDIR") return "vanished";
    throw ioError(`cannot open ${path}`, error);
  }
  const outcome = tryFlock(fd);
  if (outcome === "taken") {
    if (isStillAt(fd, path)) return new LifeLock(directory, path, fd);
    closeSync(fd);
    return "vanished";
  }
  closeSync(fd);
  if (outcome === "busy") return undefined;
  throw new PodError(
    "io",
    `the file system of ${path} does not support locks (errno ${outcome.errno})`,
  );
}
