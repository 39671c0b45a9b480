/** A model that says what a test wrote down, tools that do what a test tells them, and a run of both. */
import type { FinishReason, ModelEvent, ModelRequest, ModelStream } from "../../src/model/model.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import type { Tool, ToolContext, ToolOutput } from "../../src/tools/tool.ts";
import { History } from "../../src/worker/history.ts";
import type { LoopDependencies } from "../../src/worker/loop.ts";

/** A text block with two deltas. */
export function text(content: string, block = "t"): ModelEvent[] {
  const half = Math.ceil(content.length / 2);
  return [
    { type: "text_delta", block, text: content.slice(0, half) },
    { type: "text_delta", block, text: content.slice(half) },
    { type: "text_done", block, text: content },
  ];
}

/** A complete tool call; `args` is the text that the model wrote. */
export function call(callId: string, name: string, args = "{}"): ModelEvent[] {
  return [
    { type: "tool_start", callId, name },
    { type: "tool_delta", callId, json: args },
    { type: "tool_done", callId, name, arguments: args },
  ];
}

export const finish = (reason: FinishReason = "stop"): ModelEvent => ({ type: "finish", reason });

export const usage = (input: number | null, output: number | null): ModelEvent => ({
  type: "usage",
  usage: { input, output, cacheRead: null, cacheWrite: null },
});

/** A response: events of the model, or a generator for one that waits or misbehaves. */
export type Response =
  readonly ModelEvent[] | ((signal: AbortSignal) => AsyncGenerator<ModelEvent, void, void>);

/** A model that answers its requests with the given responses, in order, and notes the requests. */
export function script(...responses: Response[]): ModelStream & { requests: ModelRequest[] } {
  const requests: ModelRequest[] = [];
  const stream = async function* (request: ModelRequest, signal: AbortSignal) {
    const response = responses[requests.length];
    requests.push(request);
    if (response === undefined) throw new Error("the script has no more responses");
    yield* typeof response === "function" ? response(signal) : response;
  };
  return Object.assign(stream, { requests });
}

/** A tool; `calls` notes the inputs it was run with. */
export function tool(
  name: string,
  run: (input: unknown, context: ToolContext) => ToolOutput | Promise<ToolOutput> = () => ({
    summary: `${name} done`,
  }),
  options: { serial?: boolean } = {},
): Tool & { readonly calls: unknown[] } {
  const calls: unknown[] = [];
  return {
    name,
    description: `the tool ${name}`,
    inputSchema: { type: "object", properties: {} },
    serial: options.serial ?? false,
    calls,
    async run(input, context) {
      calls.push(input);
      return await run(input, context);
    },
  };
}

/** A promise that stays open until the signal aborts, and then rejects as a tool should. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(new Error("stopped")), { once: true });
  if (signal.aborted) reject(new Error("stopped"));
  return promise;
}

/** Resolves once `parties` callers have arrived: proof that they were under way together. */
export function rendezvous(parties: number): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let missing = parties;
  return () => {
    missing -= 1;
    if (missing === 0) resolve();
    return promise;
  };
}

/** Dependencies of a run with a user message in its history, and the events it emitted. */
export function setUp(
  model: ModelStream,
  tools: readonly Tool[] = [],
  more: Partial<LoopDependencies> = {},
) {
  const events: Event[] = [];
  const history = more.history ?? new History();
  if (history.items.length === 0) history.append(textMessage("user", "hi"));
  const deps: LoopDependencies = {
    model,
    tools,
    history,
    system: () => "be brief",
    options: {},
    maxTurns: undefined,
    output: { defaultMaxBytes: 16_384, perTool: {} },
    takeNotices: () => undefined,
    emit: (event) => events.push(event),
    turns: { current: 0 },
    now: () => 1_700_000_000_000,
    ...more,
  };
  return { deps, events, history };
}

/** Notices as the controller hands them over. */
export const noticesOf = (texts: readonly string[]): Item[] =>
  texts.map((text) => textMessage("system", text));

/** Names of events, in order. */
export const names = (events: readonly Event[]): EventName[] => events.map((event) => event.event);

/** An event of one kind. */
type Named<Name extends EventName> = Extract<Event, { event: Name }>;

/** The data of all events of one name. */
export function dataOf<Name extends Exclude<EventName, "thinking_start" | "shutdown">>(
  events: readonly Event[],
  name: Name,
): Named<Name>["data"][] {
  const isNamed = (event: Event): event is Named<Name> => event.event === name;
  return events
    .filter(isNamed)
    .map((event: { data?: unknown }) => event.data as Named<Name>["data"]);
}

/** History in one short line per item, without ids. */
export function outline(history: History): string[] {
  return history.items.map((item) => {
    switch (item.type) {
      case "message":
        return `${item.role}: ${item.content.map((part) => ("text" in part ? part.text : "")).join("")}`;
      case "tool_call":
        return `call ${item.call_id} ${item.name} ${item.arguments}`;
      case "tool_result":
        return `result ${item.call_id} ${item.summary}${item.is_error === true ? " (error)" : ""}`;
      case "reasoning":
        return `reasoning: ${item.text}`;
    }
  });
}

/** Waits until `signal` is aborted, for models and tools that obey it. */
export function aborted(signal: AbortSignal): Promise<void> {
  return untilAborted(signal).catch(() => {});
}
