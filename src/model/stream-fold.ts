/**
 * Folds the libraries' stream parts into model events. Pure: one part in, some events out. Blocks are
 * kept apart by id; whatever is still open when the answer finishes is closed, so that nothing the
 * model said is lost (worker W2). An unfinished stream closes nothing (W26).
 */
import type { SdkPart } from "./ai-sdk.ts";
import { madeBy } from "./conversation-parts.ts";
import type { Dialect } from "./dialect.ts";
import { type Failure, isObject, readStreamError, streamFailure } from "./failure.ts";
import type { FinishReason, ModelEvent, Usage } from "./model.ts";
import { ENDED_EARLY_KIND } from "./transport.ts";

/** State of one answer. */
interface Fold {
  /** Events for the next part; throws nothing. After `failure` or `finished` give it no more. */
  push(part: SdkPart): ModelEvent[];
  /** Set when the stream reported an error or held data that cannot be read. */
  readonly failure: Failure | undefined;
  /** True when the failure is that the body ended before the answer did. */
  readonly endedEarly: boolean;
  /** True after the vendor's own end mark. */
  readonly finished: boolean;
  /** Usage so far as a broken stream leaves it; undefined when none is known or it was yielded. */
  readonly pendingUsage: Usage | undefined;
}

interface Thinking {
  text: string;
  metadata: Record<string, unknown>;
}
interface ToolCall {
  readonly name: string;
  json: string;
  readonly metadata: Record<string, unknown>;
}

/** A fold for one answer of `dialect`; what the host signed is marked as made by `vendor`. */
export function createFold(vendor: string, dialect: Dialect): Fold {
  const { vendorKey } = dialect;
  const own = (metadata: unknown): Record<string, unknown> => {
    const data = isObject(metadata) ? metadata[vendorKey] : undefined;
    return isObject(data) ? definedOnly(data) : {};
  };
  const texts = new Map<string, string>();
  const thinkings = new Map<string, Thinking>();
  const calls = new Map<string, ToolCall>();
  const ignored = new Set<string>();
  let failure: Failure | undefined;
  let endedEarly = false;
  let finished = false;
  let pendingUsage: Usage | undefined;

  const endText = (block: string): ModelEvent[] => {
    const text = texts.get(block);
    texts.delete(block);
    return text === undefined || text === "" ? [] : [{ type: "text_done", block, text }];
  };
  const endThinking = (block: string): ModelEvent[] => {
    const thinking = thinkings.get(block);
    thinkings.delete(block);
    if (thinking === undefined) return [];
    const { text, metadata } = thinking;
    const item = {
      type: "reasoning" as const,
      text,
      ...(Object.keys(metadata).length === 0 && !dialect.plainThinking
        ? {}
        : { provider: madeBy(vendor, vendorKey, metadata) }),
    };
    return [{ type: "thinking_done", block, item }];
  };
  const endCall = (callId: string, whole: string, metadata?: unknown): ModelEvent[] => {
    const call = calls.get(callId);
    calls.delete(callId);
    if (call === undefined) return [];
    Object.assign(call.metadata, own(metadata));
    // The library writes `{}` for an empty text; some servers send the whole input at the start.
    const text = call.json === "" && whole !== "{}" ? whole : call.json;
    const signed = dialect.signedCalls && Object.keys(call.metadata).length > 0;
    return [
      {
        type: "tool_done",
        callId,
        name: call.name,
        arguments: text,
        ...(signed ? { provider: madeBy(vendor, vendorKey, call.metadata) } : {}),
      },
    ];
  };

  const handlers: { [Type in SdkPart["type"]]?: (part: PartOf<Type>) => ModelEvent[] } = {
    "text-start": ({ id }) => {
      texts.set(id, "");
      return [];
    },
    "text-delta": ({ id, delta }) => {
      const text = texts.get(id);
      if (text === undefined || delta === "") return [];
      texts.set(id, text + delta);
      return [{ type: "text_delta", block: id, text: delta }];
    },
    "text-end": ({ id }) => endText(id),
    "reasoning-start": ({ id, providerMetadata }) => {
      thinkings.set(id, { text: "", metadata: own(providerMetadata) });
      return [{ type: "thinking_start", block: id }];
    },
    "reasoning-delta": ({ id, delta, providerMetadata }) => {
      const thinking = thinkings.get(id);
      if (thinking === undefined) return [];
      Object.assign(thinking.metadata, own(providerMetadata));
      thinking.text += delta;
      return delta === "" ? [] : [{ type: "thinking_delta", block: id, text: delta }];
    },
    "reasoning-end": ({ id, providerMetadata }) => {
      Object.assign(thinkings.get(id)?.metadata ?? {}, own(providerMetadata));
      return endThinking(id);
    },
    "tool-input-start": ({ id, toolName, providerMetadata }) => {
      calls.set(id, { name: toolName, json: "", metadata: own(providerMetadata) });
      return [{ type: "tool_start", callId: id, name: toolName }];
    },
    "tool-input-delta": ({ id, delta }) => {
      const call = calls.get(id);
      if (call === undefined || delta === "") return [];
      call.json += delta;
      return [{ type: "tool_delta", callId: id, json: delta }];
    },
    "tool-call": ({ toolCallId, input, providerMetadata }) =>
      endCall(toolCallId, input, providerMetadata),
    custom: ({ kind, providerMetadata }) => {
      pendingUsage = dialect.earlyUsage?.(kind, providerMetadata) ?? pendingUsage;
      return [];
    },
    raw: ({ rawValue }) => {
      // An error with anything beside it looks to the library like an ordinary event.
      if (isObject(rawValue) && isObject(rawValue.error)) {
        endedEarly ||= rawValue.error.type === ENDED_EARLY_KIND;
        failure = streamFailure(rawValue.error);
      }
      return [];
    },
    error: ({ error }) => {
      const unknownKind = dialect.unknownKind?.(error);
      if (unknownKind === undefined) {
        endedEarly ||= readStreamError(error)?.code === ENDED_EARLY_KIND;
        failure ??= streamFailure(error);
        return [];
      }
      if (ignored.has(unknownKind)) return [];
      ignored.add(unknownKind);
      return [{ type: "warning", message: `ignored an unknown ${unknownKind} in the answer` }];
    },
    finish: ({ finishReason, usage }) => {
      // The library's word for a stream that ended without the vendor's end mark.
      if (finishReason.unified === "interrupted") return [];
      if (finishReason.unified === "error" && finishReason.raw !== "MALFORMED_FUNCTION_CALL") {
        failure = {
          message: `API error: the model gave up (${finishReason.raw ?? "no reason given"})`,
          retryable: false,
        };
        return [];
      }
      finished = true;
      pendingUsage = undefined;
      return [
        ...[...texts.keys()].flatMap(endText),
        ...[...thinkings.keys()].flatMap(endThinking),
        ...[...calls.keys()].flatMap((id) => endCall(id, "{}")),
        {
          type: "usage",
          usage: {
            input: usage.inputTokens.total ?? null,
            output: usage.outputTokens.total ?? null,
            cacheRead: usage.inputTokens.cacheRead ?? null,
            cacheWrite: usage.inputTokens.cacheWrite ?? null,
            ...(usage.outputTokens.reasoning === undefined
              ? {}
              : { reasoning: usage.outputTokens.reasoning }),
          },
        },
        { type: "finish", reason: REASONS[finishReason.unified] ?? "other" },
      ];
    },
  };

  return {
    push: (part) => {
      // One handler per type; the table's key ties part and handler together.
      const handler = handlers[part.type] as ((part: SdkPart) => ModelEvent[]) | undefined;
      return handler?.(part) ?? [];
    },
    get failure() {
      return failure;
    },
    get endedEarly() {
      return endedEarly;
    },
    get finished() {
      return finished;
    },
    get pendingUsage() {
      return pendingUsage;
    },
  };
}

type PartOf<Type extends SdkPart["type"]> = Extract<SdkPart, { type: Type }>;

const REASONS: Readonly<Record<string, FinishReason>> = {
  stop: "stop",
  "tool-calls": "tool_calls",
  length: "length",
  "content-filter": "refusal",
};

/** Libraries write null for what the vendor has not sent yet. */
function definedOnly(data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([, value]) => value != null));
}
