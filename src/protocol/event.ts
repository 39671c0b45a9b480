/**
 * Events: what a Pod sends to its clients, one JSON object a line (spec protocol 3 and 4).
 * A client that never sends `id` or `status` only ever sees the reference's events; `ack` and
 * `status` answer those who asked. Keys may be added to events, names and enum strings may not.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { itemSchema } from "./history.ts";
import { segmentSchema } from "./segment.ts";

/** Codes of the `error` event (4.1). */
const wireErrorCodeSchema = lazily(() =>
  z.enum([
    "already_running",
    "not_running",
    "not_paused",
    "provider_error",
    "tool_error",
    "internal",
  ]),
);
export type WireErrorCode = z.infer<ReturnType<typeof wireErrorCodeSchema>>;

/** What a Pod is doing. */
const podStateSchema = lazily(() => z.enum(["idle", "running", "paused"]));
export type PodState = z.infer<ReturnType<typeof podStateSchema>>;

const greetingSchema = lazily(() =>
  z.object({
    pod_name: z.string(),
    cwd: z.string(),
    provider: z.string(),
    model: z.string(),
    scope_summary: z.string(),
    tools: z.array(z.string()),
    /** Ours: which run of the name this is, so that a client can tell a successor. */
    instance: z.string().optional(),
  }),
);
export type Greeting = z.infer<ReturnType<typeof greetingSchema>>;

const alertSchema = lazily(() =>
  z.object({
    level: z.enum(["warn", "error"]),
    source: z.enum(["pod", "worker", "compactor", "agents_md"]),
    message: z.string(),
    timestamp_ms: z.number().int(),
  }),
);
export type Alert = z.infer<ReturnType<typeof alertSchema>>;

const runResult = lazily(() => z.enum(["finished", "paused", "limit_reached"]));
/** How a run really ended; the reference's `result` has no word for the last two (W3). */
const runOutcomeSchema = lazily(() =>
  z.enum(["finished", "paused", "limit_reached", "cancelled", "error"]),
);
export type RunOutcome = z.infer<ReturnType<typeof runOutcomeSchema>>;

const bare = lazily(() => z.null().optional());
const text = lazily(() => z.object({ text: z.string() }));
const turn = lazily(() => z.number().int().min(0));
const tokens = lazily(() => z.number().int().nullable().default(null));

/** Every event: its name and the schema of its `data`; made when the first one is decoded. */
export const EVENT_DATA = {
  user_message: lazily(() => z.object({ segments: z.array(segmentSchema()) })),
  turn_start: lazily(() => z.object({ turn: turn() })),
  turn_end: lazily(() => z.object({ turn: turn(), result: z.enum(["finished", "paused"]) })),
  text_delta: text,
  text_done: text,
  thinking_start: bare,
  thinking_delta: text,
  thinking_done: text,
  tool_call_start: lazily(() => z.object({ id: z.string(), name: z.string() })),
  tool_call_args_delta: lazily(() => z.object({ id: z.string(), json: z.string() })),
  tool_call_done: lazily(() =>
    z.object({ id: z.string(), name: z.string(), arguments: z.string() }),
  ),
  tool_result: lazily(() =>
    z.object({
      id: z.string(),
      summary: z.string(),
      output: z.string().optional(),
      is_error: z.boolean().default(false),
    }),
  ),
  usage: lazily(() =>
    z.object({
      input_tokens: tokens(),
      output_tokens: tokens(),
      // Parts of the two above, where the vendor tells them apart.
      cache_read_tokens: tokens().optional(),
      cache_write_tokens: tokens().optional(),
      reasoning_tokens: tokens().optional(),
    }),
  ),
  run_end: lazily(() => z.object({ result: runResult(), outcome: runOutcomeSchema().optional() })),
  error: lazily(() =>
    z.object({
      code: wireErrorCodeSchema(),
      message: z.string(),
      id: z.string().optional(),
      /** Ours: the same request may be taken later. */
      retry: z.boolean().optional(),
    }),
  ),
  history: lazily(() =>
    z.object({
      items: z.array(itemSchema().or(z.unknown())),
      greeting: greetingSchema(),
      status: podStateSchema().optional(),
      /** Ours: number of older items that did not fit into a line. */
      omitted: z.number().int().optional(),
    }),
  ),
  completions: lazily(() =>
    z.object({
      kind: z.enum(["file", "knowledge", "workflow"]),
      entries: z.array(z.object({ value: z.string(), is_dir: z.boolean().default(false) })),
      /** Ours: the prefix that was asked for (W35). */
      prefix: z.string().optional(),
    }),
  ),
  alert: alertSchema,
  compact_start: bare,
  compact_done: lazily(() => z.object({ new_session_id: z.string() })),
  compact_failed: lazily(() => z.object({ error: z.string() })),
  shutdown: bare,
  ack: lazily(() => z.object({ id: z.string() })),
  status: lazily(() =>
    z.object({
      state: podStateSchema(),
      pod_name: z.string(),
      instance: z.string(),
      pid: z.number().int(),
      /** Runs started so far, so that two looks can tell whether anything happened in between. */
      runs: z.number().int(),
      /** What is still to come: notices that a run will take up, and reports on their way to the parent. */
      pending: z.number().int(),
    }),
  ),
};

type EventData = {
  [Name in keyof typeof EVENT_DATA]: z.infer<ReturnType<(typeof EVENT_DATA)[Name]>>;
};
export type EventName = keyof EventData;
/** An event; those without content have no `data`. */
export type Event = {
  [Name in EventName]: undefined extends EventData[Name]
    ? { event: Name; data?: EventData[Name] }
    : { event: Name; data: EventData[Name] };
}[EventName];

/** One line without the line end: compact JSON, strings made well-formed (spec protocol 1.3). */
export function encodeMessage(message: object): string {
  return JSON.stringify(message, (_key, value: unknown) =>
    typeof value === "string" && !value.isWellFormed() ? value.toWellFormed() : value,
  );
}

/** Decodes a line from a Pod; undefined for events this version does not know (W36). */
export function decodeEvent(line: string): Event | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null || !("event" in value)) return undefined;
    const { event } = value;
    if (typeof event !== "string" || !Object.hasOwn(EVENT_DATA, event)) return undefined;
    const parsed = EVENT_DATA[event as EventName]().safeParse(
      "data" in value ? value.data : undefined,
    );
    if (!parsed.success) return undefined;
    return (parsed.data === undefined ? { event } : { event, data: parsed.data }) as Event;
  } catch {
    return undefined;
  }
}
