/**
 * Runs the effects of the state machine: one owner of the conversation, of the queue of notices and
 * of what clients are told. Methods are handled one at a time in the order in which they arrive; a
 * run goes on beside them. Every run ends with exactly one `run_end`.
 */
import { log } from "../base/log.ts";
import type { Alert, Event, Greeting, RunOutcome, WireErrorCode } from "../protocol/event.ts";
import { type Item, textMessage } from "../protocol/history.ts";
import type { Method, PodEvent } from "../protocol/method.ts";
import { flattenSegments, type Segment } from "../protocol/segment.ts";
import type { PodId } from "../registry/registry.ts";
import type { Connection } from "../transport/server.ts";
import type { History } from "../worker/history.ts";
import type { RunEnd } from "../worker/loop.ts";
import type { Warn } from "./attachments.ts";
import { ChildReports } from "./child-reports.ts";
import { Notices } from "./notices.ts";
import type { RuntimeFiles } from "./runtime-files.ts";
import { fitHistory } from "./history-window.ts";
import { INITIAL_STATE, type Input, type RunCause, transition } from "./state.ts";

/** Alerts that are kept for clients that connect later (spec protocol 6.1). */
const MAX_ALERTS = 512;
/** Of each of them: all together must fit before a client, or nobody could connect any more. */
const MAX_ALERT_CHARACTERS = 4096;

/** What a controller works with. */
export interface ControllerDependencies {
  readonly self: PodId;
  readonly session: string;
  readonly history: History;
  readonly files: RuntimeFiles;
  readonly greeting: () => Greeting;
  readonly broadcast: (event: Event) => void;
  /** One run over the conversation as it stands; never rejects. */
  readonly runTurns: (signal: AbortSignal) => Promise<RunEnd>;
  /** Items that belong to the input, such as the bodies of referenced files. */
  readonly attach: (segments: readonly Segment[], warn: Warn) => Promise<readonly Item[]>;
  /** Handles a child's report; false when it is not to be believed. */
  readonly childEvent: (event: PodEvent) => Promise<boolean>;
  /** Reports to this Pod's own parent. */
  readonly report: (event: PodEvent) => void;
  /** Reports that the parent has not taken yet. */
  readonly unreported: () => number;
  /** Called once, when the Pod is to end. */
  readonly finish: () => void;
  /** Wraps a notice's text for the model. */
  readonly wrapNotice: (text: string) => string;
}

/** The controller of one Pod. */
export class Controller {
  readonly #deps: ControllerDependencies;
  readonly #notices = new Notices();
  readonly #alerts: Alert[] = [];
  #state = INITIAL_STATE;
  #abort = new AbortController();
  #input: readonly Segment[] = [];
  #runs = 0;
  /** True when the running run has got as far as a request, which takes the notices. */
  #asked = false;
  readonly #reports: ChildReports;
  /** What was typed, by the id of the user item it became. */
  readonly #typed = new Map<string, readonly Segment[]>();

  constructor(deps: ControllerDependencies) {
    this.#deps = deps;
    this.#reports = new ChildReports(deps.childEvent);
  }

  /** What the Pod is doing. */
  get phase(): "idle" | "running" {
    return this.#state.phase;
  }

  /** Replays earlier alerts to a client that has just connected. */
  opened(connection: Connection): void {
    for (const alert of this.#alerts) connection.send({ event: "alert", data: alert });
  }

  /** Handles one method of a client. */
  handle(connection: Connection, method: Method): void | Promise<void> {
    const { id } = method;
    const answer: Answer = {
      accept: () => id !== undefined && connection.send({ event: "ack", data: { id } }),
      reject: (code, message) =>
        connection.send({
          event: "error",
          data: { code, message, ...(id === undefined ? {} : { id }) },
        }),
    };
    switch (method.method) {
      case "run":
        return this.#request(
          { type: "run", empty: method.params.input.length === 0 },
          answer,
          () => {
            this.#input = method.params.input;
          },
        );
      case "notify":
        this.notice(method.params.message, true);
        return void answer.accept();
      case "pod_event":
        return this.#childEvent(id, method.params, answer);
      case "get_history":
        connection.send(this.#historyEvent());
        return void answer.accept();
      case "status":
        connection.send(this.#statusEvent());
        return void answer.accept();
      case "list_completions":
        return void answer.reject("internal", "list_completions is not available in this version");
      default:
        return this.#request({ type: method.method }, answer);
    }
  }

  /** Starts a run for somebody in this process; false when the Pod cannot take it now. */
  run(input: readonly Segment[]): boolean {
    let accepted = false;
    const answer: Answer = { accept: () => (accepted = true), reject: () => undefined };
    this.#request({ type: "run", empty: input.length === 0 }, answer, () => {
      this.#input = input;
    });
    return accepted;
  }

  /** Ends the running run, if there is one. */
  cancel(): void {
    this.#request({ type: "cancel" }, SILENT);
  }

  /** Ends the Pod: the running run first, then `finish`. Safe to call again. */
  shutdown(): void {
    this.#request({ type: "shutdown" }, SILENT);
  }

  /** Queues a text for the model; `wake` starts a run when the Pod is idle. */
  notice(text: string, wake: boolean): void {
    if (this.#notices.add(this.#deps.wrapNotice(text), wake)) {
      this.alert("warn", "pod", "too many notices are waiting; the oldest was dropped");
    }
    this.#request({ type: "notice", wake }, SILENT);
  }

  /** The notices that wait, for the next model request. */
  takeNotices(): string[] {
    this.#asked = true;
    return this.#notices.take();
  }

  /** Tells people something they should know, now and when they connect later. */
  alert(level: Alert["level"], source: Alert["source"], message: string): void {
    this.publish({ event: "alert", data: { level, source, message, timestamp_ms: Date.now() } });
  }

  /** Sends an event to all clients; alerts are kept for those that come later. */
  publish(event: Event): void {
    if (event.event !== "alert") return this.#deps.broadcast(event);
    const data = { ...event.data, message: shortened(event.data.message) };
    this.#alerts.push(data);
    if (this.#alerts.length > MAX_ALERTS) this.#alerts.shift();
    this.#deps.broadcast({ event: "alert", data });
  }

  #request(input: Input, answer: Answer, onAccept?: () => void): void {
    const next = transition(this.#state, input);
    this.#state = next.state;
    for (const effect of next.effects) {
      switch (effect.type) {
        case "accept":
          onAccept?.();
          answer.accept();
          break;
        case "reject":
          answer.reject(effect.code, effect.message);
          break;
        case "start_run":
          void this.#run(effect.cause);
          break;
        case "abort_run":
          this.#abort.abort();
          break;
        case "finish":
          this.#deps.finish();
          break;
      }
    }
  }

  /** One run from its first event to its last; never rejects. */
  async #run(cause: RunCause): Promise<void> {
    const { history, files, session } = this.#deps;
    this.#abort = new AbortController();
    this.#asked = false;
    this.#runs += 1;
    files.writeStatus("running", session);
    const end = await this.#work(cause, this.#abort.signal);
    // Everything that others can read is true before the end is announced (W9).
    files.writeHistory(history.items);
    files.writeStatus("idle", session);
    this.#announce(end);
    if (cause === "request") this.#reportUp(end);
    // Notices that a run could not even ask about would start it again at once, and for ever.
    this.#request({ type: "run_ended", waking: this.#asked && this.#notices.waking }, SILENT);
  }

  async #work(cause: RunCause, signal: AbortSignal): Promise<RunEnd> {
    try {
      if (cause === "request") await this.#takeInput(this.#input);
      return await this.#deps.runTurns(signal);
    } catch (error) {
      log("error", "a run failed inside pod itself", error);
      return { outcome: "error", code: "internal", message: "internal error; see the pod's log" };
    }
  }

  async #takeInput(segments: readonly Segment[]): Promise<void> {
    const { broadcast, history, attach } = this.#deps;
    broadcast({ event: "user_message", data: { segments: [...segments] } });
    const [message] = history.append(textMessage("user", flattenSegments(segments)));
    if (message !== undefined) this.#typed.set(message.id, segments);
    history.append(...(await attach(segments, this.alert.bind(this))));
  }

  #announce(end: RunEnd): void {
    const { broadcast } = this.#deps;
    if (end.outcome === "error") {
      broadcast({ event: "error", data: { code: end.code, message: end.message } });
    } else if (end.outcome === "cancelled") {
      broadcast({ event: "error", data: { code: "internal", message: "Cancelled" } });
    }
    const result = end.outcome === "limit_reached" ? "limit_reached" : "finished";
    const outcome: RunOutcome = end.outcome;
    broadcast({ event: "run_end", data: { result, outcome } });
  }

  /** Only runs that somebody asked for are reported, and no cancel: whoever cancelled knows (W55, 7.4). */
  #reportUp(end: RunEnd): void {
    const { report, self } = this.#deps;
    const sender = { pod_name: self.name, instance: self.instance };
    switch (end.outcome) {
      case "finished":
        // Half an answer is none that a parent should take for a whole one.
        return report(
          end.remark === undefined
            ? { kind: "turn_ended", ...sender }
            : { kind: "errored", ...sender, message: end.remark },
        );
      case "limit_reached":
        return report({
          kind: "errored",
          ...sender,
          message: "the turn limit (max_turns) was reached",
        });
      case "error":
        return report({ kind: "errored", ...sender, message: end.message });
      case "cancelled":
      case "paused":
        return undefined;
    }
  }

  #childEvent(id: string | undefined, event: PodEvent, answer: Answer): Promise<void> {
    return this.#reports.take(id, event).then(
      (believed) => {
        if (believed) answer.accept();
        else answer.reject("internal", "pod_event refused: not from a known child of this pod");
      },
      (error: unknown) => {
        log("error", "a child's report could not be handled", error);
        answer.reject("internal", "pod_event could not be handled");
      },
    );
  }

  #historyEvent(): Event {
    const items = this.#deps.history.items.map((item) => {
      const segments = this.#typed.get(item.id);
      return segments === undefined ? item : { ...item, segments };
    });
    const { kept, omitted } = fitHistory(items);
    const more = omitted === 0 ? {} : { omitted };
    return {
      event: "history",
      data: { items: kept, greeting: this.#deps.greeting(), status: this.#state.phase, ...more },
    };
  }

  #statusEvent(): Event {
    const { name, instance } = this.#deps.self;
    // What waits in an idle Pod waits for a person: it is not on its way to any request.
    const waiting = this.#state.phase === "running" ? this.#notices.count : 0;
    return {
      event: "status",
      data: {
        state: this.#state.phase,
        pod_name: name,
        instance,
        pid: process.pid,
        runs: this.#runs,
        pending: waiting + this.#deps.unreported(),
      },
    };
  }
}

function shortened(message: string): string {
  if (message.length <= MAX_ALERT_CHARACTERS) return message;
  return `${message.slice(0, MAX_ALERT_CHARACTERS).toWellFormed()}…`;
}

/** How one request is answered. */
interface Answer {
  accept(): unknown;
  reject(code: WireErrorCode, message: string): unknown;
}

const SILENT: Answer = { accept: () => undefined, reject: () => undefined };
