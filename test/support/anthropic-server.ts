/**
 * The Anthropic Messages format for the model server of the tests.
 * `await using server = await anthropicServer((request, n) => ({ text: "hi" }))`.
 */
import {
  type AnswerHandler,
  type BlockAnswer,
  type WireFormat,
  type WireRequest,
  wireServer,
  type WireServer,
} from "./wire-server.ts";

export type { Answer } from "./wire-server.ts";

/** The parts of a request body that tests look at. */
export interface AnthropicRequest extends WireRequest {
  readonly model: string;
  /** Text of the system prompt, parts joined. */
  readonly system: string;
  readonly messages: readonly AnthropicMessage[];
  readonly tools: readonly { readonly name: string; readonly [key: string]: unknown }[];
}

export interface AnthropicMessage {
  readonly role: string;
  readonly content: readonly { readonly type: string; readonly [key: string]: unknown }[];
}

export type AnthropicServer = WireServer<AnthropicRequest>;

/** Starts a server of this format. */
export async function anthropicServer(
  handler: AnswerHandler<AnthropicRequest>,
): Promise<AnthropicServer> {
  return await wireServer(ANTHROPIC_FORMAT, handler);
}

export const ANTHROPIC_FORMAT: WireFormat<AnthropicRequest> = {
  read: (request) => {
    const { raw } = request;
    const system = Array.isArray(raw.system)
      ? raw.system.map((part: { text?: string }) => part.text ?? "").join("")
      : String(raw.system ?? "");
    return {
      ...request,
      model: String(raw.model),
      system,
      messages: (raw.messages ?? []) as AnthropicMessage[],
      tools: (raw.tools ?? []) as AnthropicRequest["tools"],
    };
  },
  encode: encodeBlocks,
  encodeError: (_status, error) => JSON.stringify({ type: "error", error }),
};

/** One server-sent event. */
export function sse(data: { readonly type: string; readonly [key: string]: unknown }): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The events of a well-formed answer, as the vendor sends them. */
export function encodeBlocks(answer: BlockAnswer): string[] {
  const { usage = {} } = answer;
  const calls = answer.calls ?? [];
  const events: string[] = [
    sse({
      type: "message_start",
      message: {
        id: `msg_${crypto.randomUUID()}`,
        type: "message",
        role: "assistant",
        model: "test-model",
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: {
          input_tokens: usage.input ?? 10,
          cache_read_input_tokens: usage.cacheRead ?? 0,
          cache_creation_input_tokens: usage.cacheWrite ?? 0,
          output_tokens: 1,
        },
      },
    }),
  ];
  let index = 0;
  const block = (start: object, deltas: readonly object[]): void => {
    events.push(sse({ type: "content_block_start", index, content_block: start }));
    for (const delta of deltas) events.push(sse({ type: "content_block_delta", index, delta }));
    events.push(sse({ type: "content_block_stop", index }));
    index++;
  };
  if (answer.redacted !== undefined) {
    block({ type: "redacted_thinking", data: answer.redacted }, []);
  }
  if (answer.thinking !== undefined) {
    const { text, signature } = answer.thinking;
    block({ type: "thinking", thinking: "", signature: "" }, [
      { type: "thinking_delta", thinking: text },
      { type: "signature_delta", signature },
    ]);
  }
  if (answer.text !== undefined) {
    const deltas = [answer.text].flat().map((text) => ({ type: "text_delta", text }));
    block({ type: "text", text: "" }, deltas);
  }
  for (const call of calls) {
    const id = call.id ?? `toolu_${crypto.randomUUID().replaceAll("-", "")}`;
    const json = call.json ?? JSON.stringify(call.input ?? {});
    const half = Math.ceil(json.length / 2);
    const deltas = ["", json.slice(0, half), json.slice(half)].map((partial_json) => ({
      type: "input_json_delta",
      partial_json,
    }));
    block({ type: "tool_use", id, name: call.name, input: {} }, deltas);
  }
  if (answer.streamError !== undefined) {
    return [...events, sse({ type: "error", error: answer.streamError })];
  }
  const reason = answer.stopReason ?? (calls.length > 0 ? "tool_use" : "end_turn");
  events.push(
    sse({
      type: "message_delta",
      delta: { stop_reason: reason, stop_sequence: null },
      usage: { output_tokens: usage.output ?? 5 },
    }),
    sse({ type: "message_stop" }),
  );
  return events;
}
