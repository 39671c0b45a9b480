/**
 * The append-only file of one session, held under its lock from before it is read until it is closed:
 * two writers never meet (W13). An entry is in the file when `append` returns and on the disk when the
 * next `sync` resolves. What could not be written whole is taken back, so that the chain stays good.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  renameSync,
} from "node:fs";
import { join } from "node:path";
import { ioError, messageOf, PodError } from "../base/errors.ts";
import {
  isStillAt,
  openRegular,
  removeFile,
  syncDataAsync,
  syncDirectory,
  writeAll,
} from "../base/files.ts";
import { tryFlock } from "../base/libc.ts";
import { type Head, sealEntry } from "./chain.ts";
import type { Entry } from "./entry.ts";
import { logPath, sessionOf } from "./log-names.ts";
import { isSetup } from "./setup.ts";

/** Ends the name of a log that is not whole yet: no list shows it. */
const UNLISTED = ".part";
/** Age at which one that nobody writes was left by a process that died. */
const LEFT_MS = 60_000;

/** A log that this process writes. */
export class SessionLog {
  readonly id: string;
  readonly path: string;
  readonly #directory: string;
  #fd: number;
  #head: Head;
  /** Where the good entries end: everything behind it is a failed write. */
  #end: number;
  /** Where the last setup begins; ends of runs say so, for those who list sessions. */
  #setupAt: number | undefined;
  #synced: number;
  #syncing: Promise<void> | undefined;
  /** Calls of `sync` that are under way: they need the descriptor. */
  #waiting = 0;
  #isClosed = false;
  #isNew: boolean;
  #isListed: boolean;
  /** Set when the disk said that it may have lost what it had taken: then nothing is certain. */
  #lost: string | undefined;

  /** Takes over an open, locked descriptor; use `createLog` or `openSession`. */
  constructor(
    directory: string,
    id: string,
    fd: number,
    at: {
      readonly head: Head;
      readonly end: number;
      readonly setupAt?: number | undefined;
      readonly isNew: boolean;
      readonly unlisted?: boolean;
    },
  ) {
    this.id = id;
    this.path = logPath(directory, id);
    this.#directory = directory;
    this.#fd = fd;
    this.#head = at.head;
    this.#end = at.end;
    this.#setupAt = at.setupAt;
    this.#synced = at.isNew ? 0 : at.end;
    this.#isNew = at.isNew;
    this.#isListed = at.unlisted !== true;
  }

  /** Hash of the last entry. */
  get head(): Head {
    return this.#head;
  }

  /**
   * Appends entries in one write. Throws `session_store` when they could not all be written; then
   * none of them counts.
   */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    if (this.#isClosed) throw this.#failure("it was closed");
    if (this.#lost !== undefined) throw this.#failure(this.#lost);
    const lines: string[] = [];
    let head = this.#head;
    let setupAt = this.#setupAt;
    let end = this.#end;
    for (const entry of entries) {
      const sealed = sealEntry(withSetupAt(entry, setupAt), head);
      if (isSetup(entry)) setupAt = end;
      lines.push(sealed.line);
      end += Buffer.byteLength(sealed.line);
      ({ head } = sealed);
    }
    const bytes = Buffer.from(lines.join(""));
    try {
      // A rest of an earlier failure that could not be taken back then.
      if (fstatSync(this.#fd).size > this.#end) ftruncateSync(this.#fd, this.#end);
      writeAll(this.#fd, bytes);
    } catch (error) {
      this.#takeBack();
      throw this.#failure(messageOf(error), error);
    }
    this.#head = head;
    this.#setupAt = setupAt;
    this.#end = end;
  }

  /**
   * Resolves when all that was appended before is on the disk. Calls at the same time share one
   * flush. Rejects with `session_store`; after a failed flush the log takes no more entries, because
   * the kernel may have dropped what it could not write.
   */
  async sync(): Promise<void> {
    const wanted = this.#end;
    this.#waiting += 1;
    try {
      while (this.#synced < wanted) {
        this.#syncing ??= this.#flush().finally(() => (this.#syncing = undefined));
        await this.#syncing;
      }
    } finally {
      this.#waiting -= 1;
      if (this.#isClosed) this.#letGo();
    }
  }

  async #flush(): Promise<void> {
    if (this.#lost !== undefined) throw this.#failure(this.#lost);
    if (this.#fd < 0) throw this.#failure("it was closed");
    const end = this.#end;
    try {
      await syncDataAsync(this.#fd);
      if (this.#isNew) syncDirectory(this.#directory);
    } catch (error) {
      this.#lost = messageOf(error);
      throw this.#failure(this.#lost, error);
    }
    this.#isNew = false;
    this.#synced = Math.max(this.#synced, end);
  }

  /** Why the disk may have lost something, if so: the conversation must go on in another log. */
  get lost(): string | undefined {
    return this.#lost;
  }

  /**
   * False when somebody who does not know the lock has appended, cut or replaced the file: what stands
   * there is no longer what this process wrote.
   */
  isUntouched(): boolean {
    try {
      return fstatSync(this.#fd).size === this.#end && isStillAt(this.#fd, this.path);
    } catch {
      return false;
    }
  }

  /** Gives a log that was made `unlisted` its name. Throws `session_store`. */
  publish(): void {
    if (this.#isListed) return;
    try {
      renameSync(this.path + UNLISTED, this.path);
      this.#isListed = true;
      syncDirectory(this.#directory);
    } catch (error) {
      throw this.#failure(messageOf(error), error);
    }
  }

  /** Gives the log up and removes it. */
  discard(): void {
    this.close();
    removeFile(this.#isListed ? this.path : this.path + UNLISTED);
  }

  /**
   * Takes no more entries and gives the log up, at once or when all who wait for a `sync` have been
   * served; safe to call again.
   */
  close(): void {
    this.#isClosed = true;
    this.#letGo();
  }

  /** A flush that is under way would reach whatever has the number of a descriptor that was closed. */
  #letGo(): void {
    if (this.#waiting > 0 || this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    closeSync(fd);
  }

  #takeBack(): void {
    try {
      ftruncateSync(this.#fd, this.#end);
    } catch {
      // The next append tries again; until then the rest is an unfinished end.
    }
  }

  #failure(reason: string, cause?: unknown): PodError {
    return new PodError("session_store", `session log ${this.path} cannot be written: ${reason}`, {
      cause,
    });
  }
}

/** The entry with the place of the last setup, if it is of a kind that tells it. */
function withSetupAt(entry: Entry, setup_at: number | undefined): Entry {
  if (setup_at === undefined) return entry;
  const { kind } = entry;
  const tells = kind === "run_completed" || kind === "run_errored" || kind === "llm_usage";
  return tells ? { ...entry, setup_at } : entry;
}

/**
 * Makes the log of a new session (0600) and locks it. One that is `unlisted` is found by nobody until
 * it is published, so that a crash while it is filled leaves no half conversation. Throws
 * `session_store`.
 */
export function createLog(
  directory: string,
  id: string,
  { unlisted = false }: { readonly unlisted?: boolean } = {},
): SessionLog {
  if (unlisted) removeLeft(directory);
  const path = logPath(directory, id) + (unlisted ? UNLISTED : "");
  let fd: number;
  try {
    const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    fd = openSync(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    const what = ioError(`session log ${path} cannot be made`, error);
    throw new PodError("session_store", what.message, { cause: error });
  }
  lockLog(fd, path);
  return new SessionLog(directory, id, fd, { head: undefined, end: 0, isNew: true, unlisted });
}

/** Removes logs that were never published; what cannot be removed stays for the next one to try. */
function removeLeft(directory: string): void {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return; // complained of by whoever makes a log in it
  }
  for (const name of names) {
    if (!name.endsWith(UNLISTED) || sessionOf(name.slice(0, -UNLISTED.length)) === undefined)
      continue;
    try {
      removeIfLeft(join(directory, name));
    } catch {
      // No log of ours, or not to be removed: it takes no room in any list.
    }
  }
}

function removeIfLeft(path: string): void {
  const fd = openRegular(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const isOld = Date.now() - fstatSync(fd).mtimeMs > LEFT_MS;
    if (isOld && tryFlock(fd) === "taken") removeFile(path);
  } finally {
    closeSync(fd);
  }
}

/** Takes the lock of a log; closes `fd` and throws `session_conflict` when somebody writes it. */
export function lockLog(fd: number, path: string): void {
  const outcome = tryFlock(fd);
  if (outcome === "taken") return;
  closeSync(fd);
  if (outcome === "busy") {
    throw new PodError(
      "session_conflict",
      `session log ${path} is being written by another process`,
    );
  }
  throw new PodError(
    "session_store",
    `the file system of ${path} does not support locks (errno ${outcome.errno}); choose another with --store`,
  );
}
