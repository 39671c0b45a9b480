/**
 * The machine-wide lock of the registry: `flock(2)` on `pods.lock`, a file that is never renamed or
 * removed. Attempts never block the event loop, the wait is bounded, and the work under the lock is
 * synchronous, so it is never held across an `await` (W7). It is taken by one operation at a time,
 * and who has just had it lets others go first.
 */
import { closeSync, constants, openSync } from "node:fs";
import { dirname } from "node:path";
import { ioError, PodError } from "../base/errors.ts";
import { isStillAt } from "../base/files.ts";
import { tryFlock, trySharedFlock } from "../base/libc.ts";

/** How long an operation waits for the lock by default (later reference: 10 s). */
export const LOCK_WAIT_MS = 10_000;

/** Longest pause between two attempts; the first ones are shorter, because holders need about 1 ms. */
const MAX_PAUSE_MS = 10;

/**
 * How long a process that has just had the lock stays away when others wait for it: long enough for
 * most of them to try. Without it one that does many operations in a row, and needs the lock again
 * sooner than anybody looks, would keep all others out for as long as it goes on.
 */
const AFTER_YOU_MS = MAX_PAUSE_MS + 1;

/** The lock while it is held. */
interface HeldLock {
  /**
   * Throws `registry_locked` when the lock file was removed or replaced meanwhile: then somebody else
   * may be at work. Call it before anything is written.
   */
  assertHeld(): void;
}

/** Exclusive access to the registry across threads of work in this process and across processes. */
export class RegistryLock {
  readonly #path: string;
  readonly #waitMs: number;
  /** Tail of the in-process queue: two descriptors of one process would exclude each other for ever. */
  #queue: Promise<unknown> = Promise.resolve();
  #lastHeld = Number.NEGATIVE_INFINITY;

  constructor(path: string, waitMs: number = LOCK_WAIT_MS) {
    this.#path = path;
    this.#waitMs = waitMs;
  }

  /**
   * Runs `work` under the lock and returns what it returns. Throws `registry_locked`, naming the
   * lock, when it could not be had in time, and `io` where the file system has no locks.
   */
  async hold<Result>(work: (lock: HeldLock) => Result): Promise<Result> {
    const deadline = performance.now() + this.#waitMs;
    const turn = this.#queue.then(async () => {
      // Without a wait for the lock nothing here would ever let the event loop turn, and a row of
      // operations, when many children die at once, would block it for the length of all of them.
      await new Promise(setImmediate);
      return await this.#locked(work, deadline);
    });
    this.#queue = turn.catch(() => undefined);
    return await turn;
  }

  async #locked<Result>(work: (lock: HeldLock) => Result, deadline: number): Promise<Result> {
    if (performance.now() - this.#lastHeld < AFTER_YOU_MS && this.#othersWait()) {
      await Bun.sleep(AFTER_YOU_MS);
    }
    const fd = await this.#take(deadline);
    try {
      return work({ assertHeld: () => this.#assertHeld(fd) });
    } finally {
      closeSync(fd); // ends the lock
      this.#lastHeld = performance.now();
    }
  }

  /** The descriptor that holds the lock; ever longer pauses lie between the attempts. */
  async #take(deadline: number): Promise<number> {
    let mark: number | undefined;
    try {
      for (let pause = 1; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
        const fd = this.#attempt();
        if (fd !== undefined) return fd;
        if (performance.now() >= deadline) {
          throw new PodError(
            "registry_locked",
            `timed out waiting for pod registry lock ${this.#path}: other processes have held it for ` +
              `over ${this.#waitMs} ms (a stopped pod? see: fuser ${this.#path})`,
          );
        }
        mark ??= this.#onDirectory(trySharedFlock);
        await Bun.sleep(pause);
      }
    } finally {
      if (mark !== undefined) closeSync(mark);
    }
  }

  /** True when somebody waits: all who do share a lock on the directory, which ends with them. */
  #othersWait(): boolean {
    const alone = this.#onDirectory(tryFlock);
    if (alone === undefined) return true;
    closeSync(alone);
    return false;
  }

  /**
   * A descriptor of the lock's directory with this lock on it; undefined when it cannot be had. It
   * only says that somebody waits: nothing but manners depends on it.
   */
  #onDirectory(lock: typeof tryFlock): number | undefined {
    let fd: number;
    try {
      fd = openSync(dirname(this.#path), constants.O_RDONLY | constants.O_DIRECTORY);
    } catch {
      return undefined; // the attempt at the lock itself says why
    }
    if (lock(fd) === "taken") return fd;
    closeSync(fd);
    return undefined;
  }

  #assertHeld(fd: number): void {
    if (isStillAt(fd, this.#path)) return;
    throw new PodError(
      "registry_locked",
      `pod registry lock ${this.#path} was removed or replaced while it was held; ` +
        "nothing was changed, try again",
    );
  }

  /** A descriptor that holds the lock, or undefined when somebody else holds it. */
  #attempt(): number | undefined {
    let fd: number;
    try {
      fd = openSync(this.#path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    } catch (error) {
      throw ioError(`I/O error on pods.json: cannot open pod registry lock ${this.#path}`, error);
    }
    const outcome = tryFlock(fd);
    if (outcome === "taken" && isStillAt(fd, this.#path)) return fd;
    closeSync(fd);
    if (typeof outcome === "object") {
      throw new PodError(
        "io",
        `I/O error on pods.json: the file system of ${this.#path} does not support locks (errno ${outcome.errno}); ` +
          "set INSOMNIA_RUNTIME_DIR to a directory on a local disk",
      );
    }
    return undefined;
  }
}
