/**
 * Shortens a conversation that has grown too long: when it is due, what clients are told, and the one
 * order in which it happens: summary, new session on disk, registry, history. A failure at any point
 * leaves everything as it was (spec worker-and-tools 4).
 */
import { messageOf, PodError } from "../base/errors.ts";
import type { Usage } from "../model/model.ts";
import {
  autoReadText,
  referencesText,
  summariserInput,
  summaryText,
} from "../prompts/compaction.ts";
import type { Alert, Event } from "../protocol/event.ts";
import { type MessageItem, textMessage } from "../protocol/history.ts";
import { compacted, type CompactionCut, cutFor } from "../worker/compaction-cut.ts";
import type { History, StoredItem } from "../worker/history.ts";
import { prune } from "../worker/prune.ts";
import type { ReadMark, Summary } from "../worker/summariser.ts";
import { TokenEstimate, type UsageMark } from "../worker/token-estimate.ts";

/** Failures in a row after which nothing is compacted by itself for a while. */
const MAX_FAILURES = 3;
/** Runs after which it is tried again (W32). */
const RETRY_AFTER_RUNS = 10;
/** Files read or written lately that the summariser is told. */
const RECENT_FILES = 5;
/** Counts that are kept; older ones only refine estimates of what is long past. */
const MAX_MARKS = 500;

const THRASH = "compaction thrash: context still exceeds threshold immediately after compact";

/** `[compaction]` of a manifest. */
interface CompactionSettings {
  readonly prune_protected_turns: number;
  readonly prune_min_savings: number;
  readonly compact_threshold?: number | undefined;
  readonly compact_request_threshold?: number | undefined;
  readonly compact_retained_tokens: number;
}

/** What a compaction works with. */
export interface CompactionDependencies {
  readonly history: History;
  /** Undefined: nothing is pruned or compacted by itself. */
  readonly settings: CompactionSettings | undefined;
  /** Used when somebody asks and there are no settings. */
  readonly retainedTokens: number;
  /** Counts of earlier requests of a restored session. */
  readonly marks: readonly UsageMark[];
  /** Runs the summariser. */
  readonly summarise: (
    input: string,
    expectMarks: boolean,
    signal: AbortSignal,
  ) => Promise<Summary>;
  readonly readLines: (mark: ReadMark) => Promise<string>;
  readonly recentFiles: () => readonly string[];
  /** Writes the new session; when it resolves, that is the Pod's session. Returns its id. */
  readonly commit: (items: readonly StoredItem[]) => Promise<string>;
  readonly emit: (event: Event) => void;
  readonly alert: (level: Alert["level"], message: string) => void;
}

/** The compaction of one Pod. */
export class Compaction {
  readonly #deps: CompactionDependencies;
  #marks: UsageMark[];
  #failures = 0;
  #runsSinceTrip = 0;
  /** Somebody asked while a run was under way: it is done before the next request. */
  #requested = false;
  /** Requests of this run since its last compaction; undefined before the first one. */
  #since: number | undefined;
  #working: Promise<unknown> | undefined;
  /** Gives up what is at work because somebody asked while the Pod was idle. */
  #idle: AbortController | undefined;
  readonly #leaving = new AbortController();

  constructor(deps: CompactionDependencies) {
    this.#deps = deps;
    this.#marks = [...deps.marks];
  }

  /** Notes what a vendor counted for a request with so many items. */
  record({ input }: Usage, length: number): void {
    if (input === null) return;
    this.#marks.push({ length, tokens: input });
    if (this.#marks.length > MAX_MARKS) this.#marks.shift();
  }

  /** The items of a request, without the contents that are pruned. */
  forRequest(items: readonly StoredItem[]): readonly StoredItem[] {
    const { settings } = this.#deps;
    if (settings === undefined) return items;
    return prune(items, this.#marks, {
      protectedTurns: settings.prune_protected_turns,
      minSavings: settings.prune_min_savings,
    });
  }

  /**
   * A run begins: what is at work gives way, for nobody waits minutes for an answer, and is made up for
   * before the run's first request. Resolves when the conversation is the run's own.
   */
  async giveWay(): Promise<void> {
    this.#idle?.abort();
    await this.settled();
  }

  /** Resolves when no compaction is at work. */
  async settled(): Promise<void> {
    await this.#working?.catch(() => undefined);
  }

  /** The Pod leaves: what is at work is given up. */
  close(): void {
    this.#leaving.abort();
  }

  /**
   * Before a request: compacts if it is due. `first` is the first request of a run, before which the
   * threshold for finished runs counts as well. Resolves with what ends the run, or undefined.
   */
  async beforeRequest(
    first: boolean,
    announce: () => void,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (first) {
      this.#runsSinceTrip += 1;
      this.#since = undefined;
    } else if (this.#since !== undefined) this.#since += 1;
    const must = this.#exceeds(this.#deps.settings?.compact_request_threshold);
    const should = first && this.#exceeds(this.#deps.settings?.compact_threshold);
    const requested = this.#requested;
    this.#requested = false;
    if (!requested && (!(must || should) || this.#isTripped())) return undefined;
    const cut = this.#cut();
    // Too much, but all of it is new or to be kept: the vendor may yet take it.
    if (cut === undefined) return undefined;
    // Every request would be summarised at once, and the run would go round for ever.
    if (must && this.#since === 1) return THRASH;
    announce();
    try {
      await this.#compact(cut, signal);
      this.#since = 0;
    } catch (error) {
      if (signal.aborted) return undefined;
      const text = messageOf(error);
      if (must) {
        this.#deps.alert("error", `mid-run compaction failed: ${text}`);
        return text;
      }
      this.#deps.alert("warn", `post-run compaction failed: ${text}`);
      return undefined;
    }
    return this.#exceeds(this.#deps.settings?.compact_request_threshold) ? THRASH : undefined;
  }

  /** Compacts because somebody asked; at once when `idle`, else before the next request. */
  async request(idle: boolean): Promise<string | undefined> {
    if (!idle) {
      this.#requested = true;
      return undefined;
    }
    if (this.#working !== undefined) return "a compaction is at work already";
    const cut = this.#cut();
    if (cut === undefined) {
      return `nothing to compact: the newest ${this.#retained} tokens are kept word for word`;
    }
    const idling = new AbortController();
    this.#idle = idling;
    try {
      await this.#compact(cut, idling.signal);
      return undefined;
    } catch (error) {
      if (!idling.signal.aborted) return messageOf(error);
      this.#requested = true;
      return undefined;
    } finally {
      this.#idle = undefined;
    }
  }

  /** A run has ended: what was asked for during its last request is done now; never rejects. */
  afterRun(): void {
    if (!this.#requested || this.#leaving.signal.aborted) return;
    this.#requested = false;
    void this.request(true)
      .catch(messageOf)
      .then((problem) => {
        if (problem !== undefined) this.#deps.alert("warn", `compaction failed: ${problem}`);
      });
  }

  #exceeds(threshold: number | undefined): boolean {
    if (threshold === undefined) return false;
    const items = this.forRequest(this.#deps.history.items);
    return new TokenEstimate(items, this.#marks).total > threshold;
  }

  /** After too many failures nothing is tried, until enough runs have passed. */
  #isTripped(): boolean {
    return this.#failures >= MAX_FAILURES && this.#runsSinceTrip < RETRY_AFTER_RUNS;
  }

  get #retained(): number {
    return this.#deps.settings?.compact_retained_tokens ?? this.#deps.retainedTokens;
  }

  #cut(): CompactionCut | undefined {
    return cutFor(this.#deps.history.items, this.#marks, this.#retained);
  }

  async #compact(cut: CompactionCut, signal: AbortSignal): Promise<void> {
    const { emit, alert } = this.#deps;
    emit({ event: "compact_start" });
    try {
      const work = this.#work(cut, AbortSignal.any([signal, this.#leaving.signal]));
      this.#working = work;
      const session = await work;
      this.#failures = 0;
      emit({ event: "compact_done", data: { new_session_id: session } });
    } catch (error) {
      emit({ event: "compact_failed", data: { error: messageOf(error) } });
      if (!signal.aborted) {
        this.#failures += 1;
        if (this.#failures >= MAX_FAILURES) this.#runsSinceTrip = 0;
        if (this.#failures === MAX_FAILURES) {
          alert(
            "warn",
            `compaction failed ${MAX_FAILURES} times in a row; it is tried again after ${RETRY_AFTER_RUNS} runs`,
          );
        }
      }
      throw error;
    } finally {
      this.#working = undefined;
    }
  }

  async #work(cut: CompactionCut, signal: AbortSignal): Promise<string> {
    const { history, summarise, recentFiles, commit } = this.#deps;
    const recent = recentFiles().slice(0, RECENT_FILES);
    const input = summariserInput(cut.summarised, recent);
    const summary = await unlessAborted(summarise(input, recent.length > 0, signal), signal);
    const items = compacted(cut, await this.#opening(summary));
    if (signal.aborted) throw new PodError("cancelled", "Cancelled");
    const session = await commit(items);
    // From here on the new session is what others see: no more awaits before the history follows.
    history.rebase(items);
    this.#marks = [];
    return session;
  }

  async #opening({ text, marks, references }: Summary): Promise<MessageItem[]> {
    const opening: MessageItem[] = [textMessage("system", summaryText(text))];
    for (const mark of marks) {
      try {
        const lines = await this.#deps.readLines(mark);
        opening.push(textMessage("system", autoReadText(mark.path, mark, lines)));
      } catch (error) {
        this.#deps.alert("warn", `${mark.path} is not shown again: ${messageOf(error)}`);
      }
    }
    if (references.length > 0) opening.push(textMessage("system", referencesText(references)));
    return opening;
  }
}

/** The outcome of `work`, or `cancelled` as soon as `signal` aborts, whatever the work makes of that. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(new PodError("cancelled", "Cancelled"));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
