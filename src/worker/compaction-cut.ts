/**
 * Where a conversation is cut for a compaction, and what it becomes. A response stays whole, from its
 * reasoning to the results of its calls, because vendors refuse parts of one; the newest user message
 * is always kept (spec worker-and-tools 4.4, W19). Pure.
 */
import {
  isUserMessage,
  type Item,
  type MessageItem,
  messageText,
  textMessage,
} from "../protocol/history.ts";
import type { StoredItem } from "./history.ts";
import { TokenEstimate, type UsageMark } from "./token-estimate.ts";

/** What is summarised and what is kept word for word. */
export interface CompactionCut {
  readonly summarised: readonly StoredItem[];
  readonly kept: readonly StoredItem[];
  /** The newest user message, when it stands among the summarised. */
  readonly asked: StoredItem | undefined;
}

/** The cut that keeps about `retainedTokens` of the newest items; undefined when nothing would go. */
export function cutFor(
  items: readonly StoredItem[],
  marks: readonly UsageMark[],
  retainedTokens: number,
): CompactionCut | undefined {
  const estimate = new TokenEstimate(items, marks);
  const surplus = estimate.total - retainedTokens;
  if (surplus <= 0) return undefined;
  let cut = 0;
  while (cut < items.length && estimate.upTo(cut) < surplus) cut += 1;
  while (cut > 0 && !isBoundary(items, cut)) cut -= 1;
  if (cut === 0) return undefined;
  const newest = items.findLastIndex(isUserMessage);
  const asked = newest >= 0 && newest < cut ? items[newest] : undefined;
  // To summarise only what is kept all the same gains nothing.
  if (cut === 1 && asked !== undefined) return undefined;
  return { summarised: items.slice(0, cut), kept: items.slice(cut), asked };
}

/** True when the items before `index` are whole responses and what follows begins something new. */
function isBoundary(items: readonly Item[], index: number): boolean {
  const before = items[index - 1];
  const after = items[index];
  if (after === undefined) return before === undefined || before.type !== "tool_call";
  if (after.type === "tool_result") return false;
  return before === undefined || !isOfModel(before) || !isOfModel(after);
}

function isOfModel(item: Item): boolean {
  if (item.type === "message") return item.role === "assistant";
  return item.type !== "tool_result";
}

/**
 * The new conversation: `opening` (summary and what belongs to it), the newest user message if it was
 * summarised, and what is kept. New items get ids of items that are gone, so that ids rise and readers
 * who were further on miss nothing; with too few of those the opening becomes one message.
 */
export function compacted(cut: CompactionCut, opening: readonly MessageItem[]): StoredItem[] {
  const room = cut.summarised.length - (cut.asked === undefined ? 0 : 1);
  const first =
    opening.length <= room
      ? opening
      : [textMessage("system", opening.map(messageText).join("\n\n"))];
  const added = cut.asked === undefined ? first : [...first, cut.asked];
  const free = cut.summarised.map(({ id }) => id).slice(-added.length);
  const renamed = added.flatMap((item, index): StoredItem[] => {
    const id = free[index];
    return id === undefined ? [] : [{ ...item, id }];
  });
  return [...renamed, ...cut.kept];
}
