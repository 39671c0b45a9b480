/**
 * Writes the conversation of one Pod into its session log at the moment it happens: an item stands in
 * the log before it is in the history, and nothing goes on that could not be written. The log of a new
 * session is made with its first entry; before that there is nothing that could be lost.
 */
import { messageOf } from "../base/errors.ts";
import { log as logLine } from "../base/log.ts";
import type { Usage } from "../model/model.ts";
import { isUserMessage, type ToolResultItem } from "../protocol/history.ts";
import { flattenSegments, type Segment } from "../protocol/segment.ts";
import type { Entry, LoggedConfig, Origin } from "../session/entry.ts";
import { createLog, type SessionLog } from "../session/log.ts";
import type { OpenedSession } from "../session/open.ts";
import {
  type ChildEnd,
  type ChildStart,
  type Closing,
  DOMAIN,
  type EndReport,
  type Setup,
} from "../session/setup.ts";
import { itemEntries, startEntries } from "../session/write.ts";
import type { History, StoredItem } from "../worker/history.ts";
import type { RunEnd } from "../worker/loop.ts";
import { FamilyLedger } from "./family-ledger.ts";
import { cutOffEntry, endEntries, extension, titleOf, usageEntry } from "./log-entries.ts";
import type { AbortReason } from "./state.ts";

/** Result of a call that was recorded as begun when the process ended; it is never run again (W6). */
export const INTERRUPTED_BY_END =
  "[Interrupted: the Pod was stopped during this call. It may or may not have taken effect; it was " +
  "not run again. Check before you repeat it.]";

/** What a recorder works with. */
interface RecorderDependencies {
  /** Session directory. */
  readonly store: string;
  readonly config: LoggedConfig;
  /** Model requests so far, for `turn_end`. */
  readonly turns: { readonly current: number };
  /** How the Pod is set up, without what the recorder knows itself. */
  readonly setup: () => Omit<Setup, "lineage" | "title">;
  /** May throw: a log without a prompt is as good, the prompt is then built anew. */
  readonly systemPrompt: () => string;
  /** The Pod writes another session from now on; all that others see of it must say so (W70). */
  readonly moved: (session: string) => Promise<void>;
  readonly alert: (level: "warn" | "error", message: string) => void;
  /** Queues a text for the model's next request. */
  readonly tellModel: (text: string) => void;
  readonly now?: () => number;
}

/** The recorder of one Pod. */
export class Recorder {
  readonly #deps: RecorderDependencies;
  #session: string;
  #log: SessionLog | undefined;
  readonly #lineage: string;
  #title: string;
  /** What was typed, for the user item that is appended next. */
  #typed: readonly Segment[] | undefined;
  /** The key of the run that it begins, which is recorded with it or not at all. */
  #mark: string | undefined;
  /** Why something could not be recorded, until something can again and the model was told. */
  #failure: { readonly reason: string; told: boolean } | undefined;
  readonly #family: FamilyLedger;
  #closed = false;

  /** `opened` is the session that is restored; without it `session` is a new one. */
  constructor(deps: RecorderDependencies, session: string, opened?: OpenedSession) {
    this.#deps = deps;
    this.#session = session;
    this.#log = opened?.log;
    this.#lineage = opened?.state.setup?.lineage ?? session;
    this.#title = opened?.state.setup?.title ?? "";
    this.#family = new FamilyLedger(opened?.state);
  }

  /** The session that is being written. */
  get session(): string {
    return this.#session;
  }

  /** First session of this Pod: what its children name as their parent. */
  get lineage(): string {
    return this.#lineage;
  }

  /** Listener of the history. Throws `session_store`, which keeps the items out of it. */
  readonly append = (items: readonly StoredItem[]): void => {
    const typed = this.#typed;
    const entries = itemEntries(items, typed, this.#now());
    const isInput = typed !== undefined && items.some(isUserMessage);
    if (isInput && this.#mark !== undefined) {
      entries.push(extension(DOMAIN.runKey, { mark: this.#mark }, this.#now()));
    }
    this.#write(entries);
    if (isInput) this.#typed = undefined;
  };

  /** What was typed for the user item that is appended next, and under what its key is remembered. */
  input(segments: readonly Segment[], mark?: string): void {
    this.#typed = segments;
    this.#mark = mark;
    if (this.#log === undefined) this.#title = titleOf(flattenSegments(segments));
  }

  /**
   * Before a run: if somebody else has changed the log, the conversation goes on in a new session and
   * the changed log stays as it is. Throws when that is not possible.
   */
  async begin(history: History): Promise<void> {
    if (this.#failure?.told === false) {
      this.#failure.told = true;
      this.#deps.tellModel(
        `The session log could not be written (${this.#failure.reason}). What happened while that ` +
          "was so is not in this conversation.",
      );
    }
    const log = this.#log;
    if (log === undefined || (log.lost === undefined && log.isUntouched())) return;
    const why = log.lost === undefined ? "was changed by another program" : `failed (${log.lost})`;
    const origin = { session_id: log.id, at_hash: log.head ?? "" };
    await this.#moveTo(history.items, { forked_from: origin });
    this.#deps.alert(
      "warn",
      `session log ${log.path} ${why}; the conversation goes on in session ${this.#session}`,
    );
  }

  /** Resolves when all that was recorded is on the disk; called before anything with an effect. */
  readonly settle = async (): Promise<void> => {
    try {
      await this.#log?.sync();
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  };

  /** The result of one call of a batch whose other calls are still at work. */
  readonly early = (item: ToolResultItem): void => {
    this.#write([extension(DOMAIN.result, { item }, this.#now())]);
  };

  /** Tokens of a request. What cannot be written is only a figure, and is left out. */
  readonly usage = (usage: Usage, historyLength: number): void => {
    this.#note(usageEntry(usage, historyLength, this.#now()));
  };

  /**
   * The end of a run told to end for `abort`, on the disk before anybody hears of it, and with it what
   * the parent is to hear; never rejects.
   */
  async end(end: RunEnd, abort: AbortReason, report?: EndReport): Promise<void> {
    this.#typed = undefined;
    if (this.#log === undefined) return;
    try {
      const turns = this.#deps.turns.current;
      this.#write(endEntries(end, abort, report, { turns, ts: this.#now() }));
      await this.settle();
    } catch (error) {
      this.#deps.alert("error", messageOf(error));
    }
  }

  /** Children that were started and have not ended, as far as this session knows. */
  get starts(): readonly ChildStart[] {
    return this.#family.starts;
  }

  /** A child has its task: whatever becomes of its own session, it can be named. */
  childStarted(start: ChildStart): void {
    this.#note(this.#family.started(start, this.#now()));
  }

  /** A child has ended: it is no longer part of what `pod resume --tree` brings back, or died. */
  childEnded(end: ChildEnd): void {
    this.#note(this.#family.ended(end, this.#now()));
  }

  /**
   * After a restore: closes calls that were begun and have no result, ends the run that was cut off,
   * and records how the Pod is set up now. `history` holds the restored items.
   */
  async resume(history: History, { state }: OpenedSession): Promise<void> {
    const open = new Set(history.openCalls().map((call) => call.call_id));
    const early = state.earlyResults.filter((result) => open.has(result.call_id));
    history.append(...early);
    history.closeOpenCalls(INTERRUPTED_BY_END);
    this.#write([...(state.cutOff ? [cutOffEntry(this.#now())] : []), this.#setupEntry()]);
    await this.settle();
  }

  /** Goes on in a new session whose history is `items`, made from the old one by compaction. */
  async compact(items: readonly StoredItem[]): Promise<void> {
    const log = this.#log;
    const origin = { session_id: this.#session, at_hash: log?.head ?? "" };
    await this.#moveTo(items, log === undefined ? {} : { compacted_from: origin });
  }

  /** The Pod ends in order. Nothing is recorded afterwards; never rejects. */
  async close(reason: Closing): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#note(extension(DOMAIN.closed, { reason }, this.#now()));
    // What is lost of it by a failing disk is only how the Pod ended.
    await this.#log?.sync().catch((error: unknown) => logLine("warn", messageOf(error)));
    this.#log?.close();
  }

  /** Makes a new log, and only when it and the registry are ready leaves the old one. */
  async #moveTo(
    items: readonly StoredItem[],
    origin: { readonly forked_from?: Origin; readonly compacted_from?: Origin },
  ): Promise<void> {
    const { store, config, moved } = this.#deps;
    const session = Bun.randomUUIDv7();
    // Nobody must find it before it is whole: it would count as the newest of this conversation.
    const next = createLog(store, session, { unlisted: true });
    const before = this.#family.known();
    try {
      const start = { systemPrompt: this.#systemPrompt(), config, items, ...origin };
      const family = this.#family.entries(this.#now());
      next.append(startEntries(start, this.#now(), [this.#setupEntry(), ...family]));
      await next.sync();
      next.publish();
      await moved(session);
    } catch (error) {
      next.discard();
      throw error;
    }
    this.#log?.close();
    this.#log = next;
    this.#session = session;
    // What became of children meanwhile stands in the log that was left, too.
    for (const entry of this.#family.entries(this.#now(), before)) this.#note(entry);
  }

  /** Writes what must be written. Throws `session_store`. */
  #write(entries: readonly Entry[]): void {
    try {
      if (this.#log === undefined) this.#log = this.#make(entries);
      else this.#log.append(entries);
    } catch (error) {
      this.#failed(error);
      throw error;
    }
    if (this.#failure?.told === true) this.#failure = undefined;
  }

  #make(entries: readonly Entry[]): SessionLog {
    const made = createLog(this.#deps.store, this.#session);
    try {
      const { config } = this.#deps;
      const start = { systemPrompt: this.#systemPrompt(), config, items: [] };
      made.append([...startEntries(start, this.#now()), this.#setupEntry(), ...entries]);
      return made;
    } catch (error) {
      made.discard();
      throw error;
    }
  }

  #failed(error: unknown): void {
    this.#failure ??= { reason: messageOf(error), told: false };
  }

  /** Writes what may be missing, into a log that there is. */
  #note(entry: Entry): void {
    try {
      this.#log?.append([entry]);
    } catch (error) {
      logLine("warn", messageOf(error));
    }
  }

  #setupEntry(): Entry {
    const setup = { ...this.#deps.setup(), lineage: this.#lineage, title: this.#title };
    return extension(DOMAIN.setup, setup, this.#now());
  }

  #systemPrompt(): string | null {
    try {
      return this.#deps.systemPrompt();
    } catch {
      return null; // the request will say why
    }
  }

  #now(): number {
    return (this.#deps.now ?? Date.now)();
  }
}
