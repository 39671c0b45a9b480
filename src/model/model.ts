/**
 * The one shape in which the rest of the program sees a language model. Adapters translate a vendor
 * into a stream of these events; they never throw through the iterator, except that an aborted
 * stream simply ends.
 */
import type { Item, ReasoningItem, ToolCallItem } from "../protocol/history.ts";

/** A JSON Schema of `type: "object"`. */
export interface JsonObjectSchema {
  readonly type: "object";
  readonly properties: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** What the model is told about a tool. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: JsonObjectSchema;
}

/** Sampling and size options of a request; absent means the vendor's default. */
export interface RequestOptions {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly stopSequences?: readonly string[];
  /** How much to think: an effort label (`low`, `high`, …) or a budget in tokens (manifest 4.7). */
  readonly reasoning?: string | number;
}

/** One request: the whole conversation so far. */
export interface ModelRequest {
  readonly system: string;
  readonly items: readonly Item[];
  readonly tools: readonly ToolDefinition[];
  readonly options: RequestOptions;
}

/** Tokens as the vendor counted them; `input` is the whole prompt including cached parts. */
export interface Usage {
  readonly input: number | null;
  readonly output: number | null;
  readonly cacheRead: number | null;
  readonly cacheWrite: number | null;
  /** The part of `output` that was thinking; absent when the vendor does not say. */
  readonly reasoning?: number;
}

/** Why the model stopped. `length` means that the answer was cut by a token limit. */
export type FinishReason = "stop" | "tool_calls" | "length" | "refusal" | "other";

/**
 * What a stream yields. Blocks are named by `block` and may interleave; a `*_done` closes a block
 * and carries its whole text. A stream ends with exactly one `finish` or `failed`.
 */
export type ModelEvent =
  | { readonly type: "text_delta"; readonly block: string; readonly text: string }
  | { readonly type: "text_done"; readonly block: string; readonly text: string }
  | { readonly type: "thinking_start"; readonly block: string }
  | { readonly type: "thinking_delta"; readonly block: string; readonly text: string }
  | { readonly type: "thinking_done"; readonly block: string; readonly item: ReasoningItem }
  | { readonly type: "tool_start"; readonly callId: string; readonly name: string }
  | { readonly type: "tool_delta"; readonly callId: string; readonly json: string }
  | {
      readonly type: "tool_done";
      readonly callId: string;
      readonly name: string;
      /** Argument text exactly as the model wrote it; may be empty or malformed. */
      readonly arguments: string;
      /** What must go back with the call to the host that made it (signatures). */
      readonly provider?: NonNullable<ToolCallItem["provider"]>;
    }
  | { readonly type: "warning"; readonly message: string }
  | { readonly type: "usage"; readonly usage: Usage }
  | { readonly type: "finish"; readonly reason: FinishReason }
  | { readonly type: "failed"; readonly message: string };

/** A model: a request and a cancel signal in, a stream of events out. */
export type ModelStream = (request: ModelRequest, signal: AbortSignal) => AsyncIterable<ModelEvent>;

/** A resolved model: how to talk to it, and what to call it. */
export interface Model {
  readonly stream: ModelStream;
  /** Vendor as the greeting names it (`anthropic`, `script`, …). */
  readonly provider: string;
  readonly modelId: string;
}
