/** Conversation items as they stand in `history.json` and in the `history` event (spec protocol 5). */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { segmentSchema } from "./segment.ts";

/**
 * One item. Keys beyond the reference's, all optional: `id` stable within the session (cursors),
 * `is_error` on results (W26), `provider` on reasoning and calls (manifest FIX 8), `notice` on system
 * messages.
 */
export const itemSchema = lazily(() => {
  const status = z.enum(["inprogress", "completed", "incomplete"]).optional();

  const ContentPartSchema = z.discriminatedUnion("type", [
    z.object({ type: z.literal("text"), text: z.string() }),
    z.object({ type: z.literal("refusal"), refusal: z.string() }),
  ]);

  /** Provider data that must go back unchanged to the vendor that made it (signatures, encrypted parts). */
  const ProviderDataSchema = z.record(z.string(), z.unknown());

  return z.discriminatedUnion("type", [
    z.object({
      type: z.literal("message"),
      id: z.string().optional(),
      role: z.enum(["user", "assistant", "system"]),
      content: z.array(ContentPartSchema),
      status,
      /** Id of the notice that this message is: after a crash it is not told again. */
      notice: z.string().optional(),
      /** What was typed; only in the `history` event, on user messages. */
      segments: z.array(segmentSchema()).optional(),
    }),
    z.object({
      type: z.literal("tool_call"),
      id: z.string().optional(),
      call_id: z.string(),
      name: z.string(),
      arguments: z.string(),
      status,
      provider: ProviderDataSchema.optional(),
    }),
    z.object({
      type: z.literal("tool_result"),
      id: z.string().optional(),
      call_id: z.string(),
      summary: z.string(),
      content: z.string().optional(),
      is_error: z.boolean().optional(),
    }),
    z.object({
      type: z.literal("reasoning"),
      id: z.string().optional(),
      text: z.string(),
      summary: z.array(z.string()).optional(),
      encrypted_content: z.string().optional(),
      status,
      provider: ProviderDataSchema.optional(),
    }),
  ]);
});
export type Item = z.infer<ReturnType<typeof itemSchema>>;
export type MessageItem = Extract<Item, { type: "message" }>;
export type ToolCallItem = Extract<Item, { type: "tool_call" }>;
export type ToolResultItem = Extract<Item, { type: "tool_result" }>;
export type ReasoningItem = Extract<Item, { type: "reasoning" }>;

/** True for a message in the role of the user: typed by a person or sent by another Pod. */
export function isUserMessage(item: Item): boolean {
  return item.type === "message" && item.role === "user";
}

/** Text of a message: its text parts joined. */
export function messageText(item: MessageItem): string {
  return item.content.map((part) => (part.type === "text" ? part.text : part.refusal)).join("");
}

/** A message with a single text part. */
export function textMessage(role: MessageItem["role"], text: string): MessageItem {
  return { type: "message", role, content: [{ type: "text", text }] };
}
