/**
 * Folds one model stream into what is shown (events) and what is kept (items). One fold belongs to
 * one request, so nothing of a broken response can leak into the next (spec worker-and-tools W26).
 * It decides which calls may run; it runs nothing and writes no history.
 */
import type { FinishReason, ModelEvent, Usage } from "../model/model.ts";
import type { Event } from "../protocol/event.ts";
import {
  textMessage,
  type Item,
  type ReasoningItem,
  type ToolCallItem,
} from "../protocol/history.ts";
import { NO_ARGUMENTS, parseArguments, type ToolInput } from "./arguments.ts";

/** One call of a response: what the tool gets, or the text that answers it without running it. */
export type PlannedCall = {
  readonly callId: string;
  readonly name: string;
} & ({ readonly input: ToolInput } | { readonly refusal: string });

/** What became of a response. */
interface FoldedResponse {
  /** To be committed: reasoning, one assistant message, calls; after a failure the message alone. */
  readonly items: readonly Item[];
  /** The calls among `items`, in their order. */
  readonly calls: readonly PlannedCall[];
  /** Tokens, merged field by field, when the vendor reported any. */
  readonly usage: Usage | undefined;
  /** Set when the response did not come to its end. */
  readonly failure: string | undefined;
  /** Why an answer without calls is short, missing or not what it seems; a warning says it too. */
  readonly remark?: string;
}

/** What a fold needs from its surroundings. */
export interface FoldContext {
  readonly emit: (event: Event) => void;
  /** Told the name of each call when it begins. */
  readonly announced: (name: string) => void;
  /** Shows a warning to clients. */
  readonly warn: (message: string) => void;
  /** True for call ids that the conversation already uses; some vendors repeat theirs (W2). */
  readonly isCallIdTaken: (callId: string) => boolean;
}

/** Text that one response may hold; more would not fit into a line of the protocol. */
export const MAX_RESPONSE_CHARACTERS = 4 * 1024 * 1024;

const CUT_ARGUMENTS =
  "Tool call not executed: its arguments were cut because the answer reached the token limit; " +
  "call the tool again with shorter arguments";

interface StartedCall {
  readonly callId: string;
  readonly name: string;
}

interface FinishedCall extends StartedCall {
  /** As the model wrote them. */
  readonly raw: string;
  /** Goes back to the vendor with the call. */
  readonly provider?: ToolCallItem["provider"];
}

/** Collector of one response. Feed it with `accept` until it returns true, then take `result`. */
export class ResponseFold {
  readonly #context: FoldContext;
  readonly #texts: string[] = [];
  readonly #reasoning: ReasoningItem[] = [];
  readonly #calls: FinishedCall[] = [];
  /** Calls under way, by the vendor's id. */
  readonly #started = new Map<string, StartedCall>();
  readonly #callIds = new Set<string>();
  #characters = 0;
  #usage: Usage | undefined;
  #reason: FinishReason | undefined;
  #failure: string | undefined;

  constructor(context: FoldContext) {
    this.#context = context;
  }

  /** True when the response came to its end or failed; events after that are ignored. */
  get over(): boolean {
    return this.#reason !== undefined || this.#failure !== undefined;
  }

  /** True when the model said that its response is complete. */
  get finished(): boolean {
    return this.#reason !== undefined;
  }

  /** Tokens reported so far. */
  get usage(): Usage | undefined {
    return this.#usage;
  }

  /** Takes one event; true when it was the last one. */
  accept(event: ModelEvent): boolean {
    if (!this.over) this.#take(event);
    return this.over;
  }

  /** Ends the response as failed, unless it is over. */
  fail(message: string): void {
    if (!this.over) this.#failure = message;
  }

  /**
   * The response as it stands. Without `finish` it counts as failed: complete text stays, because
   * it was shown; calls and reasoning go, because vendors refuse them when they are incomplete.
   */
  result(): FoldedResponse {
    const message = this.#texts.join("");
    const messages = message === "" ? [] : [textMessage("assistant", message)];
    const reason = this.#reason;
    if (reason === undefined) {
      const failure = this.#failure ?? "the stream ended before the response was complete";
      return { items: messages, calls: [], usage: this.#usage, failure };
    }
    const cut = reason === "length";
    const planned = this.#calls.map((call, index) =>
      planCall(call, cut, cut && index === this.#calls.length - 1 && this.#started.size === 0),
    );
    for (const call of this.#started.values()) {
      if (cut)
        planned.push({ item: callItem(call, NO_ARGUMENTS), call: refuse(call, CUT_ARGUMENTS) });
      else
        this.#context.warn(`tool call \`${call.name}\` was dropped: the model did not finish it`);
    }
    const remark = remarkOn(reason, message, planned.length);
    if (remark !== undefined) this.#context.warn(remark);
    const visible = [...messages, ...planned.map((entry) => entry.item)];
    return {
      // Reasoning alone is no answer: a vendor expects what it led to behind it.
      items: visible.length === 0 ? [] : [...this.#reasoning, ...visible],
      calls: planned.map((entry) => entry.call),
      usage: this.#usage,
      failure: undefined,
      ...(remark === undefined ? {} : { remark }),
    };
  }

  #take(event: ModelEvent): void {
    const { emit, warn } = this.#context;
    switch (event.type) {
      case "text_delta":
        return emit({ event: "text_delta", data: { text: event.text } });
      case "text_done":
        this.#texts.push(event.text);
        emit({ event: "text_done", data: { text: event.text } });
        return this.#count(event.text.length);
      case "thinking_start":
        return emit({ event: "thinking_start" });
      case "thinking_delta":
        return emit({ event: "thinking_delta", data: { text: event.text } });
      case "thinking_done":
        if (carriesReasoning(event.item)) this.#reasoning.push(event.item);
        emit({ event: "thinking_done", data: { text: event.item.text } });
        return this.#count(event.item.text.length);
      case "tool_start":
        this.#start(event.callId, event.name);
        return;
      case "tool_delta": {
        const call = this.#started.get(event.callId);
        if (call === undefined) return;
        const data = { id: call.callId, json: event.json };
        return emit({ event: "tool_call_args_delta", data });
      }
      case "tool_done":
        this.#finishCall(event);
        return this.#count(event.arguments.length);
      case "warning":
        return warn(event.message);
      case "usage":
        this.#usage = mergeUsage(this.#usage, event.usage);
        return;
      case "finish":
        this.#reason = event.reason;
        return;
      case "failed":
        this.#failure = event.message;
        return;
    }
  }

  #start(vendorId: string, name: string): StartedCall {
    const call = { callId: this.#freeCallId(vendorId), name };
    this.#callIds.add(call.callId);
    this.#started.set(vendorId, call);
    this.#context.emit({ event: "tool_call_start", data: { id: call.callId, name } });
    this.#context.announced(name);
    return call;
  }

  #finishCall(event: Extract<ModelEvent, { type: "tool_done" }>): void {
    const { callId: vendorId, name, arguments: raw, provider } = event;
    const { callId } = this.#started.get(vendorId) ?? this.#start(vendorId, name);
    this.#started.delete(vendorId);
    this.#calls.push({ callId, name, raw, ...(provider === undefined ? {} : { provider }) });
    const parsed = parseArguments(raw);
    const text = parsed.ok ? parsed.text : NO_ARGUMENTS;
    this.#context.emit({ event: "tool_call_done", data: { id: callId, name, arguments: text } });
  }

  /** The vendor's id, or a variant of it that the conversation does not use yet. */
  #freeCallId(vendorId: string): string {
    const base = vendorId === "" ? "call" : vendorId;
    for (let number = 1; ; number += 1) {
      const id = number === 1 ? base : `${base}_${number}`;
      if (!this.#callIds.has(id) && !this.#context.isCallIdTaken(id)) return id;
    }
  }

  #count(characters: number): void {
    this.#characters += characters;
    if (this.#characters > MAX_RESPONSE_CHARACTERS) {
      this.fail(`the response is longer than ${MAX_RESPONSE_CHARACTERS} characters`);
    }
  }
}

/** What people and the parent should know about the end of an answer (W4). */
function remarkOn(reason: FinishReason, message: string, calls: number): string | undefined {
  if (calls > 0) return undefined;
  if (reason === "length") return "the answer was cut at the model's token limit";
  if (reason === "refusal") {
    return message === ""
      ? "the model refused to answer"
      : "the answer was stopped by the provider's content filter or refused by the model";
  }
  return undefined;
}

/** History item and plan of a call; `mayBeCut` when the token limit was met right after it. */
function planCall(
  call: FinishedCall,
  limited: boolean,
  mayBeCut: boolean,
): { readonly item: ToolCallItem; readonly call: PlannedCall } {
  const parsed = parseArguments(call.raw);
  if (!parsed.ok) {
    const refusal = limited
      ? CUT_ARGUMENTS
      : `Tool execution failed: Invalid argument: ${call.name} ${parsed.reason}`;
    return { item: callItem(call, NO_ARGUMENTS), call: refuse(call, refusal) };
  }
  // A cut before the first character looks like a call without arguments.
  if (mayBeCut && call.raw.trim() === "") {
    return { item: callItem(call, NO_ARGUMENTS), call: refuse(call, CUT_ARGUMENTS) };
  }
  const { callId, name } = call;
  return { item: callItem(call, parsed.text), call: { callId, name, input: parsed.input } };
}

function callItem(call: StartedCall | FinishedCall, text: string): ToolCallItem {
  const { callId, name } = call;
  const provider = "provider" in call ? call.provider : undefined;
  return {
    type: "tool_call",
    call_id: callId,
    name,
    arguments: text,
    ...(provider === undefined ? {} : { provider }),
  };
}

function refuse({ callId, name }: StartedCall, refusal: string): PlannedCall {
  return { callId, name, refusal };
}

function carriesReasoning(item: ReasoningItem): boolean {
  const { text, summary = [], encrypted_content: encrypted, provider } = item;
  return text !== "" || summary.length > 0 || encrypted !== undefined || provider !== undefined;
}

/** The newest value of every field that has one (1.2). */
function mergeUsage(known: Usage | undefined, next: Usage): Usage {
  const reasoning = next.reasoning ?? known?.reasoning;
  return {
    input: next.input ?? known?.input ?? null,
    output: next.output ?? known?.output ?? null,
    cacheRead: next.cacheRead ?? known?.cacheRead ?? null,
    cacheWrite: next.cacheWrite ?? known?.cacheWrite ?? null,
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}
