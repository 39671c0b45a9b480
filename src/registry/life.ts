/**
 * The life lock: a Pod holds `flock` on `<runtime>/<pod>/lock` from before it registers until its
 * process ends, whatever way it ends. Lock obtainable means nobody lives there. Whoever holds it
 * owns the directory, and only the owner removes it (W14).
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, ioError, PodError } from "../base/errors.ts";
import { removeEmptyDirectory, removeFile } from "../base/files.ts";
import { tryFlock } from "../base/libc.ts";
import { podPaths } from "../base/paths.ts";
import { isStillAt } from "./lock.ts";

/** Attempts against somebody who removes the directory at the same moment. */
const MAX_ATTEMPTS = 20;

/** The held life lock of one Pod directory. */
export class LifeLock {
  readonly directory: string;
  readonly #path: string;
  #fd: number | undefined;

  constructor(directory: string, path: string, fd: number) {
    this.directory = directory;
    this.#path = path;
    this.#fd = fd;
  }

  /** Removes everything in the directory but the lock and the names in `keep`. */
  clear(keep: readonly string[] = []): void {
    for (const name of readdirSync(this.directory)) {
      if (name === "lock" || keep.includes(name)) continue;
      rmSync(join(this.directory, name), { recursive: true, force: true });
    }
  }

  /**
   * Removes the directory with all in it and gives the lock up. The lock file goes last: a newcomer
   * that finds the directory makes its own lock in it, and then the directory stays.
   */
  removeDirectory(): void {
    try {
      if (this.#fd === undefined || !isStillAt(this.#fd, this.#path)) return;
      this.clear();
      removeFile(this.#path);
      removeEmptyDirectory(this.directory);
    } finally {
      this.release();
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
 * Undefined when a live process holds it.
 */
export function takeLife(base: string, name: string): LifeLock | undefined {
  const { directory, lock } = podPaths(base, name);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    try {
      mkdirSync(directory, { mode: 0o700 });
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw ioError(`create runtime dir ${directory}`, error);
    }
    const held = lockExisting(directory, lock, constants.O_CREAT);
    if (held !== "vanished") return held;
  }
  throw new PodError("io", `${directory} keeps disappearing; is something cleaning ${base}?`);
}

/** As `takeLife`, but only for a directory that exists; undefined when it is held or not there. */
export function takeLifeIfPresent(base: string, name: string): LifeLock | undefined {
  const { directory, lock } = podPaths(base, name);
  const held = lockExisting(directory, lock, constants.O_CREAT);
  return held === "vanished" ? undefined : held;
}

/** What a look at a life lock tells, without keeping it. */
export type LifeState = "held" | "free" | "absent";

/** Looks whether somebody holds the life lock of Pod `name`; makes nothing. */
export function lifeState(base: string, name: string): LifeState {
  const { directory, lock } = podPaths(base, name);
  const held = lockExisting(directory, lock, 0);
  if (held === undefined) return "held";
  if (held === "vanished") return "absent";
  held.release();
  return "free";
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
