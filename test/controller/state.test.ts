import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type ControllerState,
  type Effect,
  INITIAL_STATE,
  type Input,
  transition,
} from "../../src/controller/state.ts";

const IDLE = INITIAL_STATE;
const RUNNING: ControllerState = { phase: "running", stopping: false, aborted: false };
const CANCELLED: ControllerState = { phase: "running", stopping: false, aborted: true };
const ENDING: ControllerState = { phase: "running", stopping: true, aborted: true };
const OVER: ControllerState = { phase: "idle", stopping: true, aborted: false };

const STATES = { idle: IDLE, running: RUNNING, cancelled: CANCELLED, ending: ENDING, over: OVER };
type StateName = keyof typeof STATES;

const INPUTS = {
  run: { type: "run", empty: false },
  "empty run": { type: "run", empty: true },
  resume: { type: "resume" },
  pause: { type: "pause" },
  cancel: { type: "cancel" },
  shutdown: { type: "shutdown" },
  "waking notice": { type: "notice", wake: true },
  "quiet notice": { type: "notice", wake: false },
  "end of the run": { type: "run_ended", waking: false },
  "end of the run before a waking notice": { type: "run_ended", waking: true },
} as const satisfies Record<string, Input>;
type InputName = keyof typeof INPUTS;

const accept: Effect = { type: "accept" };
const abort: Effect = { type: "abort_run" };
const finish: Effect = { type: "finish" };
const start = (cause: "request" | "notices"): Effect => ({ type: "start_run", cause });
const reject = (
  code: "already_running" | "not_running" | "not_paused" | "internal",
  message: string,
): Effect => ({
  type: "reject",
  code,
  message,
});

const busy = reject("already_running", "Pod is already executing a turn");
const notRunning = reject("not_running", "Pod is not running");
const notPaused = reject("not_paused", "Pod is not paused");
const ending = reject("internal", "Pod is shutting down");
const empty = reject("internal", "run needs at least one segment of input");
const noPause = reject("internal", "pause is not available in this version; use cancel");

/** For every input: in which state, what becomes of the state, and what is to be done. */
const TABLE: Record<InputName, Record<StateName, readonly [StateName, ...Effect[]]>> = {
  run: {
    idle: ["running", accept, start("request")],
    running: ["running", busy],
    cancelled: ["cancelled", busy],
    ending: ["ending", ending],
    over: ["over", ending],
  },
  "empty run": {
    idle: ["idle", empty],
    running: ["running", busy],
    cancelled: ["cancelled", busy],
    ending: ["ending", ending],
    over: ["over", ending],
  },
  resume: {
    idle: ["idle", notPaused],
    running: ["running", busy],
    cancelled: ["cancelled", busy],
    ending: ["ending", busy],
    over: ["over", notPaused],
  },
  pause: {
    idle: ["idle", notRunning],
    running: ["running", noPause],
    cancelled: ["cancelled", noPause],
    ending: ["ending", noPause],
    over: ["over", notRunning],
  },
  cancel: {
    idle: ["idle", notRunning],
    running: ["cancelled", accept, abort],
    cancelled: ["cancelled", accept, abort],
    ending: ["ending", accept, abort],
    over: ["over", notRunning],
  },
  shutdown: {
    idle: ["over", accept, finish],
    running: ["ending", accept, abort],
    cancelled: ["ending", accept, abort],
    ending: ["ending", accept],
    over: ["over", accept],
  },
  "waking notice": {
    idle: ["running", start("notices")],
    running: ["running"],
    cancelled: ["cancelled"],
    ending: ["ending"],
    over: ["over"],
  },
  "quiet notice": {
    idle: ["idle"],
    running: ["running"],
    cancelled: ["cancelled"],
    ending: ["ending"],
    over: ["over"],
  },
  "end of the run": {
    idle: ["idle"],
    running: ["idle"],
    cancelled: ["idle"],
    ending: ["over", finish],
    over: ["over", finish],
  },
  "end of the run before a waking notice": {
    idle: ["running", start("notices")],
    running: ["running", start("notices")],
    cancelled: ["idle"],
    ending: ["over", finish],
    over: ["over", finish],
  },
};

const names = <Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] =>
  Object.keys(record) as Key[];

for (const state of names(STATES)) {
  describe(`a pod that is ${state}`, () => {
    for (const input of names(INPUTS)) {
      const [next, ...effects] = TABLE[input][state];
      const what = effects
        .map((effect) => ("code" in effect ? effect.code : effect.type))
        .join(", ");
      test(`is ${next} after: ${input} (${what || "nothing to do"})`, () => {
        const before = structuredClone(STATES[state]);
        expect(transition(STATES[state], INPUTS[input])).toEqual({ state: STATES[next], effects });
        expect(STATES[state]).toEqual(before);
      });
    }
  });
}

describe("any sequence of inputs", () => {
  /** Inputs of others; the end of a run is fed in only while one is running, as the controller does. */
  const steps = fc.array(fc.constantFrom(...names(INPUTS)), { maxLength: 60 });

  test("starts runs one after the other, ends the pod once, and starts nothing after that", () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state = INITIAL_STATE;
        let running = 0;
        let finished = 0;
        for (const name of sequence) {
          if (INPUTS[name].type === "run_ended") {
            if (running === 0) continue;
            running -= 1;
          }
          const next = transition(state, INPUTS[name]);
          state = next.state;
          for (const { type } of next.effects) {
            if (type === "start_run") {
              running += 1;
              expect(finished).toBe(0);
            }
            if (type === "finish") finished += 1;
          }
          expect(running).toBe(state.phase === "running" ? 1 : 0);
          expect(finished).toBe(state.stopping && state.phase === "idle" ? 1 : 0);
        }
      }),
    );
  });

  test("answers every request exactly once", () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state = INITIAL_STATE;
        for (const name of sequence) {
          const input = INPUTS[name];
          const next = transition(state, input);
          const answers = next.effects.filter(({ type }) => type === "accept" || type === "reject");
          const asked = input.type !== "notice" && input.type !== "run_ended";
          expect(answers).toHaveLength(asked ? 1 : 0);
          state = next.state;
        }
      }),
    );
  });
});
