/**
 * Runs the effects of the state machine: one owner of the conversation, of the queue of notices and
 * of what clients are told. Methods are handled one at a time in the order in which they arrive; a
 * run goes on beside them. Every run ends with exactly one `run_end`.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import type { Alert, Event } from "../protocol/event.ts";
import type { Item } from "../protocol/history.ts";
import type { Method, PodEvent } from "../protocol/method.ts";
import type { Segment } from "../protocol/segment.ts";
import type { Connection } from "../transport/server.ts";
import type { RunEnd } from "../worker/loop.ts";
import { ChildReports } from "./child-reports.ts";
import { Conversation } from "./conversation.ts";
import type { ControllerDependencies } from "./dependencies.ts";
import { type Answer, Intake, SILENT } from "./intake.ts";
import { NOTE_KEY, RUN_KEY } from "./mailbox.ts";
import { MAX_NOTE_CHARACTERS, noticeItem, Notices } from "./notices.ts";
import {
  type ControllerState,
  type Effect,
  INITIAL_STATE,
  type Input,
  type RunStart,
  transition,
} from "./state.ts";
import { WakeBudget } from "./wake-budget.ts";

/** The controller of one Pod. */
export class Controller {
  readonly #deps: ControllerDependencies;
  readonly #notices = new Notices();
  readonly #conversation: Conversation;
  readonly #reports: ChildReports;
  readonly #budget: WakeBudget;
  readonly #now: () => number;
  #state: ControllerState;
  #abort = new AbortController();
  /** What the running run begins with, if somebody asked for it. */
  #intake: Intake | undefined;
  /** The end of the run that is being settled. */
  #end: RunEnd = { outcome: "finished" };
  #runs = 0;
  /** True when the running run has got as far as a request, which takes the notices. */
  #asked = false;
  /** Runs out when the waiting notices may start a run. */
  #deferred: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: ControllerDependencies) {
    this.#deps = deps;
    this.#conversation = new Conversation(deps);
    this.#state = deps.initial ?? INITIAL_STATE;
    if (this.#state.phase === "paused") this.#conversation.paused();
    this.#now = deps.now ?? (() => performance.now());
    this.#budget = deps.budget ?? new WakeBudget(this.#now());
    this.#reports = new ChildReports(deps.childEvent, deps.mailbox);
  }

  /** What the Pod is doing. */
  get phase(): ControllerState["phase"] {
    return this.#state.phase;
  }

  /**
   * Takes up what an earlier process of this session had not told its model yet. Call it once, when
   * the Pod can run.
   */
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

  /** Replays earlier alerts to a client that has just connected. */
  opened(connection: Connection): void {
    this.#conversation.opened(connection);
  }

  /** Handles one method of a client. */
  handle(connection: Connection, method: Method): void | Promise<void> {
    const { id } = method;
    const answer: Answer = {
      accept: () => id !== undefined && connection.send({ event: "ack", data: { id } }),
      reject: (code, message, retry = false) =>
        connection.send({
          event: "error",
          data: {
            code,
            message,
            ...(id === undefined ? {} : { id }),
            ...(retry ? { retry } : {}),
          },
        }),
    };
    switch (method.method) {
      case "run":
        return this.#runRequest(method.params.input, method.params.key, answer);
      case "notify":
        return this.#note(method.params.message, answer);
      case "pod_event":
        return this.#childEvent(id, method.params, answer);
      case "parent_changed":
        this.#deps.parentChanged();
        return void answer.accept();
      case "get_history":
        this.#conversation.show(connection, this.#state.phase);
        return void answer.accept();
      case "status":
        connection.send(this.#statusEvent());
        return void answer.accept();
      case "compact":
        return this.#longRequest(answer, this.#deps.compact);
      case "revive": {
        const { params } = method;
        return this.#longRequest(answer, () => this.#deps.revive(params));
      }
      case "list_completions":
        return this.#complete(connection, method.params, answer);
      default:
        return this.#request({ type: method.method }, answer);
    }
  }

  /** Starts a run for somebody in this process; false when the Pod cannot take it now. */
  run(input: readonly Segment[]): boolean {
    return this.#runRequest(input, undefined, SILENT) !== undefined;
  }

  /** Goes on with a run that is paused. */
  resume(): void {
    this.#request({ type: "resume" }, SILENT);
  }

  /** Ends the running run, if there is one. */
  cancel(): void {
    this.#request({ type: "cancel" }, SILENT);
  }

  /** Ends the Pod: the running run first, then `finish`. Safe to call again. */
  shutdown(): void {
    this.#request({ type: "shutdown" }, SILENT);
  }

  /**
   * Queues a text for the model; `wake` starts a run when the Pod is idle. With an `id` it is kept
   * on disk until the model has it, and is taken once however often it comes.
   */
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
      this.alert("warn", "pod", "too many notices are waiting; the oldest was dropped");
    }
    this.#wake(wake);
  }

  /** Hands the notices that wait to `keep` as messages; they wait on when it throws (W11). */
  takeNotices(keep: (items: readonly Item[]) => void): void {
    this.#asked = true;
    this.#notices.take((notices) => {
      keep(notices.map(noticeItem));
      this.#deps.mailbox.told(notices.flatMap(({ id }) => (id === undefined ? [] : [id])));
    });
  }

  /** Tells people something they should know, now and when they connect later. */
  alert(level: Alert["level"], source: Alert["source"], message: string): void {
    this.#conversation.alert(level, source, message);
  }

  /** Sends an event to all clients; alerts are kept for those that come later. */
  publish(event: Event): void {
    this.#conversation.publish(event);
  }

  /** The answer comes when the input is recorded; undefined when it was given at once. */
  #runRequest(
    input: readonly Segment[],
    key: string | undefined,
    answer: Answer,
  ): Promise<void> | undefined {
    const mark = key === undefined ? undefined : `${RUN_KEY}${key}`;
    if (mark !== undefined) {
      // Sent again by somebody who did not hear the answer: it runs or ran already (W62).
      if (this.#intake?.isOpen && this.#intake.mark === mark) return this.#intake.join(answer);
      if (this.#deps.mailbox.hasSeen(mark)) return void answer.accept();
    }
    let taken: Promise<void> | undefined;
    this.#request({ type: "run", empty: input.length === 0 }, answer, () => {
      this.#intake = new Intake(input, mark, answer);
      taken = this.#intake.settled;
    });
    return taken;
  }

  #wake(wake: boolean): void {
    this.#request({ type: "notice", wake, allowed: this.#mayWake() }, SILENT);
  }

  /** A client's note: on disk before it is acknowledged, as a report is. */
  async #note(message: string, answer: Answer): Promise<void> {
    if (message.length > MAX_NOTE_CHARACTERS) {
      const limit = `a note may have at most ${MAX_NOTE_CHARACTERS} characters`;
      return void answer.reject("internal", limit);
    }
    this.notice(message, true, `${NOTE_KEY}${crypto.randomUUID()}`);
    await this.#deps.mailbox.synced();
    answer.accept();
  }

  #mayWake(): boolean {
    return this.#budget.waitMs(this.#now()) === 0;
  }

  #request(input: Input, answer: Answer, onAccept?: () => void): void {
    const next = transition(this.#state, input);
    this.#state = next.state;
    for (const effect of next.effects) this.#perform(effect, answer, onAccept);
  }

  #perform(effect: Effect, answer: Answer, onAccept: (() => void) | undefined): void {
    switch (effect.type) {
      case "accept":
        return void (onAccept === undefined ? answer.accept() : onAccept());
      case "reject":
        return void answer.reject(effect.code, effect.message);
      case "start_run":
        return void this.#run(effect.start);
      case "abort_run":
        return this.#abort.abort();
      case "defer_wake":
        return this.#deferWake();
      case "end_run":
        return this.#endRun(effect);
      case "finish":
        clearTimeout(this.#deferred);
        return this.#deps.finish();
    }
  }

  #deferWake(): void {
    if (this.#deferred !== undefined) return;
    const timer = setTimeout(() => {
      this.#deferred = undefined;
      this.#wake(this.#notices.waking);
    }, this.#budget.waitMs(this.#now()));
    timer.unref();
    this.#deferred = timer;
  }

  /** One run from its first event to its last; never rejects. */
  async #run(start: RunStart): Promise<void> {
    clearTimeout(this.#deferred);
    this.#deferred = undefined;
    if (start === "notices") this.#budget.spend(this.#now());
    this.#abort = new AbortController();
    this.#asked = false;
    this.#runs += 1;
    this.#deps.files.writeStatus("running", this.#deps.session());
    const isNew = start === "input" || start === "interrupting_input";
    if (!isNew) this.#intake = undefined;
    this.#end = await this.#work(start, this.#abort.signal);
    await this.#deps.record.end(this.#end, this.#state.abort);
    this.#request(
      {
        type: "run_ended",
        end: this.#end.outcome,
        // Notices that a run could not even ask about would start it again at once, and for ever.
        waking: this.#asked && this.#notices.waking,
        allowed: this.#mayWake(),
      },
      SILENT,
    );
  }

  async #work(start: RunStart, signal: AbortSignal): Promise<RunEnd> {
    const intake = this.#intake;
    try {
      await this.#deps.record.begin();
      if (intake !== undefined) await this.#takeIn(intake, start === "interrupting_input", signal);
      return await this.#deps.runTurns(signal);
    } catch (error) {
      if (!isPodError(error)) log("error", "a run failed inside pod itself", error);
      const message = isPodError(error) ? messageOf(error) : "internal error; see the pod's log";
      intake?.reject(message);
      // What could not be recorded has interrupted nothing.
      if (start === "interrupting_input" && intake?.isRejected) return { outcome: "paused" };
      return { outcome: "error", code: "internal", message };
    }
  }

  /** What is acknowledged is on the disk, its key with it. */
  async #takeIn(intake: Intake, interrupting: boolean, signal: AbortSignal): Promise<void> {
    const { record, mailbox } = this.#deps;
    await this.#conversation.takeInput(intake, interrupting, signal);
    await record.settle();
    if (intake.mark !== undefined) {
      mailbox.see(intake.mark);
      await mailbox.synced();
    }
    intake.accept();
  }

  #endRun({ outcome, report }: Extract<Effect, { type: "end_run" }>): void {
    const { files, history, session, self } = this.#deps;
    // Everything that others can read is true before the end is announced (W9).
    files.writeHistory(history.items);
    files.writeStatus(outcome === "paused" ? "paused" : "idle", session());
    const end = this.#end;
    if (outcome === "error" && end.outcome === "error") {
      this.publish({ event: "error", data: { code: end.code, message: end.message } });
    } else if (outcome === "cancelled") {
      this.publish({ event: "error", data: { code: "internal", message: "Cancelled" } });
    }
    // The reference has no word for an error or a cancel; the key beside says it (W3).
    const result = outcome === "limit_reached" || outcome === "paused" ? outcome : "finished";
    this.publish({ event: "run_end", data: { result, outcome } });
    // Whoever asked for a run that was not taken was told so, and nobody else waits for it.
    if (report === undefined || this.#intake?.isRejected) return;
    const sender = { pod_name: self.name, instance: self.instance };
    // Half an answer is none that a parent should take for a whole one.
    const remark = end.outcome === "finished" ? end.remark : undefined;
    this.#deps.report(
      report === "errored" || (report === "turn_ended" && remark !== undefined)
        ? { kind: "errored", ...sender, message: remark ?? errorText(end) }
        : { kind: report, ...sender },
    );
  }

  async #childEvent(id: string | undefined, event: PodEvent, answer: Answer): Promise<void> {
    if (this.#notices.full) {
      return void answer.reject("internal", "too many reports are waiting; send it again", true);
    }
    try {
      if (await this.#reports.take(id, event)) answer.accept();
      else answer.reject("internal", "pod_event refused: not from a known child of this pod");
    } catch (error) {
      log("error", "a child's report could not be handled", error);
      answer.reject("internal", "pod_event could not be handled", true);
    }
  }

  /** A request that takes its time; it is answered when it is done, with what went wrong if so. */
  async #longRequest(answer: Answer, act: () => Promise<string | undefined>): Promise<void> {
    if (this.#state.stopping) return void answer.reject("internal", "Pod is shutting down");
    let problem: string | undefined;
    try {
      problem = await act();
    } catch (error) {
      problem = messageOf(error);
    }
    if (problem === undefined) answer.accept();
    else answer.reject("internal", problem);
  }

  async #complete(
    connection: Connection,
    { kind, prefix }: Extract<Method, { method: "list_completions" }>["params"],
    answer: Answer,
  ): Promise<void> {
    const entries = await this.#deps.complete(kind, prefix);
    connection.send({ event: "completions", data: { kind, entries, prefix } });
    answer.accept();
  }

  #statusEvent(): Event {
    const { name, instance } = this.#deps.self;
    // What waits in an idle or paused Pod waits for a person, unless a run for it is about to start.
    const coming = this.#state.phase === "running" || this.#deferred !== undefined;
    return {
      event: "status",
      data: {
        state: this.#state.phase,
        pod_name: name,
        instance,
        pid: process.pid,
        runs: this.#runs,
        pending: (coming ? this.#notices.count : 0) + this.#deps.unreported(),
      },
    };
  }
}

function errorText(end: RunEnd): string {
  if (end.outcome === "error") return end.message;
  return "the turn limit (max_turns) was reached";
}
