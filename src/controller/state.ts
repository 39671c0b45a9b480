/**
 * What a Pod does with each request in each state: a pure transition from (state, input) to
 * (state, effects). The controller runs the effects; nothing here knows of sockets or models
 * (spec protocol 7).
 */
import type { WireErrorCode } from "../protocol/event.ts";

/** Where the Pod is. `stopping` is final: nothing is accepted any more. */
export interface ControllerState {
  readonly phase: "idle" | "running";
  readonly stopping: boolean;
  /** The running run was told to end. Sticky until it has ended. */
  readonly aborted: boolean;
}

/** The state of a Pod that has just started. */
export const INITIAL_STATE: ControllerState = { phase: "idle", stopping: false, aborted: false };

/** What can happen. */
export type Input =
  | { readonly type: "run"; readonly empty: boolean }
  | { readonly type: "resume" }
  | { readonly type: "pause" }
  | { readonly type: "cancel" }
  | { readonly type: "shutdown" }
  /** A notice was queued; `wake`: it is worth a model call. */
  | { readonly type: "notice"; readonly wake: boolean }
  /** The run has ended; `waking`: a notice that is worth a model call came too late for it. */
  | { readonly type: "run_ended"; readonly waking: boolean };

/** Why a run starts: somebody asked, or notices wait. */
export type RunCause = "request" | "notices";

/** What the controller must do, in this order. */
export type Effect =
  | { readonly type: "accept" }
  | { readonly type: "reject"; readonly code: WireErrorCode; readonly message: string }
  | { readonly type: "start_run"; readonly cause: RunCause }
  | { readonly type: "abort_run" }
  /** Leave for good: the Pod ends. */
  | { readonly type: "finish" };

/** A state with the effects of getting there. */
export interface Transition {
  readonly state: ControllerState;
  readonly effects: readonly Effect[];
}

const MESSAGES = {
  already_running: "Pod is already executing a turn",
  not_running: "Pod is not running",
  not_paused: "Pod is not paused",
} as const;

function reject(state: ControllerState, code: keyof typeof MESSAGES): Transition {
  return { state, effects: [{ type: "reject", code, message: MESSAGES[code] }] };
}

function refuse(state: ControllerState, message: string): Transition {
  return { state, effects: [{ type: "reject", code: "internal", message }] };
}

function startRun(state: ControllerState, cause: RunCause): Transition {
  const accepted: readonly Effect[] = cause === "request" ? [{ type: "accept" }] : [];
  return {
    state: { ...state, phase: "running", aborted: false },
    effects: [...accepted, { type: "start_run", cause }],
  };
}

/** The next state and what to do. Total: every input has an answer in every state. */
export function transition(state: ControllerState, input: Input): Transition {
  const running = state.phase === "running";
  switch (input.type) {
    case "run":
      if (state.stopping) return refuse(state, "Pod is shutting down");
      if (running) return reject(state, "already_running");
      if (input.empty) return refuse(state, "run needs at least one segment of input");
      return startRun(state, "request");
    case "resume":
      return reject(state, running ? "already_running" : "not_paused");
    case "pause":
      if (!running) return reject(state, "not_running");
      return refuse(state, "pause is not available in this version; use cancel");
    case "cancel":
      if (!running) return reject(state, "not_running");
      return {
        state: { ...state, aborted: true },
        effects: [{ type: "accept" }, { type: "abort_run" }],
      };
    case "shutdown":
      if (state.stopping) return { state, effects: [{ type: "accept" }] };
      return {
        state: { ...state, stopping: true, aborted: running },
        effects: [{ type: "accept" }, running ? { type: "abort_run" } : { type: "finish" }],
      };
    case "notice":
      if (running || state.stopping || !input.wake) return { state, effects: [] };
      return startRun(state, "notices");
    case "run_ended": {
      const idle: ControllerState = { ...state, phase: "idle", aborted: false };
      if (state.stopping) return { state: idle, effects: [{ type: "finish" }] };
      // After a cancel the person decides what comes next; the notices wait.
      return input.waking && !state.aborted
        ? startRun(idle, "notices")
        : { state: idle, effects: [] };
    }
  }
}
