/**
 * What a line of a session log says (spec worker-and-tools 5.3). Entries are made here with their
 * keys in the order of the contract, because the text itself is hashed. An entry of a kind that this
 * version does not know is legal: it keeps its place in the chain and means nothing to us.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { segmentSchema } from "../protocol/segment.ts";
import { loggedItemSchema } from "./logged-item.ts";

/** Sampling settings as logged: six keys, all always there. */
const loggedConfigSchema = lazily(() =>
  z.object({
    max_tokens: z.number().int().nullable().default(null),
    temperature: z.number().nullable().default(null),
    top_p: z.number().nullable().default(null),
    top_k: z.number().int().nullable().default(null),
    stop_sequences: z.array(z.string()).default([]),
    reasoning: z.union([z.string(), z.number().int()]).nullable().default(null),
  }),
);
export type LoggedConfig = z.infer<ReturnType<typeof loggedConfigSchema>>;

/** Where a session came from: another session up to and including one of its entries. */
const originSchema = lazily(() => z.object({ session_id: z.string(), at_hash: z.string() }));
export type Origin = z.infer<ReturnType<typeof originSchema>>;

/** Tokens of one request; `history_len` is the number of items that were sent. */
const usageKeys = lazily(() => ({
  history_len: z.number().int(),
  input_total_tokens: z.number(),
  cache_read_tokens: z.number(),
  cache_write_tokens: z.number(),
  output_tokens: z.number(),
}));

const entrySchema = lazily(() => {
  const ts = z.number();
  const items = z.array(loggedItemSchema());
  /** Ours: number in the id of the first item of the entry; the others follow it. */
  const first_item = z.number().int().nullish();
  /** Ours: where the last `pod.setup` begins, in bytes; the log itself adds it (`log.ts`). */
  const setup_at = z.number().int().nullish();
  return z.discriminatedUnion("kind", [
    z.object({
      kind: z.literal("session_start"),
      ts,
      system_prompt: z.string().nullable(),
      config: loggedConfigSchema(),
      history: items,
      forked_from: originSchema().nullish(),
      compacted_from: originSchema().nullish(),
      first_item,
      /** Ours: ids of the items in `history`, when they are not consecutive. */
      item_ids: z.array(z.number().int()).nullish(),
    }),
    z.object({ kind: z.literal("user_input"), ts, segments: z.array(segmentSchema()), first_item }),
    z.object({ kind: z.literal("hook_injected_items"), ts, items, first_item }),
    z.object({ kind: z.literal("assistant_items"), ts, items, first_item }),
    z.object({ kind: z.literal("tool_results"), ts, items, first_item }),
    z.object({ kind: z.literal("turn_end"), ts, turn_count: z.number().int() }),
    z.object({ kind: z.literal("llm_usage"), ts, ...usageKeys(), setup_at }),
    z.object({
      kind: z.literal("run_completed"),
      ts,
      interrupted: z.boolean(),
      result: z.string(),
      setup_at,
    }),
    z.object({
      kind: z.literal("run_errored"),
      ts,
      interrupted: z.boolean(),
      message: z.string(),
      setup_at,
    }),
    z.object({ kind: z.literal("config_changed"), ts, config: loggedConfigSchema() }),
    z.object({ kind: z.literal("extension"), ts, domain: z.string(), payload: z.unknown() }),
  ]);
});
/** An entry of a known kind. Write objects with their keys in the order of the schema. */
export type Entry = z.infer<ReturnType<typeof entrySchema>>;
export type UsageRecord = Omit<Extract<Entry, { kind: "llm_usage" }>, "kind" | "ts" | "setup_at">;

/** Kinds whose meaning we know; others are kept and ignored. */
const KNOWN_KINDS: ReadonlySet<string> = new Set([
  "session_start",
  "user_input",
  "hook_injected_items",
  "assistant_items",
  "tool_results",
  "turn_end",
  "llm_usage",
  "run_completed",
  "run_errored",
  "config_changed",
  "extension",
]);

/** A parsed entry, one of a kind we do not know, or why it is neither. */
type ParsedEntry =
  | { readonly ok: true; readonly entry: Entry | undefined }
  | { readonly ok: false; readonly reason: string };

/** Reads the JSON of one entry. */
export function parseEntry(json: string): ParsedEntry {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : "not JSON" };
  }
  if (typeof value !== "object" || value === null || !("kind" in value)) {
    return { ok: false, reason: "missing field `kind`" };
  }
  if (typeof value.kind !== "string" || !KNOWN_KINDS.has(value.kind)) {
    return { ok: true, entry: undefined };
  }
  const parsed = entrySchema().safeParse(value);
  if (parsed.success) return { ok: true, entry: parsed.data };
  const issue = parsed.error.issues[0];
  return {
    ok: false,
    reason: `${value.kind}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`,
  };
}
