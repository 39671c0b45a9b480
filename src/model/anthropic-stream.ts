/**
 * Folds the library's stream parts into model events. Pure: one part in, some events out. Blocks are
 * kept apart by id; whatever is still open when the answer finishes is closed, so that nothing the
 * model said is lost (worker W2). An unfinished stream closes nothing (W26).
 */
import { messageOf } from "../base/errors.ts";
import type { SdkPart } from "./ai-sdk.ts";
import { reasoningProvider } from "./anthropic-messages.ts";
import { type Failure, formatApiError, isRecord, readStreamError } from "./failure.ts";
import type { FinishReason, ModelEvent, Usage } from "./model.ts";

/** State of one answer. */
export interface Fold {
  /** Events for the next part; throws nothing. After `failure` or `finished` give it no more. */
  push(part: SdkPart): ModelEvent[];
  /** Set when the stream reported an error or held data that cannot be read. */
  readonly failure: Failure | undefined;
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
}

/** A fold for one answer; thinking is marked as made by `vendor`. */
export function createFold(vendor: string): Fold {
  const texts = new Map<string, string>();
  const thinkings = new Map<string, Thinking>();
  const calls = new Map<string, ToolCall>();
  const ignored = new Set<string>();
  let failure: Failure | undefined;
  let finished = false;
  let pendingUsage: Usage | undefined;

  const endText = (block: string): ModelEvent[] => {
    const text = texts.get(block);
    texts.delete(block);
    return text === undefined ? [] : [{ type: "text_done", block, text }];
  };
  const endThinking = (block: string): ModelEvent[] => {
    const thinking = thinkings.get(block);
    thinkings.delete(block);
    if (thinking === undefined) return [];
    const { text, metadata } = thinking;
    const item = {
      type: "reasoning" as const,
      text,
      ...(Object.keys(metadata).length === 0
        ? {}
        : { provider: reasoningProvider(vendor, metadata) }),
    };
    return [{ type: "thinking_done", block, item }];
  };
  const endCall = (callId: string, whole: string): ModelEvent[] => {
    const call = calls.get(callId);
    calls.delete(callId);
    if (call === undefined) return [];
    // The library writes `{}` for an empty text; some servers send the whole input at the start.
    const text = call.json === "" && whole !== "{}" ? whole : call.json;
    return [{ type: "tool_done", callId, name: call.name, arguments: text }];
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
      thinkings.set(id, { text: "", metadata: { ...providerMetadata?.anthropic } });
      return [{ type: "thinking_start", block: id }];
    },
    "reasoning-delta": ({ id, delta, providerMetadata }) => {
      const thinking = thinkings.get(id);
      if (thinking === undefined) return [];
      Object.assign(thinking.metadata, providerMetadata?.anthropic);
      thinking.text += delta;
      return delta === "" ? [] : [{ type: "thinking_delta", block: id, text: delta }];
    },
    "reasoning-end": ({ id }) => endThinking(id),
    "tool-input-start": ({ id, toolName }) => {
      calls.set(id, { name: toolName, json: "" });
      return [{ type: "tool_start", callId: id, name: toolName }];
    },
    "tool-input-delta": ({ id, delta }) => {
      const call = calls.get(id);
      if (call === undefined || delta === "") return [];
      call.json += delta;
      return [{ type: "tool_delta", callId: id, json: delta }];
    },
    "tool-call": ({ toolCallId, input }) => endCall(toolCallId, input),
    custom: ({ kind, providerMetadata }) => {
      if (kind === "anthropic.message_start") pendingUsage = firstUsage(providerMetadata);
      return [];
    },
    error: ({ error }) => {
      const unknownKind = unknownTag(error);
      if (unknownKind === undefined) {
        failure = streamFailure(error);
        return [];
      }
      if (ignored.has(unknownKind)) return [];
      ignored.add(unknownKind);
      return [{ type: "warning", message: `ignored an unknown ${unknownKind} in the answer` }];
    },
    finish: ({ finishReason, usage }) => {
      // The library's word for a stream that ended without the vendor's end mark.
      if (finishReason.unified === "interrupted") return [];
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

/** Tokens of the prompt as the vendor counts them at the start of an answer. */
function firstUsage(metadata: unknown): Usage | undefined {
  const vendor = isRecord(metadata) ? metadata.anthropic : undefined;
  const usage = isRecord(vendor) ? vendor.usage : undefined;
  if (!isRecord(usage)) return undefined;
  const count = (key: string): number => (typeof usage[key] === "number" ? usage[key] : 0);
  const cacheRead = count("cache_read_input_tokens");
  const cacheWrite = count("cache_creation_input_tokens");
  const input = count("input_tokens") + cacheRead + cacheWrite;
  return { input, output: null, cacheRead, cacheWrite };
}

/** An error inside the stream: final, because part of the answer may have been shown (W3). */
function streamFailure(error: unknown): Failure {
  const reported = readStreamError(error);
  const message =
    reported === undefined
      ? `JSON parse error: ${messageOf(error)}`
      : formatApiError(undefined, reported.code, reported.message);
  return { message, retryable: false };
}

const KNOWN_EVENTS = [
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
  "ping",
  "error",
];
const KNOWN_BLOCKS = ["text", "thinking", "redacted_thinking", "tool_use"];
const KNOWN_DELTAS = ["text_delta", "thinking_delta", "signature_delta", "input_json_delta"];

/**
 * What an event is that the library refuses only because it is newer than the library: reported as
 * `event "x"`, `block "x"` or `delta "x"`. Undefined for damaged data.
 */
function unknownTag(error: unknown): string | undefined {
  if (!isRecord(error) || !isRecord(error.value)) return undefined;
  const event = error.value;
  const check = (kind: string, tag: unknown, known: readonly string[]): string | undefined =>
    typeof tag === "string" && !known.includes(tag) ? `${kind} "${tag.slice(0, 64)}"` : undefined;
  return (
    check("event", event.type, KNOWN_EVENTS) ??
    (isRecord(event.content_block)
      ? check("block", event.content_block.type, KNOWN_BLOCKS)
      : undefined) ??
    (isRecord(event.delta) ? check("delta", event.delta.type, KNOWN_DELTAS) : undefined)
  );
}
