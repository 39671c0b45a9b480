/**
 * Runs the effects of the state machine: one owner of the conversation, of the queue of notices and
 * of what clients are told. Methods are handled one at a time in the order in which they arrive; a
 * run goes on beside them. Every run ends with exactly one `run_end`.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import type { Alert, Event } from "../protocol/event.ts";
import type { Item } from "../protocol/history.ts";
import type { Method } from "../protocol/method.ts";
import type { Segment } from "../protocol/segment.ts";
import type { Connection } from "../transport/server.ts";
import type { RunEnd } from "../worker/loop.ts";
import { type Answer, answerOn, answerWith, SILENT } from "./answer.ts";
import { ChildReports } from "./child-reports.ts";
import { Conversation } from "./conversation.ts";
import type { ControllerDependencies } from "./dependencies.ts";
import { Intake } from "./intake.ts";
import { type Outgoing, RUN_KEY } from "./mailbox.ts";
import { endEvents, endReport } from "./run-end.ts";
import {
  type ControllerState,
  type Effect,
  type Ending,
  endingOf,
  INITIAL_STATE,
  type Input,
  type RunStart,
  transition,
} from "./state.ts";
import { Waking } from "./waking.ts";

/** The controller of one Pod. */
export class Controller {
  readonly #deps: ControllerDependencies;
  readonly #waking: Waking;
  readonly #conversation: Conversation;
  readonly #reports: ChildReports;
  #state: ControllerState;
  #abort = new AbortController();
  /** What the running run begins with, if somebody asked for it. */
  #intake: Intake | undefined;
  /** The end of the run that is being settled, and what the parent is to hear of it. */
  #end: RunEnd = { outcome: "finished" };
  #report: Outgoing | undefined;
  #runs = 0;
  /** True when the running run has got as far as a request, which takes the notices. */
  #asked = false;

  constructor(deps: ControllerDependencies) {
    this.#deps = deps;
    this.#conversation = new Conversation(deps);
    this.#state = deps.initial ?? INITIAL_STATE;
    if (this.#state.phase === "paused") this.#conversation.paused();
    this.#waking = new Waking(
      deps,
      (wake, allowed) => this.#request({ type: "notice", wake, allowed }, SILENT),
      (message) => this.alert("warn", "pod", message),
    );
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
    this.#waking.begin();
  }

  /** Replays earlier alerts to a client that has just connected. */
  opened(connection: Connection): void {
    this.#conversation.opened(connection);
  }

  /** Handles one method of a client. */
  handle(connection: Connection, method: Method): void | Promise<void> {
    const { id } = method;
    const answer = answerOn(connection, id);
    switch (method.method) {
      case "run":
        return this.#runRequest(method.params.input, method.params.key, answer);
      case "notify":
        return this.#waking.note(method.params.message, answer);
      case "pod_event":
        return this.#reports.answer(id, method.params, answer, this.#waking.full);
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
      case "revive":
        return this.#longRequest(answer, () => this.#deps.revive(method.params));
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
   * Queues a text for the model; `wake` starts a run when the Pod is idle. With an `id` it is kept on
   * disk until the model has it, and is taken once however often it comes.
   */
  notice(text: string, wake: boolean, id?: string): void {
    this.#waking.notice(text, wake, id);
  }

  /** Hands the notices that wait to `keep` as messages; they wait on when it throws (W11). */
  takeNotices(keep: (items: readonly Item[]) => void): void {
    this.#asked = true;
    this.#waking.take(keep);
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
        return this.#waking.defer();
      case "end_run":
        return this.#endRun(effect);
      case "finish":
        this.#waking.settle();
        return this.#deps.finish();
    }
  }

  /** One run from its first event to its last; never rejects. */
  async #run(start: RunStart): Promise<void> {
    this.#waking.settle();
    if (start === "notices") this.#waking.spend();
    this.#abort = new AbortController();
    this.#asked = false;
    this.#runs += 1;
    this.#deps.files.writeStatus("running", this.#deps.session());
    const isNew = start === "input" || start === "interrupting_input";
    if (!isNew) this.#intake = undefined;
    this.#end = await this.#work(start, this.#abort.signal);
    const ending = endingOf(this.#state, this.#end.outcome);
    // Whoever asked for a run that was not taken was told so, and nobody else waits for it.
    const isTaken = this.#intake?.isRejected !== true;
    this.#report = isTaken ? endReport(this.#end, ending, this.#deps.self) : undefined;
    await this.#deps.record.end(this.#end, this.#state.abort, this.#report);
    this.#request(
      {
        type: "run_ended",
        end: this.#end.outcome,
        ending,
        // Notices that a run could not even ask about would start it again at once, and for ever.
        waking: this.#asked && this.#waking.waking,
        allowed: this.#waking.allowed,
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

  #endRun({ outcome }: Ending): void {
    const { files, history, session, report } = this.#deps;
    // Everything that others can read is true before the end is announced (W9).
    files.writeHistory(history.items);
    files.writeStatus(outcome === "paused" ? "paused" : "idle", session());
    for (const event of endEvents(this.#end, outcome)) this.publish(event);
    if (this.#report !== undefined) report(this.#report);
  }

  /** A request that takes its time; it is answered when it is done, with what went wrong if so. */
  async #longRequest(answer: Answer, act: () => Promise<string | undefined>): Promise<void> {
    if (this.#state.stopping) return void answer.reject("internal", "Pod is shutting down");
    await answerWith(answer, act);
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
    const coming = this.#state.phase === "running" || this.#waking.isDeferred;
    return {
      event: "status",
      data: {
        state: this.#state.phase,
        pod_name: name,
        instance,
        pid: process.pid,
        runs: this.#runs,
        pending: (coming ? this.#waking.count : 0) + this.#deps.unreported(),
      },
    };
  }
}
