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
import { type Item, textMessage } from "../protocol/history.ts";
import type { Tool } from "../tools/tool.ts";
import { type CallDependencies, type CallsEnd, executeCalls, heldCalls } from "./calls.ts";
import { ResponseFold, type FoldContext, type PlannedCall } from "./fold.ts";
import { LOST_RESULT, type History, type StoredItem } from "./history.ts";
import { receive } from "./receive.ts";
import { warn } from "./warn.ts";

/** Everything a run needs; nothing else is touched. */
export interface LoopDependencies extends CallDependencies {
  readonly model: ModelStream;
  /** Names must differ; the model sees them sorted by code unit. */
  readonly tools: readonly Tool[];
  /** The system prompt as it is now; may throw, which ends the run before its request. */
  readonly system: () => string;
  readonly options: RequestOptions;
  /** Requests that one run may make; undefined means no limit (W10). */
  readonly maxTurns: number | undefined;
  /** Hands over the messages that wait for the model; they wait on when `keep` throws (W11). */
  readonly takeNotices: (keep: (items: readonly Item[]) => void) => void;
  /** Shortens what has grown too long. */
  readonly compaction?: {
    /**
     * Called before each request; `announce` tells of a turn that yields to it. Resolves with what
     * ends the run, or undefined.
     */
    beforeRequest(
      first: boolean,
      announce: () => void,
      signal: AbortSignal,
    ): Promise<string | undefined>;
    /** What of the history is sent. */
    forRequest(items: readonly StoredItem[]): readonly StoredItem[];
  };
  /** Told once per request that had usage, with the number of items that were sent. */
  readonly recordUsage?: (usage: Usage, historyLength: number) => void;
  /** What the model must know before the waiting texts, such as a change of its boundaries. */
  readonly news?: () => readonly string[];
}

/** How a run ended. Paused and cancelled are the same here; the controller knows which it asked for. */
export type RunEnd =
  /** `remark`: why the answer may be less than was asked for; the parent and people are told. */
  | { readonly outcome: "finished"; readonly remark?: string }
  | { readonly outcome: "limit_reached" }
  | CallsEnd
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
    const turn = await runTurn(deps, tools, requests === 0, signal);
    if ("end" in turn) return turn.end;
    const end = await executeCalls(deps, tools, turn.calls, signal);
    if (end !== undefined) return end;
  }
}

async function runTurn(
  deps: LoopDependencies,
  tools: ReadonlyMap<string, Tool>,
  isFirst: boolean,
  signal: AbortSignal,
): Promise<TurnEnd> {
  const { history, emit, turns } = deps;
  const turn = turns.current;
  const announce = (): void => {
    emit({ event: "turn_start", data: { turn } });
    emit({ event: "turn_end", data: { turn, result: "finished" } });
  };
  // Before the notices are taken: they are not to be summarised before they were read.
  const refusal = await deps.compaction?.beforeRequest(isFirst, announce, signal);
  if (signal.aborted) return { end: { outcome: "cancelled" } };
  if (refusal !== undefined) {
    return { end: { outcome: "error", code: "internal", message: refusal } };
  }
  const system = deps.system();
  const news = (deps.news?.() ?? []).map((text) => textMessage("system", text));
  history.append(...news);
  let told = news.length;
  deps.takeNotices((items) => {
    history.append(...items);
    told += items.length;
  });
  if (isFirst || told > 0) await deps.settle?.();
  const items = history.forRequest();
  const request: ModelRequest = {
    system,
    items: deps.compaction?.forRequest(items) ?? items,
    tools: [...tools.values()].map(definitionOf),
    options: deps.options,
  };
  emit({ event: "turn_start", data: { turn: turns.current } });
  const fold = new ResponseFold(foldContext(deps, tools));
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

function foldContext(deps: LoopDependencies, tools: ReadonlyMap<string, Tool>): FoldContext {
  return {
    emit: deps.emit,
    announced: (name) => tools.get(name)?.prepare?.(),
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

function nextMacrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
