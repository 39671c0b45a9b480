/**
 * Conversation items as a session log holds them: tagged `kind` instead of `type`, keys in the order
 * of spec worker-and-tools 5.3, without `id` and `status`. Beyond the reference, all optional:
 * `is_error` on results (W7), `provider` on reasoning and calls, for the vendor that made them (W5),
 * and `notice` on messages, by which a notice is known that was told before a crash.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import type { Item, MessageItem } from "../protocol/history.ts";

/** One item of a log entry. Unknown keys are ignored on reading and stay in the file. */
export const loggedItemSchema = lazily(() => {
  const part = z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("text"), text: z.string() }),
    z.object({ kind: z.literal("refusal"), refusal: z.string() }),
  ]);
  return z.discriminatedUnion("kind", [
    z.object({
      kind: z.literal("message"),
      role: z.enum(["user", "assistant", "system"]),
      content: z.array(part),
      notice: z.string().nullish(),
    }),
    z.object({
      kind: z.literal("tool_call"),
      call_id: z.string(),
      name: z.string(),
      arguments: z.string(),
      provider: z.record(z.string(), z.unknown()).nullish(),
    }),
    z.object({
      kind: z.literal("tool_result"),
      call_id: z.string(),
      summary: z.string(),
      content: z.string().nullish(),
      is_error: z.boolean().nullish(),
    }),
    z.object({
      kind: z.literal("reasoning"),
      text: z.string(),
      summary: z.array(z.string()).nullish(),
      encrypted_content: z.string().nullish(),
      provider: z.record(z.string(), z.unknown()).nullish(),
    }),
  ]);
});
export type LoggedItem = z.infer<ReturnType<typeof loggedItemSchema>>;

/** The form in which an item is logged. */
export function toLogged(item: Item): LoggedItem {
  switch (item.type) {
    case "message": {
      const { role, notice } = item;
      const content = item.content.map(loggedPart);
      return { kind: "message", role, content, ...(notice === undefined ? {} : { notice }) };
    }
    case "tool_call": {
      const { call_id, name, provider } = item;
      return {
        kind: "tool_call",
        call_id,
        name,
        arguments: item.arguments,
        ...(provider === undefined ? {} : { provider }),
      };
    }
    case "tool_result": {
      const { call_id, summary, content, is_error } = item;
      return {
        kind: "tool_result",
        call_id,
        summary,
        ...(content === undefined ? {} : { content }),
        ...(is_error === true ? { is_error } : {}),
      };
    }
    case "reasoning": {
      const { text, summary = [], encrypted_content, provider } = item;
      return {
        kind: "reasoning",
        text,
        ...(summary.length === 0 ? {} : { summary }),
        ...(encrypted_content === undefined ? {} : { encrypted_content }),
        ...(provider === undefined ? {} : { provider }),
      };
    }
  }
}

/** The item that was logged, without an id. */
export function fromLogged(item: LoggedItem): Item {
  switch (item.kind) {
    case "message": {
      const { role, notice } = item;
      const content = item.content.map(itemPart);
      return { type: "message", role, content, ...(notice == null ? {} : { notice }) };
    }
    case "tool_call": {
      const { call_id, name, provider } = item;
      return {
        type: "tool_call",
        call_id,
        name,
        arguments: item.arguments,
        ...(provider == null ? {} : { provider }),
      };
    }
    case "tool_result": {
      const { call_id, summary, content, is_error } = item;
      return {
        type: "tool_result",
        call_id,
        summary,
        ...(content == null ? {} : { content }),
        ...(is_error === true ? { is_error } : {}),
      };
    }
    case "reasoning": {
      const { text, summary, encrypted_content, provider } = item;
      return {
        type: "reasoning",
        text,
        ...(summary == null || summary.length === 0 ? {} : { summary }),
        ...(encrypted_content == null ? {} : { encrypted_content }),
        ...(provider == null ? {} : { provider }),
      };
    }
  }
}

type LoggedPart = Extract<LoggedItem, { kind: "message" }>["content"][number];
type ItemPart = MessageItem["content"][number];

function loggedPart(part: ItemPart): LoggedPart {
  return part.type === "text"
    ? { kind: "text", text: part.text }
    : { kind: "refusal", refusal: part.refusal };
}

function itemPart(part: LoggedPart): ItemPart {
  return part.kind === "text"
    ? { type: "text", text: part.text }
    : { type: "refusal", refusal: part.refusal };
}
