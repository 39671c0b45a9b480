/**
 * The events of one session that must survive the process: reports on their way to the parent until
 * they are acknowledged, notices until they are in the conversation, and what was already taken, so
 * that nothing is told twice. An append-only file of JSON lines beside the session's log, made when
 * the first event comes; a torn last line is cut off, a bad one is skipped and said. A disk that fails
 * costs durability until it works again, never an event of the running process.
 */
import { closeSync, constants, fstatSync, ftruncateSync, linkSync, openSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod/v3";
import { errnoCode, messageOf } from "../base/errors.ts";
import {
  fsyncAsync,
  readBytes,
  removeFile,
  replaceFile,
  syncDirectory,
  writeAll,
} from "../base/files.ts";
import { lazily } from "../base/lazy.ts";
import { type PodEvent, podEventSchema } from "../protocol/method.ts";

/**
 * Ids of taken events that are remembered, and as many keys of runs; far more than can be under way at
 * a time. Each has a window of its own: many reports must not push out the key of a run.
 */
const MAX_SEEN = 1024;
/** Size at which the file is replaced by what still matters. */
const REWRITE_BYTES = 1024 * 1024;

/** Begins the id of a run's key among those that were seen. */
export const RUN_KEY = "run:";

/** Begins the id of a client's note, which is made here and never comes again. */
export const NOTE_KEY = "note:";

/** A report that the parent has not taken yet. */
export interface Outgoing {
  readonly id: string;
  readonly event: PodEvent;
}

/** A text for the model that is not in the conversation yet. */
interface Incoming {
  readonly id: string;
  readonly text: string;
  /** Worth a model call of its own. */
  readonly wake: boolean;
}

const lineSchema = lazily(() =>
  z.union([
    z.object({ out: z.string(), event: podEventSchema() }),
    z.object({ sent: z.string() }),
    z.object({ in: z.string(), text: z.string(), wake: z.boolean() }),
    z.object({ told: z.array(z.string()) }),
    /** A report that needed no notice, or the key of a run: taken, and never again. */
    z.object({ seen: z.string() }),
  ]),
);
type Line = z.infer<ReturnType<typeof lineSchema>>;

/** What a mailbox tells about trouble: a file that cannot be written, lines that cannot be read. */
type MailboxTrouble = (message: string) => void;

/** The mailbox of one session. Writers must be one at a time: the registry sees to that. */
export class Mailbox {
  #path: string;
  readonly #directory: string;
  readonly #trouble: MailboxTrouble;
  readonly #out = new Map<string, Outgoing>();
  readonly #in = new Map<string, Incoming>();
  readonly #seen = new Set<string>();
  readonly #keys = new Set<string>();
  /** The path under which the file was last made sure of. */
  #named: string | undefined;
  #fd: number | undefined;
  /** Bytes of whole lines in the file: what stands behind them is a failed write. */
  #size = 0;
  /** Set while the file lacks something: then it is written anew, whole. */
  #failed = false;
  #closed = false;
  #syncing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /**
   * The mailbox of `session` below the session directory; `earlier` names the sessions it was
   * compacted or forked from, newest first, for a Pod that died while it changed over.
   */
  constructor(
    directory: string,
    session: string,
    trouble: MailboxTrouble,
    earlier: readonly string[] = [],
  ) {
    this.#directory = directory;
    this.#trouble = trouble;
    this.#path = this.#pathOf(session);
    for (const name of [session, ...earlier]) {
      const bytes = readBytes(this.#pathOf(name));
      if (bytes === undefined) continue;
      if (name !== session) linkSync(this.#pathOf(name), this.#path);
      this.#load(bytes);
      if (name !== session) removeFile(this.#pathOf(name));
      return;
    }
  }

  /** Reports that the parent has not taken, oldest first. */
  get outgoing(): Outgoing[] {
    return [...this.#out.values()];
  }

  /** Notices that are not in the conversation, oldest first. */
  get incoming(): Incoming[] {
    return [...this.#in.values()];
  }

  /** True when an event of this id was taken before. */
  hasSeen(id: string): boolean {
    return this.#windowOf(id).has(id);
  }

  /** Keeps a report until `sent`. */
  report(outgoing: Outgoing): void {
    this.#apply({ out: outgoing.id, event: outgoing.event });
  }

  /** The parent has taken the report, refused it for good, or a later one says more. */
  sent(id: string): void {
    if (this.#out.has(id)) this.#apply({ sent: id });
  }

  /** Keeps a notice until `told`, and its id for as long as it may come again. */
  receive({ id, text, wake }: Incoming): void {
    this.#apply({ in: id, text, wake });
  }

  /** The notices are in the conversation; ids that this mailbox does not have are skipped. */
  told(ids: readonly string[]): void {
    const known = ids.filter((id) => this.#in.has(id));
    if (known.length > 0) this.#apply({ told: known });
  }

  /** Remembers an id without a notice. */
  see(id: string): void {
    if (!this.hasSeen(id)) this.#apply({ seen: id });
  }

  /** Resolves when everything so far is on disk, as far as the disk allows; never rejects. */
  async synced(): Promise<void> {
    if (this.#fd === undefined) return;
    // One flush serves all who ask while another one is under way.
    this.#next ??= (this.#syncing ?? Promise.resolve()).then(() => {
      this.#next = undefined;
      this.#syncing = this.#flush();
      return this.#syncing;
    });
    await this.#next;
  }

  /**
   * The conversation goes on under another session id (compaction, fork). Call it when the new log
   * is on disk; after a crash in between the mailbox is found as that of an `earlier` session.
   */
  follow(session: string): void {
    const path = this.#pathOf(session);
    if (path === this.#path) return;
    try {
      linkSync(this.#path, path);
      removeFile(this.#path);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") this.#fail(error);
    }
    this.#path = path;
  }

  /**
   * Closes the file of a Pod that ends in order, and removes it when nothing in it matters any more. What
   * was taken matters: who did not hear the answer sends it again to the next process.
   */
  async close(): Promise<void> {
    await this.synced();
    this.#closed = true;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    try {
      const kept = [this.#out, this.#in, this.#seen, this.#keys];
      if (kept.every(({ size }) => size === 0)) removeFile(this.#path);
    } catch (error) {
      this.#fail(error);
    }
  }

  #pathOf(session: string): string {
    return join(this.#directory, `${session}.mail`);
  }

  #apply(line: Line): void {
    this.#remember(line);
    if (this.#closed) return;
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      if (this.#failed || this.#size + bytes.length > REWRITE_BYTES) return this.#rewrite();
      this.#fd ??= this.#open();
      writeAll(this.#fd, bytes);
      this.#size += bytes.length;
    } catch (error) {
      this.#takeBack();
      this.#fail(error);
    }
  }

  /** What was written of a line that did not fit: another one must not be glued to it. */
  #takeBack(): void {
    if (this.#fd === undefined) return;
    try {
      if (fstatSync(this.#fd).size > this.#size) ftruncateSync(this.#fd, this.#size);
    } catch {
      // Nothing is appended any more before the whole file was replaced.
    }
  }

  #remember(line: Line): void {
    if ("out" in line) this.#out.set(line.out, { id: line.out, event: line.event });
    else if ("sent" in line) this.#out.delete(line.sent);
    else if ("told" in line) for (const id of line.told) this.#in.delete(id);
    else if ("seen" in line) this.#keepSeen(line.seen);
    else {
      this.#in.set(line.in, { id: line.in, text: line.text, wake: line.wake });
      if (!line.in.startsWith(NOTE_KEY)) this.#keepSeen(line.in);
    }
  }

  #windowOf(id: string): Set<string> {
    return id.startsWith(RUN_KEY) ? this.#keys : this.#seen;
  }

  #keepSeen(id: string): void {
    const window = this.#windowOf(id);
    window.add(id);
    const [oldest] = window;
    if (window.size > MAX_SEEN && oldest !== undefined) window.delete(oldest);
  }

  #load(bytes: Buffer): void {
    const end = bytes.lastIndexOf("\n") + 1;
    let bad = 0;
    for (const raw of bytes.toString("utf8", 0, end).split("\n")) {
      if (raw === "") continue;
      const line = parseLine(raw);
      if (line === undefined) bad += 1;
      else this.#remember(line);
    }
    if (bad > 0) this.#trouble(`${bad} unreadable line(s) in ${this.#path} were skipped`);
    this.#size = end;
    if (end === bytes.length) return;
    // The last write was cut off by a crash; what follows must not be glued to it.
    try {
      this.#fd = this.#open();
      ftruncateSync(this.#fd, this.#size);
    } catch (error) {
      this.#fail(error);
    }
  }

  #open(): number {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    return openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  }

  #rewrite(): void {
    const lines: Line[] = [
      ...[...this.#keys, ...this.#seen]
        .filter((id) => !this.#in.has(id))
        .map((id) => ({ seen: id })),
      ...this.incoming.map(({ id, text, wake }) => ({ in: id, text, wake })),
      ...this.outgoing.map(({ id, event }) => ({ out: id, event })),
    ];
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    replaceFile(this.#path, text, { durable: true });
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#size = Buffer.byteLength(text);
    this.#failed = false;
  }

  async #flush(): Promise<void> {
    try {
      if (this.#fd !== undefined) await fsyncAsync(this.#fd);
      // A name that is not on disk is as good as no file (fsync(2)).
      if (this.#named !== this.#path) syncDirectory(this.#directory);
      this.#named = this.#path;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Said once for each time that it goes wrong. */
  #fail(error: unknown): void {
    if (!this.#failed) this.#trouble(`cannot keep events in ${this.#path}: ${messageOf(error)}`);
    this.#failed = true;
  }
}

function parseLine(raw: string): Line | undefined {
  try {
    return lineSchema().parse(JSON.parse(raw));
  } catch {
    return undefined;
  }
}
