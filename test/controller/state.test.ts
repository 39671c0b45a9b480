import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { RunOutcome } from "../../src/protocol/event.ts";
import {
  type AbortReason,
  type ControllerState,
  endingOf,
  type Effect,
  INITIAL_STATE,
  type Input,
  PAUSED_STATE,
  type RunEndKind,
  type RunReport,
  type RunStart,
  transition,
} from "../../src/controller/state.ts";

const IDLE = INITIAL_STATE;
const asked = (abort: AbortReason, stopping = false): ControllerState => ({
  phase: "running",
  stopping,
  abort,
  cause: "request",
});
const woken = (abort: AbortReason): ControllerState => ({ ...asked(abort), cause: "notices" });

const STATES = {
  idle: IDLE,
  running: asked("none"),
  woken: woken("none"),
  pausing: asked("pause"),
  cancelled: asked("cancel"),
  "woken and cancelled": woken("cancel"),
  ending: asked("shutdown", true),
  "pausing and ending": asked("pause", true),
  paused: PAUSED_STATE,
  "paused after waking": { ...PAUSED_STATE, cause: "notices" },
  over: { ...IDLE, stopping: true },
  "over and paused": { ...PAUSED_STATE, stopping: true },
} as const satisfies Record<string, ControllerState>;
type StateName = keyof typeof STATES;

const ended = (end: RunEndKind, waking = false, allowed = true): Input => ({
  type: "run_ended",
  end,
  waking,
  allowed,
});

const INPUTS = {
  run: { type: "run", empty: false },
  "empty run": { type: "run", empty: true },
  resume: { type: "resume" },
  pause: { type: "pause" },
  cancel: { type: "cancel" },
  shutdown: { type: "shutdown" },
  "waking notice": { type: "notice", wake: true, allowed: true },
  "waking notice beyond the budget": { type: "notice", wake: true, allowed: false },
  "quiet notice": { type: "notice", wake: false, allowed: true },
} as const satisfies Record<string, Input>;
type InputName = keyof typeof INPUTS;

const accept: Effect = { type: "accept" };
const abort: Effect = { type: "abort_run" };
const finish: Effect = { type: "finish" };
const defer: Effect = { type: "defer_wake" };
const start = (how: RunStart): Effect => ({ type: "start_run", start: how });
const end = (outcome: RunOutcome, report?: RunReport): Effect => ({
  type: "end_run",
  outcome,
  report,
});
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

/** Name of the next state, which may be one of `FINAL`, and what is to be done. */
type Row = readonly [string, ...Effect[]];
/** The same for every state in which a run is going on. */
const whileRunning = (row: (name: StateName) => Row) => ({
  running: row("running"),
  woken: row("woken"),
  pausing: row("pausing"),
  cancelled: row("cancelled"),
  "woken and cancelled": row("woken and cancelled"),
});
const whileEnding = (row: (name: StateName) => Row) => ({
  ending: row("ending"),
  "pausing and ending": row("pausing and ending"),
});
const nothing = (name: StateName): Row => [name];
const still =
  (...effects: Effect[]) =>
  (name: StateName): Row => [name, ...effects];

/** For every input: in which state, what becomes of the state, and what is to be done. */
const TABLE: Record<InputName, Record<StateName, Row>> = {
  run: {
    idle: ["running", accept, start("input")],
    ...whileRunning(still(busy)),
    ...whileEnding(still(ending)),
    paused: ["running", accept, start("interrupting_input")],
    "paused after waking": ["running", accept, start("interrupting_input")],
    over: ["over", ending],
    "over and paused": ["over and paused", ending],
  },
  "empty run": {
    idle: ["idle", empty],
    ...whileRunning(still(busy)),
    ...whileEnding(still(ending)),
    paused: ["paused", empty],
    "paused after waking": ["paused after waking", empty],
    over: ["over", ending],
    "over and paused": ["over and paused", ending],
  },
  resume: {
    idle: ["idle", notPaused],
    ...whileRunning(still(busy)),
    ...whileEnding(still(busy)),
    paused: ["running", accept, start("resume")],
    "paused after waking": ["woken", accept, start("resume")],
    over: ["over", notPaused],
    "over and paused": ["over and paused", ending],
  },
  pause: {
    idle: ["idle", notRunning],
    ...whileRunning(() => ["pausing", accept, abort]),
    woken: ["woken and pausing", accept, abort],
    "woken and cancelled": ["woken and pausing", accept, abort],
    ending: ["ending", accept, abort],
    "pausing and ending": ["pausing and ending", accept, abort],
    paused: ["paused", accept],
    "paused after waking": ["paused after waking", accept],
    over: ["over", notRunning],
    "over and paused": ["over and paused", accept],
  },
  cancel: {
    idle: ["idle", notRunning],
    running: ["cancelled", accept, abort],
    woken: ["woken and cancelled", accept, abort],
    pausing: ["pausing", accept, abort],
    cancelled: ["cancelled", accept, abort],
    "woken and cancelled": ["woken and cancelled", accept, abort],
    ...whileEnding(still(accept, abort)),
    paused: ["paused", notRunning],
    "paused after waking": ["paused after waking", notRunning],
    over: ["over", notRunning],
    "over and paused": ["over and paused", notRunning],
  },
  shutdown: {
    idle: ["over", accept, finish],
    running: ["ending", accept, abort],
    woken: ["woken and ending", accept, abort],
    pausing: ["pausing and ending", accept, abort],
    cancelled: ["cancelled and ending", accept, abort],
    "woken and cancelled": ["woken, cancelled and ending", accept, abort],
    ...whileEnding(still(accept)),
    paused: ["over and paused", accept, finish],
    "paused after waking": ["over and paused after waking", accept, finish],
    over: ["over", accept],
    "over and paused": ["over and paused", accept],
  },
  "waking notice": {
    idle: ["woken", start("notices")],
    ...whileRunning(nothing),
    ...whileEnding(nothing),
    paused: ["paused"],
    "paused after waking": ["paused after waking"],
    over: ["over"],
    "over and paused": ["over and paused"],
  },
  "waking notice beyond the budget": {
    idle: ["idle", defer],
    ...whileRunning(nothing),
    ...whileEnding(nothing),
    paused: ["paused"],
    "paused after waking": ["paused after waking"],
    over: ["over"],
    "over and paused": ["over and paused"],
  },
  "quiet notice": {
    idle: ["idle"],
    ...whileRunning(nothing),
    ...whileEnding(nothing),
    paused: ["paused"],
    "paused after waking": ["paused after waking"],
    over: ["over"],
    "over and paused": ["over and paused"],
  },
};

/** States that only lead out of here; reached in the table, not entered in it. */
const FINAL: Record<string, ControllerState> = {
  ...STATES,
  "woken and pausing": woken("pause"),
  "woken and ending": { ...woken("shutdown"), stopping: true },
  "cancelled and ending": asked("cancel", true),
  "woken, cancelled and ending": { ...woken("cancel"), stopping: true },
  "over and paused after waking": { ...PAUSED_STATE, cause: "notices", stopping: true },
};

/** How a run ends: in which state, with which notices waiting, and what follows, in order. */
const ENDS: readonly (readonly [string, Input, string, ...Effect[]])[] = [
  ["running", ended("finished"), "idle", end("finished", "turn_ended")],
  ["running", ended("limit_reached"), "idle", end("limit_reached", "errored")],
  ["running", ended("error"), "idle", end("error", "errored")],
  ["woken", ended("finished"), "idle", end("finished")],
  ["woken", ended("limit_reached"), "idle", end("limit_reached", "errored")],
  ["woken", ended("error"), "idle", end("error", "errored")],
  ["cancelled", ended("cancelled"), "idle", end("cancelled", "turn_cancelled")],
  ["woken and cancelled", ended("cancelled"), "idle", end("cancelled")],
  ["pausing", ended("cancelled"), "paused", end("paused", "turn_paused")],
  ["woken and pausing", ended("cancelled"), "paused after waking", end("paused", "turn_paused")],
  // It ended by itself before it heard: the pause or cancel has no effect (spec 7.4).
  ["pausing", ended("finished"), "idle", end("finished", "turn_ended")],
  ["cancelled", ended("finished"), "idle", end("finished", "turn_ended")],
  ["pausing", ended("error"), "idle", end("error", "errored")],
  ["ending", ended("cancelled"), "over", end("cancelled"), finish],
  ["ending", ended("finished"), "over", end("finished", "turn_ended"), finish],
  ["pausing and ending", ended("cancelled"), "over and paused", end("paused"), finish],
  ["cancelled and ending", ended("cancelled"), "over", end("cancelled"), finish],
  // With notices that came too late for it.
  ["running", ended("finished", true), "woken", end("finished", "turn_ended"), start("notices")],
  ["running", ended("error", true), "woken", end("error", "errored"), start("notices")],
  ["running", ended("finished", true, false), "idle", end("finished", "turn_ended"), defer],
  ["cancelled", ended("cancelled", true), "idle", end("cancelled", "turn_cancelled")],
  ["pausing", ended("cancelled", true), "paused", end("paused", "turn_paused")],
  ["ending", ended("cancelled", true), "over", end("cancelled"), finish],
];

const names = <Key extends string>(record: Readonly<Record<Key, unknown>>): Key[] =>
  Object.keys(record) as Key[];

const described = (effects: readonly Effect[]): string =>
  effects.map((effect) => ("code" in effect ? effect.code : effect.type)).join(", ") ||
  "nothing to do";

for (const state of names(STATES)) {
  test.each(["cancel", "finished"] as const)(
    "no run starts after a pause that was accepted while the end of a run (%s) was being recorded",
    (how) => {
      const before: ControllerState = asked(how === "cancel" ? "cancel" : "none");
      const end: RunEndKind = how === "cancel" ? "cancelled" : "finished";
      const ending = endingOf(before, end);
      const { state, effects } = transition(before, { type: "pause" });
      expect(effects[0]).toEqual({ type: "accept" });
      const last = transition(state, {
        type: "run_ended",
        end,
        ending,
        waking: true,
        allowed: true,
      });
      expect(last.effects).toEqual([{ type: "end_run", ...ending }]);
      expect(last.state.phase).toBe("idle");
    },
  );

  describe(`a pod that is ${state}`, () => {
    for (const input of names(INPUTS)) {
      const [next, ...effects] = TABLE[input][state];
      test(`is ${next} after: ${input} (${described(effects)})`, () => {
        const before = structuredClone(STATES[state]);
        expect(transition(STATES[state], INPUTS[input])).toEqual({
          state: FINAL[next] as ControllerState,
          effects,
        });
        expect(STATES[state]).toEqual(before);
      });
    }
  });
}

describe("the end of a run", () => {
  test.each(ENDS.map(([from, input, to, ...effects]) => ({ from, input, to, effects })))(
    "that is $from: $input.end leads to $to",
    ({ from, input, to, effects }) => {
      expect(transition(FINAL[from] as ControllerState, input)).toEqual({
        state: FINAL[to] as ControllerState,
        effects,
      });
    },
  );
});

describe("any sequence of inputs", () => {
  /** Inputs of others; the end of a run is fed in only while one is running, as the controller does. */
  const steps = fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...names(INPUTS)).map((name) => INPUTS[name]) },
      fc
        .tuple(
          fc.constantFrom("finished", "limit_reached", "error", "cancelled"),
          fc.boolean(),
          fc.boolean(),
        )
        .map(([kind, waking, allowed]) => ended(kind as RunEndKind, waking, allowed)),
    ),
    { maxLength: 60 },
  );

  test("starts runs one after the other, ends each once, ends the pod once, and starts nothing after that", () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state: ControllerState = INITIAL_STATE;
        let running = 0;
        let finished = 0;
        for (const input of sequence) {
          if (input.type === "run_ended" && running === 0) continue;
          const next = transition(state, input);
          state = next.state;
          for (const { type } of next.effects) {
            if (type === "end_run") running -= 1;
            if (type === "start_run") {
              running += 1;
              expect(finished).toBe(0);
            }
            if (type === "finish") finished += 1;
          }
          expect(running).toBe(state.phase === "running" ? 1 : 0);
          expect(finished).toBe(state.stopping && state.phase !== "running" ? 1 : 0);
        }
      }),
    );
  });

  test("answers every request exactly once", () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let state: ControllerState = INITIAL_STATE;
        for (const input of sequence) {
          const next = transition(state, input);
          const answers = next.effects.filter(({ type }) => type === "accept" || type === "reject");
          const isAsked = input.type !== "notice" && input.type !== "run_ended";
          expect(answers).toHaveLength(isAsked ? 1 : 0);
          state = next.state;
        }
      }),
    );
  });
});
