/**
 * The turn loop of one run: request, stream, tool batch, until the model has nothing to call
 * (spec worker-and-tools 1.3). A run always ends with exactly one `RunEnd`, an abort ends it within
 * a bound even when model and tools ignore it, and history is fit for a request afterwards.
 * The caller appends the user item before and emits the terminal event after.
 */
import { messageOf, PodError } from "../base/errors.ts";
import type {
  ModelRequest,
  ModelStream,
  RequestOptions,
  ToolDefinition,
  Usage,
} from "../model/model.ts";
import type { Event } from "../protocol/event.ts";
import { textMessage, type ToolResultItem } from "../protocol/history.ts";
import type { Tool } from "../tools/tool.ts";
import { runBatch, type CallResult } from "./batch.ts";
import { ResponseFold, type FoldContext, type PlannedCall } from "./fold.ts";
import { LOST_RESULT, type History } from "./history.ts";
import { gate, type ToolHooks } from "./hooks.ts";
import type { OutputLimits } from "./truncate.ts";

/** Number of the next turn, 0-based over the session; a turn that fails or is cancelled keeps it. */
export interface TurnCounter {
  current: number;
  /** Calls that a hook holds back, nothing of whose response has run: a run that goes on executes them. */
  held?: readonly PlannedCall[];
}

/** Everything a run needs; nothing else is touched. */
export interface LoopDependencies {
  readonly model: ModelStream;
  /** Names must differ; the model sees them sorted by code unit. */
  readonly tools: readonly Tool[];
  /** Nobody else appends to it while the run lasts. */
  readonly history: History;
  /** The system prompt as it is now; may throw, which ends the run before its request. */
  readonly system: () => string;
  readonly options: RequestOptions;
  /** Requests that one run may make; undefined means no limit (W10). */
  readonly maxTurns: number | undefined;
  readonly output: OutputLimits;
  /** Takes the texts that wait for the model; they become system messages of the history (W11). */
  readonly takeNotices: () => readonly string[];
  readonly emit: (event: Event) => void;
  readonly turns: TurnCounter;
  /** Told once per request that had usage, with the number of items that were sent. */
  readonly recordUsage?: (usage: Usage, historyLength: number) => void;
  /** Wait for tools after an abort, in milliseconds; default `ABORT_SETTLE_MS`. */
  readonly abortSettleMs?: number;
  /** What the model must know before the waiting texts, such as a change of its boundaries. */
  readonly news?: () => readonly string[];
  readonly hooks?: ToolHooks;
  /** See `BatchOptions`. */
  readonly spill?: (callId: string, content: string) => string | undefined;
  readonly interrupted?: string;
  /** Milliseconds since the epoch, for alerts. */
  readonly now?: () => number;
}

/** How a run ended. Paused and cancelled are the same here; the controller knows which it asked for. */
export type RunEnd =
  /** `remark`: why the answer may be less than was asked for; the parent and people are told. */
  | { readonly outcome: "finished"; readonly remark?: string }
  | { readonly outcome: "limit_reached" }
  /** A hook holds calls back; the next run executes them unless something else was said before. */
  | { readonly outcome: "paused" }
  | { readonly outcome: "cancelled" }
  | {
      readonly outcome: "error";
      readonly code: "provider_error" | "internal";
      readonly message: string;
    };

/** What one request led to: an end of the run, or calls to execute. */
type TurnEnd = { readonly end: RunEnd } | { readonly calls: readonly PlannedCall[] };

/**
 * Runs turns until the model finishes, the limit is met, `signal` aborts or something fails. Never
 * rejects. `signal` is sticky: aborted before the call, it ends the run before any request.
 */
export async function runTurns(deps: LoopDependencies, signal: AbortSignal): Promise<RunEnd> {
  try {
    return await run(deps, signal);
  } catch (error) {
    leaveNothingOpen(deps.history);
    return { outcome: "error", code: "internal", message: messageOf(error) };
  }
}

function leaveNothingOpen(history: History): void {
  try {
    history.closeOpenCalls(LOST_RESULT);
  } catch {
    // The store refuses, which is most likely what ended the run: the next append closes them.
  }
}

async function run(deps: LoopDependencies, signal: AbortSignal): Promise<RunEnd> {
  const { history } = deps;
  const tools = byName(deps.tools);
  const held = heldCalls(deps);
  // Left over from a process that died: answered, never executed again (W6).
  if (held === undefined) history.closeOpenCalls(LOST_RESULT);
  else {
    const end = await executeCalls(deps, tools, held, signal);
    if (end !== undefined) return end;
  }
  for (let requests = 0; ; requests += 1) {
    // A model and tools that answer without waiting would keep the socket from being read.
    await nextMacrotask();
    if (signal.aborted) return { outcome: "cancelled" };
    if (deps.maxTurns !== undefined && requests >= deps.maxTurns) {
      return { outcome: "limit_reached" };
    }
    const turn = await runTurn(deps, tools, signal);
    if ("end" in turn) return turn.end;
    const end = await executeCalls(deps, tools, turn.calls, signal);
    if (end !== undefined) return end;
  }
}

/** The calls that a hook held back, if they are still what the conversation waits for. */
function heldCalls({ history, turns }: LoopDependencies): readonly PlannedCall[] | undefined {
  const { held } = turns;
  delete turns.held;
  const open = history.openCalls();
  const isSame =
    held?.length === open.length && open.every((call, at) => held[at]?.callId === call.call_id);
  return isSame ? held : undefined;
}

async function runTurn(
  deps: LoopDependencies,
  tools: ReadonlyMap<string, Tool>,
  signal: AbortSignal,
): Promise<TurnEnd> {
  const { history, emit, turns } = deps;
  const system = deps.system();
  history.append(...(deps.news?.() ?? []).map((text) => textMessage("system", text)));
  history.append(...deps.takeNotices().map((notice) => textMessage("system", notice)));
  const request: ModelRequest = {
    system,
    items: history.forRequest(),
    tools: [...tools.values()].map(definitionOf),
    options: deps.options,
  };
  emit({ event: "turn_start", data: { turn: turns.current } });
  const fold = new ResponseFold(foldContext(deps));
  const outcome = await receive(deps.model, request, fold, signal);
  if (outcome === "aborted") {
    // Nothing of the response is kept: to resume is to ask again.
    reportUsage(deps, fold.usage, request.items.length);
    return { end: { outcome: "cancelled" } };
  }
  const response = fold.result();
  history.append(...response.items);
  reportUsage(deps, response.usage, request.items.length);
  if (response.failure !== undefined) {
    const message = `Client error: ${response.failure}`;
    return { end: { outcome: "error", code: "provider_error", message } };
  }
  emit({ event: "turn_end", data: { turn: turns.current, result: "finished" } });
  turns.current += 1;
  if (response.calls.length > 0) return { calls: response.calls };
  const { remark } = response;
  return { end: { outcome: "finished", ...(remark === undefined ? {} : { remark }) } };
}

/**
 * Feeds the stream to the fold until its last event, its end, or an abort, whichever is first. An
 * iterator that ignores the signal is left behind: nothing it yields later is looked at.
 */
async function receive(
  model: ModelStream,
  request: ModelRequest,
  fold: ResponseFold,
  signal: AbortSignal,
): Promise<"over" | "aborted"> {
  const { promise: over, resolve, reject } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  let listening = true;
  const pump = async (): Promise<void> => {
    try {
      for await (const event of model(request, signal)) {
        if (!listening || signal.aborted) break;
        try {
          if (!fold.accept(event)) continue;
        } catch (error) {
          return reject(error); // a fault of ours, not of the model
        }
        // Said before the iterator is closed, because closing may hang.
        resolve();
        break;
      }
    } catch (error) {
      if (listening) fold.fail(messageOf(error));
    }
    resolve();
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    void pump();
    await over;
  } finally {
    listening = false;
    signal.removeEventListener("abort", stop);
  }
  return signal.aborted && !fold.finished ? "aborted" : "over";
}

/**
 * Runs a batch and commits its results; clients see them after they are in the history. Returns the
 * end of the run when a hook wants one.
 */
async function executeCalls(
  deps: LoopDependencies,
  tools: ReadonlyMap<string, Tool>,
  calls: readonly PlannedCall[],
  signal: AbortSignal,
): Promise<RunEnd | undefined> {
  const { abortSettleMs, spill, interrupted, hooks } = deps;
  const gated = await gate(calls, (name) => tools.has(name), hooks);
  if ("paused" in gated) {
    deps.turns.held = calls;
    return { outcome: "paused" };
  }
  if ("abort" in gated) {
    deps.history.closeOpenCalls(`[Not executed: the run was aborted: ${gated.abort}]`);
    return aborted(gated.abort);
  }
  const results = await runBatch(
    gated.calls,
    {
      tools,
      output: deps.output,
      ...(abortSettleMs === undefined ? {} : { abortSettleMs }),
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

function aborted(reason: string): RunEnd {
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

/** Tools by name, in code unit order, so that a request looks the same every time (Appendix A). */
function byName(tools: readonly Tool[]): ReadonlyMap<string, Tool> {
  const sorted = new Map<string, Tool>();
  for (const tool of [...tools].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (sorted.has(tool.name)) {
      throw new PodError("internal", `duplicate tool name: '${tool.name}'`);
    }
    sorted.set(tool.name, tool);
  }
  return sorted;
}

function definitionOf({ name, description, inputSchema }: Tool): ToolDefinition {
  return { name, description, inputSchema };
}

function foldContext(deps: LoopDependencies): FoldContext {
  return {
    emit: deps.emit,
    warn: (message) => warn(deps, message),
    isCallIdTaken: (callId) => deps.history.hasCall(callId),
  };
}

function reportUsage(
  deps: LoopDependencies,
  usage: Usage | undefined,
  historyLength: number,
): void {
  if (usage === undefined) return;
  const { input, output, cacheRead, cacheWrite, reasoning } = usage;
  const data = {
    input_tokens: input,
    output_tokens: output,
    ...(cacheRead === null ? {} : { cache_read_tokens: cacheRead }),
    ...(cacheWrite === null ? {} : { cache_write_tokens: cacheWrite }),
    ...(reasoning === undefined ? {} : { reasoning_tokens: reasoning }),
  };
  deps.emit({ event: "usage", data });
  deps.recordUsage?.(usage, historyLength);
}

function warn(deps: LoopDependencies, message: string): void {
  const timestamp_ms = (deps.now ?? Date.now)();
  deps.emit({ event: "alert", data: { level: "warn", source: "worker", message, timestamp_ms } });
}

function nextMacrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
