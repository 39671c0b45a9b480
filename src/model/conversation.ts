/**
 * A conversation in the libraries' common prompt type. Pure. Whatever the history holds, the result
 * is something that the strictest API accepts: it ends with the user, tool results stand first in
 * their message, no text is empty, no string is malformed. What a vendor signed or encrypted goes
 * back to that vendor only.
 */
import { messageText, type Item, type ToolResultItem } from "../protocol/history.ts";
import type { SdkMessage, SdkPrompt, SdkProviderOptions, SdkTool } from "./ai-sdk.ts";
import {
  type AssistantPart,
  type ConversionOptions,
  reasoningPart,
  safeId,
  safeName,
  toolCallPart,
  wellFormed,
} from "./conversation-parts.ts";
import type { ModelRequest } from "./model.ts";

/** Said for the user when a history ends with the assistant; newer models refuse to be prefilled. */
const CONTINUE_TEXT = "Continue.";
/** The API refuses blank texts. */
const EMPTY_MESSAGE = "(empty message)";
const EMPTY_RESULT = "(no output)";
/** The API's limit of cache breakpoints in a request. */
const MAX_BREAKPOINTS = 4;

/** Prompt and tools as `doStream` takes them. */
interface Conversation {
  readonly prompt: SdkPrompt;
  readonly tools: FunctionTool[];
}

type FunctionTool = Extract<SdkTool, { type: "function" }>;
type UserPart = Extract<SdkMessage, { role: "user" }>["content"][number];
type ToolPart = Extract<SdkMessage, { role: "tool" }>["content"][number];
type Markable = { providerOptions?: SdkProviderOptions };

/** A run of items of one side. */
type Block =
  | { readonly role: "assistant"; readonly parts: AssistantPart[] }
  | { readonly role: "user"; readonly results: ToolPart[]; readonly texts: UserPart[] };

/**
 * Converts a request. Text of a tool result is its summary, or summary, line break and content
 * (spec worker 1.1); system items become user text (manifest 5.3 g); thinking goes back unchanged,
 * with its signature, to the host that made it (FIX 8).
 */
export function toConversation(
  request: Pick<ModelRequest, "system" | "items" | "tools">,
  options: ConversionOptions,
): Conversation {
  const newest = newestUserMessage(request.items);
  const builder = new Builder(options, newest);
  request.items.forEach((item, index) => builder.add(item, index));
  const messages = builder.finish();
  const system: SdkMessage[] =
    request.system.trim() === "" ? [] : [{ role: "system", content: wellFormed(request.system) }];
  const tools: FunctionTool[] = request.tools.map((tool) => ({
    type: "function",
    name: tool.name,
    description: tool.description,
    // The library's schema type is a mutable copy of ours.
    inputSchema: { ...tool.inputSchema } as FunctionTool["inputSchema"],
    ...(options.toolOptions === undefined ? {} : { providerOptions: options.toolOptions }),
  }));
  const places = [
    builder.last(),
    system[0],
    builder.before(newest),
    startsWithSummary(request.items) ? builder.before(1) : undefined,
    tools.at(-1),
  ];
  placeBreakpoints(places, Math.min(options.breakpoints, MAX_BREAKPOINTS));
  return { prompt: [...system, ...messages], tools };
}

/**
 * Marks the first `count` different places. The order says what is worth most: the newest item (this
 * turn's prefix), the system prompt (it covers the tools before it), the point before the newest
 * user message (still there after many tool rounds), a compaction summary, the tools alone.
 */
function placeBreakpoints(places: readonly (Markable | undefined)[], count: number): void {
  const different = new Set(places.filter((place) => place !== undefined));
  for (const place of [...different].slice(0, Math.max(0, count))) {
    const { anthropic } = place.providerOptions ?? {};
    place.providerOptions = { anthropic: { ...anthropic, cacheControl: { type: "ephemeral" } } };
  }
}

function newestUserMessage(items: readonly Item[]): number {
  return items.findLastIndex((item) => item.type === "message" && item.role === "user");
}

/** A history that begins with a system item begins with a compaction summary (manifest 7.7). */
function startsWithSummary(items: readonly Item[]): boolean {
  const first = items[0];
  return first?.type === "message" && first.role === "system";
}

class Builder {
  readonly #options: ConversionOptions;
  readonly #newestUser: number;
  readonly #blocks: Block[] = [];
  /**
   * Thinking that waits for what the model said after it. A turn that broke off right there leaves
   * thinking that nothing follows; the API refuses a message that ends so.
   */
  readonly #thinking: AssistantPart[] = [];
  readonly #toolNames = new Map<string, string>();
  /** Parts that may carry a breakpoint, with the index of their item. */
  readonly #markable: { readonly index: number; readonly part: Markable }[] = [];

  /** `newestUser` is the index of the newest user message; what follows it is this turn. */
  constructor(options: ConversionOptions, newestUser: number) {
    this.#options = options;
    this.#newestUser = newestUser;
  }

  add(item: Item, index: number): void {
    switch (item.type) {
      case "message":
        this.#addMessage(item.role, wellFormed(messageText(item)), index);
        break;
      case "tool_call":
        this.#toolNames.set(item.call_id, item.name);
        this.#mark(index, this.#assistant(toolCallPart(item, this.#options)));
        break;
      case "tool_result":
        this.#addResult(item, index);
        break;
      case "reasoning": {
        const part = reasoningPart(item, this.#options, index > this.#newestUser);
        if (part !== undefined) this.#thinking.push(part);
        break;
      }
    }
  }

  /** The messages so far, with a user message at the end. */
  finish(): SdkMessage[] {
    const messages = this.#blocks.flatMap(blockMessages);
    if (this.#blocks.at(-1)?.role !== "user") {
      messages.push({ role: "user", content: [{ type: "text", text: CONTINUE_TEXT }] });
    }
    return messages;
  }

  /** The last part on the wire that may carry a breakpoint. */
  last(): Markable | undefined {
    const block = this.#blocks.at(-1);
    if (block?.role === "user") return block.texts.at(-1) ?? block.results.at(-1);
    return this.#markable.at(-1)?.part;
  }

  /** The last such part that belongs to an item before `index`. */
  before(index: number): Markable | undefined {
    return this.#markable.findLast((entry) => entry.index < index)?.part;
  }

  #addMessage(role: "user" | "assistant" | "system", text: string, index: number): void {
    const blank = text.trim() === "";
    if (role === "assistant") {
      if (!blank) this.#mark(index, this.#assistant({ type: "text", text }));
      return;
    }
    const part: UserPart = { type: "text", text: blank ? EMPTY_MESSAGE : text };
    this.#user().texts.push(part);
    this.#mark(index, part);
  }

  #addResult(item: ToolResultItem, index: number): void {
    const whole = item.content === undefined ? item.summary : `${item.summary}\n${item.content}`;
    const value = whole.trim() === "" ? EMPTY_RESULT : wellFormed(whole);
    const part: ToolPart = {
      type: "tool-result",
      toolCallId: safeId(item.call_id),
      toolName: safeName(this.#toolNames.get(item.call_id) ?? ""),
      output: { type: item.is_error === true ? "error-text" : "text", value },
    };
    this.#user().results.push(part);
    this.#mark(index, part);
  }

  #assistant(part: AssistantPart): AssistantPart {
    const parts = [...this.#thinking.splice(0), part];
    const last = this.#blocks.at(-1);
    if (last?.role === "assistant") last.parts.push(...parts);
    else this.#blocks.push({ role: "assistant", parts });
    return part;
  }

  #user(): Extract<Block, { role: "user" }> {
    this.#thinking.length = 0;
    const last = this.#blocks.at(-1);
    if (last?.role === "user") return last;
    const block = { role: "user" as const, results: [], texts: [] };
    this.#blocks.push(block);
    return block;
  }

  #mark(index: number, part: Markable): void {
    this.#markable.push({ index, part });
  }
}

/** The library joins a tool message and the user message after it into one. */
function blockMessages(block: Block): SdkMessage[] {
  if (block.role === "assistant") return [{ role: "assistant", content: block.parts }];
  const messages: SdkMessage[] = [];
  if (block.results.length > 0) messages.push({ role: "tool", content: block.results });
  if (block.texts.length > 0) messages.push({ role: "user", content: block.texts });
  return messages;
}
