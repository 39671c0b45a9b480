/**
 * Runs the tool calls of one response: `serial` tools one after another in call order, the others
 * beside them, results in call order (spec worker-and-tools 1.4). Every call gets exactly one
 * outcome, whatever tools do, and an abort ends the batch within a bound.
 */
import { messageOf } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import { runTool, type Tool, type ToolOutcome } from "../tools/tool.ts";
import type { PlannedCall } from "./fold.ts";
import { INTERRUPTED_BY_USER } from "./history.ts";
import type { ToolHooks } from "./hooks.ts";
import { outputLimit, truncateOutput, truncationAlert, type OutputLimits } from "./truncate.ts";

/** How long a batch waits after an abort for tools to clean up, in milliseconds. */
const ABORT_SETTLE_MS = 10_000;

/** Calls of tools that are not serial which run at the same time. */
export const MAX_PARALLEL_TOOLS = 16;

/** Settings of a batch. */
export interface BatchOptions {
  readonly tools: ReadonlyMap<string, Tool>;
  readonly output: OutputLimits;
  readonly abortSettleMs?: number;
  /** Told of each call that ends while others of its batch may still run; must not throw. */
  readonly onResult?: (result: CallResult) => void;
  /**
   * Keeps the whole content of a result that is cut, where the model can read it; the path, or
   * undefined when that failed.
   */
  readonly spill?: (callId: string, content: string) => string | undefined;
  readonly hooks?: ToolHooks;
  /** Summary of calls that an abort ended; default `INTERRUPTED_BY_USER`. */
  readonly interrupted?: string;
}

/** The end of one call: its outcome, cut to size, and the warning when it was cut. */
export interface CallResult {
  readonly callId: string;
  readonly outcome: ToolOutcome;
  readonly alert?: string;
  /** Set when a hook ends the run with this result. */
  readonly abort?: string;
}

/**
 * Runs the calls and resolves with one result for each, in call order; never rejects. After an
 * abort nothing is started any more, running tools get `abortSettleMs` to end, and calls that did
 * not succeed by then are answered with `interrupted`. What succeeded keeps its result,
 * because its effect is there.
 */
export async function runBatch(
  calls: readonly PlannedCall[],
  options: BatchOptions,
  signal: AbortSignal,
): Promise<readonly CallResult[]> {
  const results = new Map<PlannedCall, CallResult>();
  const start = async (call: PlannedCall): Promise<void> => {
    const outcome = await execute(call, options.tools, signal);
    // A tool that was told to stop fails for that reason; its own words would only mislead.
    if (signal.aborted && outcome.isError) return;
    const result = await conclude(call, outcome, options);
    results.set(call, result);
    if (calls.length > 1) options.onResult?.(result);
  };
  const isSerial = (call: PlannedCall): boolean => options.tools.get(call.name)?.serial === true;
  const work = Promise.all([
    drain(calls.filter(isSerial), 1, start, signal),
    drain(
      calls.filter((call) => !isSerial(call)),
      MAX_PARALLEL_TOOLS,
      start,
      signal,
    ),
  ]);
  await settledOrAborted(work, signal, options.abortSettleMs ?? ABORT_SETTLE_MS);
  const summary = options.interrupted ?? INTERRUPTED_BY_USER;
  return calls.map(
    (call) => results.get(call) ?? { callId: call.callId, outcome: { summary, isError: true } },
  );
}

async function execute(
  call: PlannedCall,
  tools: ReadonlyMap<string, Tool>,
  signal: AbortSignal,
): Promise<ToolOutcome> {
  const tool = tools.get(call.name);
  if (tool === undefined) return { summary: `Tool '${call.name}' not found`, isError: true };
  if ("refusal" in call) return { summary: call.refusal, isError: true };
  return await runTool(tool, call.input, { signal, callId: call.callId });
}

/** Takes calls from the front of the list, at most `width` at a time, until it is empty or aborted. */
async function drain(
  calls: readonly PlannedCall[],
  width: number,
  start: (call: PlannedCall) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const queue = calls.values();
  const take = async (): Promise<void> => {
    // The lanes share the iterator, so every call is taken once.
    for (const call of queue) {
      if (signal.aborted) return;
      await start(call);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, calls.length) }, take));
}

/** Resolves when the work is done, or at the latest `settleMs` after an abort. */
async function settledOrAborted(
  work: Promise<unknown>,
  signal: AbortSignal,
  settleMs: number,
): Promise<void> {
  const { promise: aborted, resolve } = Promise.withResolvers<void>();
  const onAbort = (): void => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) resolve();
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  if (signal.aborted) await settlesWithin(work, settleMs);
}

/** Lets the hook look at the whole result before it is cut. */
async function conclude(
  call: PlannedCall,
  outcome: ToolOutcome,
  options: BatchOptions,
): Promise<CallResult> {
  const hook = options.tools.has(call.name) ? options.hooks?.afterCall : undefined;
  if (hook === undefined) return finish(call, outcome, options);
  try {
    const { outcome: kept, abort } = await hook(call, outcome);
    return { ...finish(call, kept, options), ...(abort === undefined ? {} : { abort }) };
  } catch (error) {
    // The tool has run: its result stays, whatever becomes of the hook.
    return { ...finish(call, outcome, options), abort: messageOf(error) };
  }
}

/** The outcome as it goes into the history: content cut to size, the whole of it kept in a file. */
function finish(
  { callId, name }: PlannedCall,
  outcome: ToolOutcome,
  options: BatchOptions,
): CallResult {
  if (outcome.content === undefined) return { callId, outcome };
  const limit = outputLimit(options.output, name);
  const overflow = options.tools.get(name)?.overflow ?? "head";
  const cut = truncateOutput(outcome.content, limit, overflow === "tail" ? "tail" : "head");
  if (cut === undefined) return { callId, outcome };
  // What another call can get again needs no copy.
  const file = overflow === "again" ? undefined : options.spill?.(callId, outcome.content);
  const where = file === undefined ? "" : ` (whole output: ${file})`;
  return {
    callId,
    outcome: { ...outcome, summary: outcome.summary + where, content: cut.text },
    alert: truncationAlert(name, cut, limit),
  };
}
