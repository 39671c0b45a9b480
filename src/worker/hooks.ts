/**
 * Where others may have a say in tool calls: before one runs and before its result is kept
 * (spec worker-and-tools 1.4, 1.9). Every call still gets exactly one result, whatever they decide.
 */
import type { ToolOutcome } from "../tools/tool.ts";
import type { ToolInput } from "./arguments.ts";
import type { PlannedCall } from "./fold.ts";

/** A call of a known tool with usable arguments. */
interface AskedCall {
  readonly callId: string;
  readonly name: string;
  readonly input: ToolInput;
}

/**
 * What becomes of a call: it runs (with `input` in place of its own; the history keeps the model's),
 * is answered as skipped, ends the run before any call of its response has run, or makes the run
 * wait, with all its calls, until it is resumed.
 */
export type CallDecision =
  | { readonly decision: "run"; readonly input?: ToolInput }
  | { readonly decision: "skip"; readonly reason: string }
  | { readonly decision: "abort"; readonly reason: string }
  | { readonly decision: "pause" };

/** Absent functions have nothing to say. */
export interface ToolHooks {
  /** Asked for one call after the other, before any of them runs; once more after a pause. */
  readonly beforeCall?: (call: AskedCall) => CallDecision | Promise<CallDecision>;
  /**
   * Gets each result as the tool gave it, before it is cut to size; what it returns is kept. With
   * `abort` the results stay and the run ends.
   */
  readonly afterCall?: (call: PlannedCall, outcome: ToolOutcome) => AfterCall | Promise<AfterCall>;
}

/** A result as it is to be kept, and whether the run ends with it. */
interface AfterCall {
  readonly outcome: ToolOutcome;
  readonly abort?: string;
}

/** Calls to execute, or why none of them is. */
type Gated =
  | { readonly calls: readonly PlannedCall[] }
  | { readonly abort: string }
  | { readonly paused: true };

/** Asks about each call in order; the first that aborts or pauses decides for all. */
export async function gate(
  calls: readonly PlannedCall[],
  isKnown: (name: string) => boolean,
  hooks: ToolHooks | undefined,
): Promise<Gated> {
  if (hooks?.beforeCall === undefined) return { calls };
  const passed: PlannedCall[] = [];
  for (const call of calls) {
    if ("refusal" in call || !isKnown(call.name)) {
      passed.push(call);
      continue;
    }
    const answer = await hooks.beforeCall(call);
    const { callId, name } = call;
    switch (answer.decision) {
      case "run":
        passed.push({ callId, name, input: answer.input ?? call.input });
        break;
      case "skip":
        passed.push({ callId, name, refusal: `Tool call skipped: ${answer.reason}` });
        break;
      case "abort":
        return { abort: answer.reason };
      case "pause":
        return { paused: true };
    }
  }
  return { calls: passed };
}
