/** The tools `SendToPod` and `ReadPodOutput`: talking to Pods in the spawner's list (spec 6.1, 6.2). */
import { z } from "zod/v3";
import { isPodError, messageOf } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import type { Event } from "../protocol/event.ts";
import { itemSchema, messageText } from "../protocol/history.ts";
import { runMethod } from "../protocol/method.ts";
import { numberOf } from "../session/item-id.ts";
import { defineTool, type Tool, ToolError, type ToolOutput } from "../tools/tool.ts";
import { request } from "../transport/client.ts";
import { type ChildRecord, type Children, hasEnded } from "./children.ts";
import type { SpawnContext } from "./context.ts";

/** Limit for one exchange with a Pod. */
const EXCHANGE_TIMEOUT_MS = 5000;

interface Limits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** The record of a Pod the model named, or the refusal of spec 6. */
export function recordNamed(children: Children, name: string): ChildRecord {
  const record = children.get(name);
  if (record === undefined) {
    throw new ToolError("invalid_argument", `no spawned pod named \`${name}\``);
  }
  return record;
}

const nameField = lazily(() => z.string().describe("Name of a Pod you spawned."));

/** Input of `SendToPod`. */
export const sendInputSchema = lazily(() =>
  z.object({
    name: nameField(),
    message: z.string().describe("The next user message for that Pod."),
  }),
);

/** Gives a child its next task. */
export function sendToPodTool(
  context: SpawnContext,
  timeoutMs: number = EXCHANGE_TIMEOUT_MS,
): Tool {
  return defineTool({
    name: "SendToPod",
    description:
      "Sends the next user message to a Pod you spawned. Fails while that Pod is still in a turn: " +
      "wait for its notification, then send again. Does not wait for the answer; you are notified " +
      "when the turn ends, then read it with ReadPodOutput.",
    schema: sendInputSchema,
    execute: async ({ name, message }, { signal }) => {
      const record = recordNamed(context.children, name);
      await send(record, message, { timeoutMs, signal });
      // It may have ended since; that is for the kernel to say and stays so.
      if (record.phase === "idle") record.phase = "running";
      return { summary: `sent message to \`${name}\`` };
    },
  });
}

async function send(record: ChildRecord, message: string, limits: Limits): Promise<void> {
  const fail = (text: string): never => {
    throw new ToolError("execution_failed", text);
  };
  if (hasEnded(record)) fail(`send to \`${record.name}\`: the pod has ended`);
  // The same words again after a doubt are the same message: the Pod runs it once (W62).
  const key = record.unconfirmed?.message === message ? record.unconfirmed.key : undefined;
  const unconfirmed = { message, key: key ?? crypto.randomUUID() };
  record.unconfirmed = unconfirmed;
  try {
    await request(record.socket, runMethod(message, unconfirmed.key), limits);
    record.unconfirmed = undefined;
  } catch (error) {
    const code = isPodError(error) ? error.data.wire : undefined;
    if (code !== undefined) record.unconfirmed = undefined;
    if (code === "already_running") {
      fail(`pod \`${record.name}\` is already running a turn; wait for it to finish and retry`);
    }
    if (code !== undefined)
      fail(`pod \`${record.name}\` rejected the run with ${code}: ${messageOf(error)}`);
    const doubt = isPodError(error, "timed_out") ? " (the message may still be processed)" : "";
    fail(`send to \`${record.name}\`: ${messageOf(error)}${doubt}`);
  }
}

/** Input of `ReadPodOutput`. */
export const readInputSchema = lazily(() => z.object({ name: nameField() }));

/** Hands out what a child has written since the last call, no more at once than a result may hold. */
export function readPodOutputTool(
  context: SpawnContext,
  timeoutMs: number = EXCHANGE_TIMEOUT_MS,
): Tool {
  return defineTool({
    name: "ReadPodOutput",
    overflow: "again",
    description:
      "Returns the text a Pod you spawned has written since you last read from it, and says " +
      "whether it is running, idle or stopped. Long output comes in parts: call again for more.",
    schema: readInputSchema,
    execute: async ({ name }, { signal }) => {
      const record = recordNamed(context.children, name);
      const history = await fetchHistory(record, { timeoutMs, signal });
      if (history === undefined) return { summary: describeUnreachable(record) };
      if (isStranger(record, history)) {
        return { summary: `pod \`${record.name}\` is stopped (unreachable)` };
      }
      return readNewText(record, history, context.maxOutputBytes);
    },
  });
}

type HistoryData = Extract<Event, { event: "history" }>["data"];

async function fetchHistory(record: ChildRecord, limits: Limits): Promise<HistoryData | undefined> {
  if (hasEnded(record)) return undefined;
  try {
    const answer = await request(
      record.socket,
      { method: "get_history" },
      { ...limits, until: (event) => event.event === "history" },
    );
    return answer.event === "history" ? answer.data : undefined;
  } catch (error) {
    if (!isPodError(error) || limits.signal.aborted) throw error;
    return undefined;
  }
}

function describeUnreachable(record: ChildRecord): string {
  const state = hasEnded(record) ? "stopped (unreachable)" : "unresponsive";
  return `pod \`${record.name}\` is ${state}`;
}

/** True when a Pod of the same name but of another run has answered. */
function isStranger(record: ChildRecord, { greeting }: HistoryData): boolean {
  return greeting.instance !== undefined && greeting.instance !== record.instance;
}

/**
 * Takes new assistant text from a history. The position is an item id and a character offset, so a
 * compaction in the child repeats and skips nothing, and it moves only over what is returned (W66).
 */
export function readNewText(
  record: Pick<ChildRecord, "name" | "cursor">,
  history: HistoryData,
  maxBytes: number,
): ToolOutput {
  const texts = assistantTexts(history.items);
  const found = texts.findIndex((entry) => entry.id === record.cursor.item);
  const seen = found >= 0 ? found : firstAfter(texts, record.cursor.item);
  const state = history.status ?? "running";
  const parts: string[] = [];
  let room = maxBytes;
  let { cursor } = record;
  let more = false;
  // An item the cursor stands in is read on from its offset.
  for (const [index, { id, text }] of texts.entries()) {
    const offset = index === found ? cursor.offset : 0;
    if (index < seen || offset >= text.length) continue;
    const separator = parts.length === 0 ? 0 : 2;
    const piece = cutToBytes(text.slice(offset), room - separator);
    if (piece === "") {
      more = true;
      break;
    }
    parts.push(piece);
    room -= Buffer.byteLength(piece) + separator;
    cursor = { item: id, offset: offset + piece.length };
    if (cursor.offset < text.length) {
      more = true;
      break;
    }
  }
  record.cursor = cursor;
  if (parts.length === 0)
    return { summary: `pod \`${record.name}\` ${state}; no new assistant text` };
  const content = parts.join("\n\n");
  const lines = content.replace(/\n$/, "").split("\n").length;
  const rest = more ? "; more follows, call again" : "";
  return {
    summary: `pod \`${record.name}\`: ${lines} new line(s) of assistant text (${state}${rest})`,
    content,
  };
}

/**
 * Where to read on when the item that was read last is gone: ids rise, also through a compaction, so
 * at the first that was given later. Of ids that are not ours nothing is known, and all is read again.
 */
function firstAfter(texts: readonly { readonly id: string }[], last: string | undefined): number {
  const read = last === undefined ? undefined : numberOf(last);
  if (read === undefined) return 0;
  const index = texts.findIndex(({ id }) => (numberOf(id) ?? read + 1) > read);
  return index < 0 ? texts.length : index;
}

function assistantTexts(items: readonly unknown[]): { id: string; text: string }[] {
  return items.flatMap((raw, index) => {
    const parsed = itemSchema().safeParse(raw);
    if (!parsed.success || parsed.data.type !== "message" || parsed.data.role !== "assistant")
      return [];
    const text = messageText(parsed.data);
    return text === "" ? [] : [{ id: parsed.data.id ?? `#${index}`, text }];
  });
}

/** The longest beginning of `text` that fits, cut between characters. */
function cutToBytes(text: string, bytes: number): string {
  if (bytes <= 0) return "";
  if (Buffer.byteLength(text) <= bytes) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
