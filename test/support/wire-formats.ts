/**
 * The other wire formats for the model server of the tests, written after the vendors' published
 * formats and not after the libraries that read them. Parallel calls are interleaved where a format
 * allows it.
 */
import { ANTHROPIC_FORMAT } from "./anthropic-server.ts";
import type { AnswerCall, BlockAnswer, WireFormat } from "./wire-server.ts";

const MODEL = "test-model";
const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const argumentsOf = (call: AnswerCall): string => call.json ?? JSON.stringify(call.input ?? {});
const halves = (text: string): [string, string] => {
  const middle = Math.ceil(text.length / 2);
  return [text.slice(0, middle), text.slice(middle)];
};
const texts = (answer: BlockAnswer): string[] =>
  answer.text === undefined ? [] : [answer.text].flat();

function encodeChat(answer: BlockAnswer): string[] {
  const { calls = [], usage = {} } = answer;
  const chunk = (delta: object, finish: string | null = null): string =>
    data({
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1_700_000_000,
      model: MODEL,
      choices: [{ index: 0, delta, finish_reason: finish }],
    });
  const events = [chunk({ role: "assistant", content: "" })];
  if (answer.thinking !== undefined)
    events.push(chunk({ reasoning_content: answer.thinking.text }));
  events.push(...texts(answer).map((content) => chunk({ content })));
  const call = (index: number, part: object): string => chunk({ tool_calls: [{ index, ...part }] });
  calls.forEach(({ name, id = `call_${index(calls, name)}`, signature }, number) =>
    events.push(
      call(number, {
        id,
        type: "function",
        function: { name, arguments: "" },
        ...(signature === undefined
          ? {}
          : { extra_content: { google: { thought_signature: signature } } }),
      }),
    ),
  );
  for (const half of [0, 1] as const) {
    calls.forEach((entry, number) =>
      events.push(call(number, { function: { arguments: halves(argumentsOf(entry))[half] } })),
    );
  }
  if (answer.streamError !== undefined) {
    return [...events, data({ error: { ...answer.streamError, param: null, code: null } })];
  }
  const reason = answer.stopReason ?? (calls.length > 0 ? "tool_calls" : "stop");
  const { input = 10, output = 5, cacheRead = 0, reasoning = 0 } = usage;
  return [
    ...events,
    chunk({}, reason),
    data({
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1_700_000_000,
      model: MODEL,
      choices: [],
      usage: {
        prompt_tokens: input + cacheRead,
        completion_tokens: output,
        total_tokens: input + cacheRead + output,
        prompt_tokens_details: { cached_tokens: cacheRead },
        completion_tokens_details: { reasoning_tokens: reasoning },
      },
    }),
    "data: [DONE]\n\n",
  ];
}

const index = (calls: readonly AnswerCall[], name: string): number =>
  calls.findIndex((call) => call.name === name);

function encodeResponses(answer: BlockAnswer): string[] {
  const { calls = [], usage = {} } = answer;
  const events: string[] = [];
  let sequence = 0;
  const emit = (type: string, fields: object): void => {
    const body = JSON.stringify({ type, sequence_number: sequence++, ...fields });
    events.push(`event: ${type}\ndata: ${body}\n\n`);
  };
  const response = (status: string, more: object = {}): object => ({
    response: {
      id: "resp_1",
      object: "response",
      created_at: 1_700_000_000,
      status,
      model: MODEL,
      output: [],
      error: null,
      incomplete_details: null,
      usage: null,
      ...more,
    },
  });
  emit("response.created", response("in_progress"));
  emit("response.in_progress", response("in_progress"));
  let output = 0;
  if (answer.thinking !== undefined) {
    const at = { item_id: "rs_1", output_index: output };
    // Two summaries of one item, as the vendor does for long thoughts.
    const item = { id: "rs_1", type: "reasoning" };
    emit("response.output_item.added", { output_index: output, item: { ...item, summary: [] } });
    halves(answer.thinking.text).forEach((text, summary_index) => {
      const part = { type: "summary_text", text: "" };
      emit("response.reasoning_summary_part.added", { ...at, summary_index, part });
      emit("response.reasoning_summary_text.delta", { ...at, summary_index, delta: text });
      emit("response.reasoning_summary_text.done", { ...at, summary_index, text });
      emit("response.reasoning_summary_part.done", {
        ...at,
        summary_index,
        part: { ...part, text },
      });
    });
    emit("response.output_item.done", {
      output_index: output++,
      item: { ...item, summary: [], encrypted_content: answer.thinking.signature },
    });
  }
  if (answer.text !== undefined) {
    const at = { item_id: "msg_1", output_index: output, content_index: 0 };
    const item = { id: "msg_1", type: "message", role: "assistant", status: "in_progress" };
    const part = { type: "output_text", text: "", annotations: [] };
    emit("response.output_item.added", { output_index: output, item: { ...item, content: [] } });
    emit("response.content_part.added", { ...at, part });
    for (const delta of texts(answer)) emit("response.output_text.delta", { ...at, delta });
    const text = texts(answer).join("");
    emit("response.output_text.done", { ...at, text });
    emit("response.output_item.done", {
      output_index: output++,
      item: { ...item, status: "completed", content: [{ ...part, text }] },
    });
  }
  const first = output;
  const items = calls.map((call, number) => ({
    id: `fc_${number}`,
    type: "function_call",
    call_id: call.id ?? `call_${number}`,
    name: call.name,
    arguments: "",
    status: "in_progress",
  }));
  items.forEach((item, number) =>
    emit("response.output_item.added", { output_index: first + number, item }),
  );
  for (const half of [0, 1] as const) {
    calls.forEach((call, number) =>
      emit("response.function_call_arguments.delta", {
        item_id: `fc_${number}`,
        output_index: first + number,
        delta: halves(argumentsOf(call))[half],
      }),
    );
  }
  calls.forEach((call, number) => {
    const text = argumentsOf(call);
    const output_index = first + number;
    emit("response.function_call_arguments.done", {
      item_id: `fc_${number}`,
      output_index,
      arguments: text,
    });
    const item = { ...items[number], arguments: text, status: "completed" };
    emit("response.output_item.done", { output_index, item });
  });
  if (answer.streamError !== undefined) {
    const { type: code, message } = answer.streamError;
    emit("error", { code, message, param: null });
    return events;
  }
  const { input = 10, output: written = 5, cacheRead = 0, reasoning = 0 } = usage;
  const counted = {
    usage: {
      input_tokens: input + cacheRead,
      input_tokens_details: { cached_tokens: cacheRead },
      output_tokens: written,
      output_tokens_details: { reasoning_tokens: reasoning },
      total_tokens: input + cacheRead + written,
    },
  };
  if (answer.stopReason === undefined) emit("response.completed", response("completed", counted));
  else {
    emit(
      "response.incomplete",
      response("incomplete", { ...counted, incomplete_details: { reason: answer.stopReason } }),
    );
  }
  return events;
}

function encodeGemini(answer: BlockAnswer): string[] {
  const { calls = [], usage = {} } = answer;
  const { input = 10, output = 5, cacheRead = 0, reasoning = 0 } = usage;
  const usageMetadata = {
    promptTokenCount: input + cacheRead,
    cachedContentTokenCount: cacheRead,
    candidatesTokenCount: output - reasoning,
    thoughtsTokenCount: reasoning,
    totalTokenCount: input + cacheRead + output,
  };
  const chunk = (parts: readonly object[], finishReason?: string): string =>
    data({
      candidates: [
        {
          content: { parts, role: "model" },
          index: 0,
          ...(finishReason === undefined ? {} : { finishReason }),
        },
      ],
      usageMetadata,
      modelVersion: MODEL,
      responseId: "r1",
    });
  const events: string[] = [];
  if (answer.thinking !== undefined) {
    const { text, signature } = answer.thinking;
    const [before, after] = halves(text);
    events.push(
      chunk([{ text: before, thought: true }]),
      chunk([{ text: after, thought: true, thoughtSignature: signature }]),
    );
  }
  events.push(...texts(answer).map((text) => chunk([{ text }])));
  // The vendor sends calls whole, several in one event.
  if (calls.length > 0) {
    events.push(
      chunk(
        calls.map(({ id, name, signature, ...call }) => ({
          functionCall: {
            ...(id === undefined ? {} : { id }),
            name,
            args: JSON.parse(argumentsOf({ name, ...call })) as unknown,
          },
          ...(signature === undefined ? {} : { thoughtSignature: signature }),
        })),
      ),
    );
  }
  if (answer.streamError !== undefined) {
    const { type: status, message } = answer.streamError;
    return [...events, data({ error: { code: 503, message, status } })];
  }
  return [...events, chunk([{ text: "" }], answer.stopReason ?? "STOP")];
}

/** Every scheme's format. */
export const FORMATS = {
  anthropic: ANTHROPIC_FORMAT as WireFormat,
  openai_chat: {
    read: (request) => request,
    encode: encodeChat,
    encodeError: (_status, { type, message }) =>
      JSON.stringify({ error: { message, type, param: null, code: null } }),
  },
  openai_responses: {
    read: (request) => request,
    encode: encodeResponses,
    encodeError: (_status, { type, message }) =>
      JSON.stringify({ error: { message, type, param: null, code: null } }),
  },
  gemini: {
    read: (request) => request,
    encode: encodeGemini,
    encodeError: (code, { type: status, message }) =>
      JSON.stringify({ error: { code, message, status } }),
  },
} satisfies Readonly<Record<string, WireFormat>>;
