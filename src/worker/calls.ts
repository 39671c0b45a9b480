/**
 * The tool calls of one response, from the hooks that may hold them back to their results in the
 * history. Every call gets exactly one result there, unless a hook holds the calls back whole.
 */
import type { ToolResultItem } from "../protocol/history.ts";
import type { Tool } from "../tools/tool.ts";
import { type CallResult, runBatch } from "./batch.ts";
import type { PlannedCall } from "./fold.ts";
import type { History } from "./history.ts";
import { gate, type ToolHooks } from "./hooks.ts";
import type { OutputLimits } from "./truncate.ts";
import type { TurnCounter } from "./turn-counter.ts";
import { type Voice, warn } from "./warn.ts";

/** What calls need of a run. */
export interface CallDependencies extends Voice {
  /** Nobody else appends to it while the run lasts. */
  readonly history: History;
  readonly turns: TurnCounter;
  readonly output: OutputLimits;
  /**
   * Resolves when everything appended to the history is safe from a crash of the machine: awaited
   * before the first request, before requests with notices and before tools run. Rejecting ends the
   * run, and nothing unrecorded is done.
   */
  readonly settle?: () => Promise<void>;
  /** Told of results whose batch is still at work; must not throw. */
  readonly recordEarly?: (item: ToolResultItem) => void;
  /** Wait for tools after an abort, in milliseconds; default `ABORT_SETTLE_MS`. */
  readonly abortSettleMs?: number;
  readonly hooks?: ToolHooks;
  /** See `BatchOptions`. */
  readonly spill?: (callId: string, content: string) => string | undefined;
  readonly interrupted?: string;
}

/** The end of a run that a hook wants. */
export type CallsEnd =
  /** The calls are held back; the next run executes them unless something else was said before. */
  | { readonly outcome: "paused" }
  | { readonly outcome: "error"; readonly code: "internal"; readonly message: string };

/** The calls that a hook held back, if they are still what the conversation waits for. */
export function heldCalls({
  history,
  turns,
}: CallDependencies): readonly PlannedCall[] | undefined {
  const { held } = turns;
  delete turns.held;
  const open = history.openCalls();
  const isSame =
    held?.length === open.length && open.every((call, at) => held[at]?.callId === call.call_id);
  return isSame ? held : undefined;
}

/**
 * Runs a batch and commits its results; clients see them after they are in the history. Returns the
 * end of the run when a hook wants one.
 */
export async function executeCalls(
  deps: CallDependencies,
  tools: ReadonlyMap<string, Tool>,
  calls: readonly PlannedCall[],
  signal: AbortSignal,
): Promise<CallsEnd | undefined> {
  const { abortSettleMs, recordEarly, spill, interrupted, hooks } = deps;
  const gated = await gate(calls, (name) => tools.has(name), hooks);
  if ("paused" in gated) {
    deps.turns.held = calls;
    return { outcome: "paused" };
  }
  if ("abort" in gated) {
    deps.history.closeOpenCalls(`[Not executed: the run was aborted: ${gated.abort}]`);
    return aborted(gated.abort);
  }
  await deps.settle?.();
  const results = await runBatch(
    gated.calls,
    {
      tools,
      output: deps.output,
      ...(abortSettleMs === undefined ? {} : { abortSettleMs }),
      ...(recordEarly === undefined
        ? {}
        : { onResult: (result) => recordEarly(resultItem(result)) }),
      ...(spill === undefined ? {} : { spill }),
      ...(interrupted === undefined ? {} : { interrupted }),
      ...(hooks === undefined ? {} : { hooks }),
    },
    signal,
  );
  deps.history.append(...results.map(resultItem));
  for (const { alert } of results) {
    if (alert !== undefined) warn(deps, alert);
  }
  for (const { callId, outcome } of results) {
    const { summary, content, isError } = outcome;
    deps.emit({
      event: "tool_result",
      data: {
        id: callId,
        summary,
        ...(content === undefined ? {} : { output: content }),
        is_error: isError,
      },
    });
  }
  const stop = results.find(({ abort }) => abort !== undefined)?.abort;
  return stop === undefined ? undefined : aborted(stop);
}

function aborted(reason: string): CallsEnd {
  return { outcome: "error", code: "internal", message: `Aborted: ${reason}` };
}

function resultItem({ callId, outcome }: CallResult): ToolResultItem {
  const { summary, content, isError } = outcome;
  return {
    type: "tool_result",
    call_id: callId,
    summary,
    ...(content === undefined ? {} : { content }),
    ...(isError ? { is_error: true } : {}),
  };
}
