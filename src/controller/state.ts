/**
 * What a Pod does with each request in each state: a pure transition from (state, input) to
 * (state, effects in order). The controller runs the effects; nothing here knows of sockets, models
 * or clocks (spec protocol 7).
 */
import type { RunOutcome, WireErrorCode } from "../protocol/event.ts";

/** What the running run was told. Sticky until it has ended, so nothing is lost before it begins (W6). */
export type AbortReason = "none" | "pause" | "cancel" | "shutdown";

/** Why a run goes on: somebody asked for it, or notices wait. A resumed run keeps its cause. */
type RunCause = "request" | "notices";

/** Where the Pod is. */
export interface ControllerState {
  readonly phase: "idle" | "running" | "paused";
  /** Final: nothing is started any more. */
  readonly stopping: boolean;
  readonly abort: AbortReason;
  /** Of the run that is running or paused; `request` while idle. */
  readonly cause: RunCause;
}

/** The state of a Pod that has just started. */
export const INITIAL_STATE: ControllerState = {
  phase: "idle",
  stopping: false,
  abort: "none",
  cause: "request",
};

/** The state of a Pod that comes back to a conversation whose last run was paused (W22). */
export const PAUSED_STATE: ControllerState = { ...INITIAL_STATE, phase: "paused" };

/** What can happen. */
export type Input =
  | { readonly type: "run"; readonly empty: boolean }
  | { readonly type: "resume" }
  | { readonly type: "pause" }
  | { readonly type: "cancel" }
  | { readonly type: "shutdown" }
  /** A notice waits. `wake`: it is worth a model call; `allowed`: a run may be started for it now (W59). */
  | { readonly type: "notice"; readonly wake: boolean; readonly allowed: boolean }
  /** The run has ended; `waking`: a notice that is worth a model call came too late for it. */
  | {
      readonly type: "run_ended";
      readonly end: RunEndKind;
      /** As it was recorded: what somebody asked for since came too late. Without it, as things stand. */
      readonly ending?: Ending;
      readonly waking: boolean;
      readonly allowed: boolean;
    };

/** How the worker says that a run ended: by itself, or because it was told to. */
export type RunEndKind = "finished" | "limit_reached" | "error" | "cancelled" | "paused";

/** How a run begins. */
export type RunStart = "input" | "interrupting_input" | "notices" | "resume";

/** What the parent is told about the end of a run. */
export type RunReport = "turn_ended" | "errored" | "turn_paused" | "turn_cancelled";

/** How a run has ended for everybody, and what the parent hears of it, if anything. */
export interface Ending {
  readonly outcome: RunOutcome;
  readonly report: RunReport | undefined;
}

/** What the controller must do, in this order. */
export type Effect =
  | { readonly type: "accept" }
  | { readonly type: "reject"; readonly code: WireErrorCode; readonly message: string }
  | { readonly type: "start_run"; readonly start: RunStart }
  | { readonly type: "abort_run" }
  /** Start a run for the waiting notices as soon as that is allowed again. */
  | { readonly type: "defer_wake" }
  /** Make the end public: files first, then clients, then the parent unless there is nothing to say. */
  | ({ readonly type: "end_run" } & Ending)
  /** Leave for good: the Pod ends. */
  | { readonly type: "finish" };

/** A state with the effects of getting there. */
interface Transition {
  readonly state: ControllerState;
  readonly effects: readonly Effect[];
}

const MESSAGES = {
  already_running: "Pod is already executing a turn",
  not_running: "Pod is not running",
  not_paused: "Pod is not paused",
} as const;

const ACCEPT: Effect = { type: "accept" };

function reject(state: ControllerState, code: keyof typeof MESSAGES): Transition {
  return { state, effects: [{ type: "reject", code, message: MESSAGES[code] }] };
}

function refuse(state: ControllerState, message: string): Transition {
  return { state, effects: [{ type: "reject", code: "internal", message }] };
}

function startRun(state: ControllerState, start: RunStart, cause: RunCause): Transition {
  const accepted: readonly Effect[] = start === "notices" ? [] : [ACCEPT];
  return {
    state: { ...state, phase: "running", abort: "none", cause },
    effects: [...accepted, { type: "start_run", start }],
  };
}

function wakeFor(state: ControllerState, allowed: boolean): Transition {
  if (!allowed) return { state, effects: [{ type: "defer_wake" }] };
  return startRun(state, "notices", "notices");
}

/** The next state and what to do. Total: every input has an answer in every state. */
export function transition(state: ControllerState, input: Input): Transition {
  const { phase, stopping } = state;
  const running = phase === "running";
  switch (input.type) {
    case "run":
      if (stopping) return refuse(state, "Pod is shutting down");
      if (running) return reject(state, "already_running");
      if (input.empty) return refuse(state, "run needs at least one segment of input");
      return startRun(state, phase === "paused" ? "interrupting_input" : "input", "request");
    case "resume":
      if (running) return reject(state, "already_running");
      if (phase !== "paused") return reject(state, "not_paused");
      if (stopping) return refuse(state, "Pod is shutting down");
      return startRun(state, "resume", state.cause);
    case "pause":
      if (phase === "idle") return reject(state, "not_running");
      if (phase === "paused") return { state, effects: [ACCEPT] };
      // With a cancel before the loop reacts, in any order, the run is paused (spec 7.4).
      return {
        state: { ...state, abort: state.abort === "shutdown" ? "shutdown" : "pause" },
        effects: [ACCEPT, { type: "abort_run" }],
      };
    case "cancel":
      if (!running) return reject(state, "not_running");
      return {
        state: { ...state, abort: state.abort === "none" ? "cancel" : state.abort },
        effects: [ACCEPT, { type: "abort_run" }],
      };
    case "shutdown":
      if (stopping) return { state, effects: [ACCEPT] };
      if (!running) {
        return { state: { ...state, stopping: true }, effects: [ACCEPT, { type: "finish" }] };
      }
      return {
        state: {
          ...state,
          stopping: true,
          abort: state.abort === "none" ? "shutdown" : state.abort,
        },
        effects: [ACCEPT, { type: "abort_run" }],
      };
    case "notice":
      if (phase !== "idle" || stopping || !input.wake) return { state, effects: [] };
      return wakeFor(state, input.allowed);
    case "run_ended":
      return runEnded(state, input);
  }
}

/** How a run ends that comes to its end in this state. */
export function endingOf(state: ControllerState, end: RunEndKind): Ending {
  const outcome: RunOutcome = end === "cancelled" && state.abort === "pause" ? "paused" : end;
  return { outcome, report: reportOf(state, outcome) };
}

function runEnded(
  state: ControllerState,
  input: Extract<Input, { type: "run_ended" }>,
): Transition {
  const { stopping, abort } = state;
  const ending = input.ending ?? endingOf(state, input.end);
  const { outcome } = ending;
  const ended: Effect = { type: "end_run", ...ending };
  const next: ControllerState =
    outcome === "paused"
      ? { ...state, phase: "paused", abort: "none" }
      : { ...INITIAL_STATE, stopping };
  if (stopping) return { state: next, effects: [ended, { type: "finish" }] };
  // After a cancel or a pause, also one that came while the end was being recorded, the person decides what
  // comes next.
  if (!input.waking || outcome === "paused" || abort !== "none") {
    return { state: next, effects: [ended] };
  }
  const woken = wakeFor(next, input.allowed);
  return { state: woken.state, effects: [ended, ...woken.effects] };
}

/**
 * A parent hears of every end that it may be waiting for (W55): of what ran well or was cancelled
 * only when somebody had asked for it (spec registry-and-spawn 7.4), of everything that holds the
 * work up always. What a shutdown cut off is told by the end of the Pod itself.
 */
function reportOf(
  { abort, cause, stopping }: ControllerState,
  outcome: RunOutcome,
): RunReport | undefined {
  switch (outcome) {
    case "finished":
      return cause === "request" ? "turn_ended" : undefined;
    case "limit_reached":
    case "error":
      return "errored";
    case "paused":
      return stopping ? undefined : "turn_paused";
    case "cancelled":
      return cause === "request" && abort === "cancel" && !stopping ? "turn_cancelled" : undefined;
  }
}
