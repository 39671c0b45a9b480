/**
 * What waits for the model, and when it may start a run: notices, those among them that are kept on disk
 * until the model has them, and the budget of runs that notices start (W59). Decides nothing about the
 * state of the Pod: it says when a run is due, and the state machine has the word.
 */
import type { Item } from "../protocol/history.ts";
import type { Answer } from "./answer.ts";
import type { ControllerDependencies } from "./dependencies.ts";
import { NOTE_KEY } from "./mailbox.ts";
import { MAX_NOTE_CHARACTERS, noticeItem, Notices } from "./notices.ts";
import { WakeBudget } from "./wake-budget.ts";

/** Tells the state machine that notices wait: `wake`, they are worth a run; `allowed`, one may start now. */
type Wake = (wake: boolean, allowed: boolean) => void;

/** The waiting notices of one Pod. */
export class Waking {
  readonly #deps: Pick<ControllerDependencies, "mailbox" | "history" | "wrapNotice">;
  readonly #tell: Wake;
  readonly #dropped: (message: string) => void;
  readonly #notices = new Notices();
  readonly #budget: WakeBudget;
  readonly #now: () => number;
  /** Runs out when the waiting notices may start a run. */
  #deferred: ReturnType<typeof setTimeout> | undefined;

  /** `dropped` is told of notes that had to go. */
  constructor(
    deps: Pick<ControllerDependencies, "mailbox" | "history" | "wrapNotice" | "now" | "budget">,
    tell: Wake,
    dropped: (message: string) => void,
  ) {
    this.#deps = deps;
    this.#tell = tell;
    this.#dropped = dropped;
    this.#now = deps.now ?? (() => performance.now());
    this.#budget = deps.budget ?? new WakeBudget(this.#now());
  }

  /** Takes up what an earlier process of this session had not told its model yet. */
  begin(): void {
    const { mailbox, history } = this.#deps;
    const told = new Set(
      history.items.flatMap((item) => (item.type === "message" ? [item.notice ?? ""] : [])),
    );
    // A crash between the conversation and the mailbox must not tell it twice.
    mailbox.told(mailbox.incoming.flatMap(({ id }) => (told.has(id) ? [id] : [])));
    for (const notice of mailbox.incoming) this.#notices.add(notice);
    if (this.#notices.count > 0) this.#wake(this.#notices.waking);
  }

  /** Queues a text; with an `id` it is kept on disk, and taken once however often it comes. */
  notice(text: string, wake: boolean, id?: string): void {
    const { mailbox, wrapNotice } = this.#deps;
    const notice = { text: wrapNotice(text), wake };
    if (id !== undefined) {
      if (mailbox.hasSeen(id)) return;
      mailbox.receive({ ...notice, id });
    }
    const dropped = this.#notices.add(id === undefined ? notice : { ...notice, id });
    if (dropped !== undefined) {
      if (dropped.id !== undefined) mailbox.told([dropped.id]);
      this.#dropped("too many notices are waiting; the oldest was dropped");
    }
    this.#wake(wake);
  }

  /** A client's note: on disk before it is acknowledged, as a report is. */
  async note(message: string, answer: Answer): Promise<void> {
    if (message.length > MAX_NOTE_CHARACTERS) {
      const limit = `a note may have at most ${MAX_NOTE_CHARACTERS} characters`;
      return void answer.reject("internal", limit);
    }
    this.notice(message, true, `${NOTE_KEY}${crypto.randomUUID()}`);
    await this.#deps.mailbox.synced();
    answer.accept();
  }

  /** Hands those that wait to `keep` as messages; they wait on when it throws (W11). */
  take(keep: (items: readonly Item[]) => void): void {
    this.#notices.take((notices) => {
      keep(notices.map(noticeItem));
      this.#deps.mailbox.told(notices.flatMap(({ id }) => (id === undefined ? [] : [id])));
    });
  }

  get count(): number {
    return this.#notices.count;
  }

  /** True when no further report should be taken now. */
  get full(): boolean {
    return this.#notices.full;
  }

  /** True when one of those that wait is worth a run of its own. */
  get waking(): boolean {
    return this.#notices.waking;
  }

  /** True when a run may be started for notices now. */
  get allowed(): boolean {
    return this.#budget.waitMs(this.#now()) === 0;
  }

  /** True when a run is going to be started for them as soon as that is allowed. */
  get isDeferred(): boolean {
    return this.#deferred !== undefined;
  }

  /** Says that notices wait again when a run for them is allowed. */
  defer(): void {
    if (this.#deferred !== undefined) return;
    const timer = setTimeout(() => {
      this.#deferred = undefined;
      this.#wake(this.#notices.waking);
    }, this.#budget.waitMs(this.#now()));
    timer.unref();
    this.#deferred = timer;
  }

  /** A run starts, or none ever will: nothing needs to be deferred. */
  settle(): void {
    clearTimeout(this.#deferred);
    this.#deferred = undefined;
  }

  /** A run starts because of them. */
  spend(): void {
    this.#budget.spend(this.#now());
  }

  #wake(wake: boolean): void {
    this.#tell(wake, this.allowed);
  }
}
