/**
 * The append-only file of one session, held under its lock from before it is read until it is closed:
 * two writers never meet (W13). An entry is in the file when `append` returns and on the disk when the
 * next `sync` resolves. What could not be written whole is taken back, so that the chain stays good.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync } from "node:fs";
import { join } from "node:path";
import { ioError, messageOf, PodError } from "../base/errors.ts";
import { syncDataAsync, syncDirectory, writeAll } from "../base/files.ts";
import { tryFlock } from "../base/libc.ts";
import { pathExists } from "../base/paths.ts";
import { type Head, sealEntry } from "./chain.ts";
import type { Entry } from "./entry.ts";

const SUFFIX = ".jsonl";
const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a session id as we write it. */
export function isSessionId(text: string): boolean {
  return SESSION_ID.test(text);
}

/** Path of a session's log; throws `invalid_argument` for what is not a session id. */
export function logPath(directory: string, id: string): string {
  if (isSessionId(id)) return join(directory, id + SUFFIX);
  throw new PodError(
    "invalid_argument",
    `not a session id: ${id.slice(0, 80)} (expected a UUID; see: pod sessions)`,
  );
}

/** The session whose log has this file name; undefined for every other file. */
export function sessionOf(fileName: string): string | undefined {
  if (!fileName.endsWith(SUFFIX)) return undefined;
  const stem = fileName.slice(0, -SUFFIX.length);
  return isSessionId(stem) ? stem : undefined;
}

/** A log that this process writes. */
export class SessionLog {
  readonly id: string;
  readonly path: string;
  readonly #directory: string;
  #fd: number;
  #head: Head;
  /** Where the good entries end: everything behind it is a failed write. */
  #end: number;
  #synced: number;
  #syncing: Promise<void> | undefined;
  #isNew: boolean;
  /** Set when the disk said that it may have lost what it had taken: then nothing is certain. */
  #lost: string | undefined;

  /** Takes over an open, locked descriptor; use `createLog` or `openSession`. */
  constructor(
    directory: string,
    id: string,
    fd: number,
    at: { readonly head: Head; readonly end: number; readonly isNew: boolean },
  ) {
    this.id = id;
    this.path = logPath(directory, id);
    this.#directory = directory;
    this.#fd = fd;
    this.#head = at.head;
    this.#end = at.end;
    this.#synced = at.isNew ? 0 : at.end;
    this.#isNew = at.isNew;
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
    if (this.#lost !== undefined) throw this.#failure(this.#lost);
    const lines: string[] = [];
    let head = this.#head;
    for (const entry of entries) {
      const sealed = sealEntry(entry, head);
      lines.push(sealed.line);
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
    this.#end += bytes.length;
  }

  /**
   * Resolves when all that was appended before is on the disk. Calls at the same time share one
   * flush. Rejects with `session_store`; after a failed flush the log takes no more entries, because
   * the kernel may have dropped what it could not write.
   */
  async sync(): Promise<void> {
    const wanted = this.#end;
    while (this.#synced < wanted) {
      this.#syncing ??= this.#flush().finally(() => (this.#syncing = undefined));
      await this.#syncing;
    }
  }

  async #flush(): Promise<void> {
    if (this.#lost !== undefined) throw this.#failure(this.#lost);
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
      const { size, nlink } = fstatSync(this.#fd);
      return size === this.#end && nlink > 0 && pathExists(this.path);
    } catch {
      return false;
    }
  }

  /** Gives the log up; safe to call again. */
  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
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

/** Makes the log of a new session (0600) and locks it. Throws `session_store`. */
export function createLog(directory: string, id: string): SessionLog {
  const path = logPath(directory, id);
  let fd: number;
  try {
    const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    fd = openSync(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    const what = ioError(`session log ${path} cannot be made`, error);
    throw new PodError("session_store", what.message, { cause: error });
  }
  lockLog(fd, path);
  return new SessionLog(directory, id, fd, { head: undefined, end: 0, isNew: true });
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
