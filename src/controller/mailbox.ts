/**
 * The events of one session that must survive the process: reports on their way to the parent until
 * they are acknowledged, notices until they are in the conversation, and what was already taken, so
 * that nothing is told twice. Kept in memory, whatever the disk does, and line by line in a file.
 */
import type { PodEvent } from "../protocol/method.ts";
import { MailFile, type MailboxTrouble, type MailLine } from "./mail-file.ts";

/**
 * Ids of taken events that are remembered, and as many keys of runs; far more than can be under way at
 * a time. Each has a window of its own: many reports must not push out the key of a run.
 */
const MAX_SEEN = 1024;

/** Begins the id of a run's key among those that were seen. */
export const RUN_KEY = "run:";

/** Begins the id of a report of a run's end, which the session log holds as well. */
export const END_KEY = "end:";

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

/** The mailbox of one session. Writers must be one at a time: the registry sees to that. */
export class Mailbox {
  readonly #file: MailFile;
  readonly #out = new Map<string, Outgoing>();
  readonly #in = new Map<string, Incoming>();
  readonly #seen = new Set<string>();
  readonly #keys = new Set<string>();
  /** The last report of a run's end that was kept here, taken or not. */
  #lastEnd: string | undefined;

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
    this.#file = new MailFile(directory, session, trouble, () => this.#lines());
    for (const line of this.#file.load(session, earlier)) this.#remember(line);
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

  /** True when this report of a run's end, the newest that there is, was kept here before. */
  hasReported(id: string): boolean {
    return this.#out.has(id) || this.#lastEnd === id;
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
    await this.#file.synced();
  }

  /**
   * The conversation goes on under another session id (compaction, fork). Call it when the new log
   * is on disk; after a crash in between the mailbox is found as that of an `earlier` session.
   */
  follow(session: string): void {
    this.#file.follow(session);
  }

  /**
   * Closes the file of a Pod that ends in order, and removes it when nothing in it matters any more. What
   * was taken matters: who did not hear the answer sends it again to the next process. So does the last
   * report of a run's end: the log has it still.
   */
  async close(): Promise<void> {
    const kept = [this.#out, this.#in, this.#seen, this.#keys];
    await this.#file.close(() => this.#lastEnd !== undefined || kept.some(({ size }) => size > 0));
  }

  #apply(line: MailLine): void {
    this.#remember(line);
    this.#file.append(line);
  }

  #remember(line: MailLine): void {
    if ("out" in line) {
      this.#out.set(line.out, { id: line.out, event: line.event });
      if (line.out.startsWith(END_KEY)) this.#lastEnd = line.out;
    } else if ("sent" in line) {
      // What a rewritten file tells of a report that it does not hold any more.
      const isKnown = this.#out.delete(line.sent);
      if (!isKnown && line.sent.startsWith(END_KEY)) this.#lastEnd = line.sent;
    } else if ("told" in line) for (const id of line.told) this.#in.delete(id);
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

  /** All that still matters. */
  #lines(): MailLine[] {
    return [
      ...[...this.#keys, ...this.#seen]
        .filter((id) => !this.#in.has(id))
        .map((id) => ({ seen: id })),
      ...this.incoming.map(({ id, text, wake }) => ({ in: id, text, wake })),
      ...(this.#lastEnd === undefined || this.#out.has(this.#lastEnd)
        ? []
        : [{ sent: this.#lastEnd }]),
      ...this.outgoing.map(({ id, event }) => ({ out: id, event })),
    ];
  }
}
