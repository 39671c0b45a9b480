/**
 * Texts of a compaction: what the summariser is asked, and the marks by which the result is known
 * again (spec worker-and-tools 4.5, 4.6; protocol 5). Other programs look for the marks.
 */
import { messageText, type Item } from "../protocol/history.ts";

const INSTRUCTION =
  "Summarise the conversation below for the agent that had it. It will see your summary in its place.";
const CLOSING = "Now mark the files that are needed and call write_summary with the summary.";

/** Said when the first pass ended without a summary or without a marked file. */
export const NUDGE = {
  summary: "There is no summary yet. Call write_summary with it now.",
  marks:
    "No file is marked. If the work needs one of the referenced files word for word, mark it with " +
    "mark_read_required; otherwise answer that none is needed.",
} as const;

/** The input of the summariser. `recent` are files that were read or written lately. */
export function summariserInput(items: readonly Item[], recent: readonly string[]): string {
  const files =
    recent.length === 0
      ? []
      : [`## Referenced files\n\n${recent.map((path) => `- ${path}`).join("\n")}`];
  const lines = items.map(describeItem).filter((line) => line !== undefined);
  return [INSTRUCTION, ...files, "## Conversation", ...lines, CLOSING].join("\n\n");
}

function describeItem(item: Item): string | undefined {
  switch (item.type) {
    case "message": {
      const who = { user: "User", assistant: "Assistant", system: "System" }[item.role];
      return `[${who}] ${messageText(item)}`;
    }
    case "tool_call":
      return `[ToolCall] ${item.name}`;
    case "tool_result":
      return `[ToolResult] ${item.summary}`;
    case "reasoning":
      return undefined;
  }
}

/** The message that stands for what was summarised. */
export function summaryText(summary: string): string {
  return `[Compacted context summary]\n\n${summary}`;
}

/** A file shown again. `offset` and `limit` as they were marked. */
export function autoReadText(
  path: string,
  range: { readonly offset: number | undefined; readonly limit: number | undefined },
  text: string,
): string {
  const { offset, limit } = range;
  const from = (offset ?? 0) + 1;
  const part =
    offset === undefined && limit === undefined
      ? ""
      : `:${from}-${limit === undefined ? "" : (offset ?? 0) + limit}`;
  return `[Auto-read file: ${path}${part}]\n${text}`;
}

/** Files named without their contents. */
export function referencesText(paths: readonly string[]): string {
  return [
    "[Referenced files — read before compaction, contents not included]",
    ...paths.map((path) => `- ${path}`),
    "Use Read to see one of them.",
  ].join("\n");
}
