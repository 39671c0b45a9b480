/**
 * Single parts of a conversation in the libraries' prompt type: ids, names and texts that every API
 * takes, and what a vendor signed or encrypted, which goes back to that vendor only. Pure.
 */
import type { ReasoningItem, ToolCallItem } from "../protocol/history.ts";
import type { SdkMessage, SdkProviderOptions } from "./ai-sdk.ts";
import type { Dialect } from "./dialect.ts";
import { isObject } from "./failure.ts";

/** Longest id of a tool call that every API takes. */
const MAX_ID_CHARACTERS = 64;
/** Longest name of a tool. */
const MAX_NAME_CHARACTERS = 128;

/** How a conversation is converted. */
export interface ConversionOptions {
  /** Host that made what may be sent back to it; what another host made is dropped. */
  readonly vendor: string;
  readonly dialect: Pick<Dialect, "vendorKey" | "replay" | "plainThinking" | "signedCalls">;
  /** Cache breakpoints that the model's capability allows; 0 for models that cache by themselves. */
  readonly breakpoints: number;
  /** What goes with every tool. */
  readonly toolOptions?: SdkProviderOptions | undefined;
}

/** What a message of the assistant may hold. */
export type AssistantPart = Extract<SdkMessage, { role: "assistant" }>["content"][number];

/** A call as the assistant made it, with what its host signed where the API wants that back. */
export function toolCallPart(
  item: ToolCallItem,
  options: ConversionOptions,
): Extract<AssistantPart, { type: "tool-call" }> {
  const data = options.dialect.signedCalls ? vendorData(item, options) : undefined;
  return {
    type: "tool-call",
    toolCallId: safeId(item.call_id),
    toolName: safeName(item.name),
    input: toolInput(item.arguments),
    ...(data === undefined || Object.keys(data).length === 0
      ? {}
      : { providerOptions: { [options.dialect.vendorKey]: data } as SdkProviderOptions }),
  };
}

/** The API takes objects only; text that is none goes back under a key that says so (worker W12). */
function toolInput(text: string): unknown {
  if (text.trim() === "" || text.trim() === "null") return {};
  try {
    const parsed: unknown = JSON.parse(text, (_key, value: unknown) =>
      typeof value === "string" ? wellFormed(value) : value,
    );
    if (isObject(parsed) && !Array.isArray(parsed)) return parsed;
  } catch {
    // Cut or invalid JSON.
  }
  return { rawInvalidInput: wellFormed(text) };
}

/** Data that a host gave with an item: who made it, and the library's metadata under its name. */
export function madeBy(
  vendor: string,
  vendorKey: string,
  metadata: Readonly<Record<string, unknown>>,
): NonNullable<ReasoningItem["provider"]> {
  return { vendor, [vendorKey]: { ...metadata } };
}

/** What the host that we talk to gave with an item; undefined when another host made it. */
function vendorData(
  item: ReasoningItem | ToolCallItem,
  { vendor, dialect }: ConversionOptions,
): Record<string, unknown> | undefined {
  if (item.provider?.vendor !== vendor) return undefined;
  const data = item.provider[dialect.vendorKey];
  return isObject(data) ? data : undefined;
}

/** Thinking for the host that made it; undefined when it is another, or wants none back. */
export function reasoningPart(
  item: ReasoningItem,
  options: ConversionOptions,
  thisTurn: boolean,
): Extract<AssistantPart, { type: "reasoning" }> | undefined {
  const data = vendorData(item, options);
  const back = data === undefined ? undefined : options.dialect.replay(data, thisTurn);
  if (back === undefined) return undefined;
  return {
    type: "reasoning",
    // What is signed is not made well-formed: a signature covers the text as it is.
    text: !back.text ? "" : back.options === undefined ? wellFormed(item.text) : item.text,
    ...(back.options === undefined ? {} : { providerOptions: back.options }),
  };
}

/** Ids of another vendor may be too long or hold characters that this API refuses. */
export function safeId(id: string): string {
  // The end is kept: there the worker puts what makes a repeated id unique.
  return id.replace(/[^A-Za-z0-9_-]/g, "_").slice(-MAX_ID_CHARACTERS) || "_";
}

/** A tool's name within the characters and the length that every API takes. */
export function safeName(name: string): string {
  const safe = name.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, MAX_NAME_CHARACTERS) || "unknown";
  // Libraries look names up in plain objects; `toString` would be found, and go out as nothing.
  return safe in Object.prototype ? `${safe}_` : safe;
}

/** A lone surrogate would make the request body invalid. */
export function wellFormed(text: string): string {
  return text.toWellFormed();
}
