/**
 * Events: what a Pod sends to its clients, one JSON object a line (spec protocol 3 and 4).
 * A client that never sends `id` or `status` only ever sees the reference's events; `ack` and
 * `status` answer those who asked. Keys may be added to events, names and enum strings may not.
 */
import { z } from "zod/v3";
import { ItemSchema } from "./history.ts";
import { SegmentSchema } from "./segment.ts";

/** Codes of the `error` event (4.1). */
export const WireErrorCodeSchema = z.enum([
  "already_running",
  "not_running",
  "not_paused",
  "provider_error",
  "tool_error",
  "internal",
]);
export type WireErrorCode = z.infer<typeof WireErrorCodeSchema>;

/** What a Pod is doing. */
export const PodStateSchema = z.enum(["idle", "running", "paused"]);
export type PodState = z.infer<typeof PodStateSchema>;

const GreetingSchema = z.object({
  pod_name: z.string(),
  cwd: z.string(),
  provider: z.string(),
  model: z.string(),
  scope_summary: z.string(),
  tools: z.array(z.string()),
  /** Ours: which run of the name this is, so that a client can tell a successor. */
  instance: z.string().optional(),
});
export type Greeting = z.infer<typeof GreetingSchema>;

const AlertSchema = z.object({
  level: z.enum(["warn", "error"]),
  source: z.enum(["pod", "worker", "compactor", "agents_md"]),
  message: z.string(),
  timestamp_ms: z.number().int(),
});
export type Alert = z.infer<typeof AlertSchema>;

const runResult = z.enum(["finished", "paused", "limit_reached"]);
/** How a run really ended; the reference's `result` has no word for the last two (W3). */
const RunOutcomeSchema = z.enum(["finished", "paused", "limit_reached", "cancelled", "error"]);
export type RunOutcome = z.infer<typeof RunOutcomeSchema>;

const named = <Name extends string, Data extends z.ZodTypeAny>(name: Name, data: Data) =>
  z.object({ event: z.literal(name), data });
const bare = <Name extends string>(name: Name) =>
  z.object({ event: z.literal(name), data: z.null().optional() });
const text = z.object({ text: z.string() });
const turn = z.number().int().min(0);
const tokens = z.number().int().nullable().default(null);

/** Every event; `event` is the tag, `data` the content. */
export const EventSchema = z.discriminatedUnion("event", [
  named("user_message", z.object({ segments: z.array(SegmentSchema) })),
  named("turn_start", z.object({ turn })),
  named("turn_end", z.object({ turn, result: z.enum(["finished", "paused"]) })),
  named("text_delta", text),
  named("text_done", text),
  bare("thinking_start"),
  named("thinking_delta", text),
  named("thinking_done", text),
  named("tool_call_start", z.object({ id: z.string(), name: z.string() })),
  named("tool_call_args_delta", z.object({ id: z.string(), json: z.string() })),
  named("tool_call_done", z.object({ id: z.string(), name: z.string(), arguments: z.string() })),
  named(
    "tool_result",
    z.object({
      id: z.string(),
      summary: z.string(),
      output: z.string().optional(),
      is_error: z.boolean().default(false),
    }),
  ),
  named("usage", z.object({ input_tokens: tokens, output_tokens: tokens })),
  named("run_end", z.object({ result: runResult, outcome: RunOutcomeSchema.optional() })),
  named(
    "error",
    z.object({ code: WireErrorCodeSchema, message: z.string(), id: z.string().optional() }),
  ),
  named(
    "history",
    z.object({
      items: z.array(ItemSchema.or(z.unknown())),
      greeting: GreetingSchema,
      status: PodStateSchema.optional(),
      /** Ours: number of older items that did not fit into a line. */
      omitted: z.number().int().optional(),
    }),
  ),
  named(
    "completions",
    z.object({
      kind: z.enum(["file", "knowledge", "workflow"]),
      entries: z.array(z.object({ value: z.string(), is_dir: z.boolean().default(false) })),
    }),
  ),
  named("alert", AlertSchema),
  bare("compact_start"),
  named("compact_done", z.object({ new_session_id: z.string() })),
  named("compact_failed", z.object({ error: z.string() })),
  bare("shutdown"),
  named("ack", z.object({ id: z.string() })),
  named(
    "status",
    z.object({
      state: PodStateSchema,
      pod_name: z.string(),
      instance: z.string(),
      pid: z.number().int(),
      /** Runs started so far, so that two looks can tell whether anything happened in between. */
      runs: z.number().int(),
      /** What is still to come: notices that a run will take up, and reports on their way to the parent. */
      pending: z.number().int(),
    }),
  ),
]);
export type Event = z.infer<typeof EventSchema>;
export type EventName = Event["event"];

/** One line without the line end: compact JSON, strings made well-formed (spec protocol 1.3). */
export function encodeMessage(message: object): string {
  return JSON.stringify(message, (_key, value: unknown) =>
    typeof value === "string" && !value.isWellFormed() ? value.toWellFormed() : value,
  );
}

/** Decodes a line from a Pod; undefined for events this version does not know (W36). */
export function decodeEvent(line: string): Event | undefined {
  try {
    const parsed = EventSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
