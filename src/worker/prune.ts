/**
 * Leaves the contents of old tool results out of a request (spec worker-and-tools 4.2). Works on the
 * request's copy alone: history and log keep everything. Pure.
 */
import type { Item } from "../protocol/history.ts";
import { itemBytes, TokenEstimate, type UsageMark } from "./token-estimate.ts";

/** When contents go. */
interface PruneLimits {
  /** Newest user messages whose tool results stay whole; 0 protects nothing. */
  readonly protectedTurns: number;
  /** Estimated tokens that must be saved, or nothing is done. */
  readonly minSavings: number;
}

/** The items as they are sent; the same list when nothing is to go. */
export function prune<Known extends Item>(
  items: readonly Known[],
  marks: readonly UsageMark[],
  limits: PruneLimits,
): readonly Known[] {
  const boundary = boundaryOf(items, limits.protectedTurns);
  let saved = 0;
  const shorter = items.map((item, index) => {
    if (index >= boundary || item.type !== "tool_result" || item.content === undefined) return item;
    const { content: _content, ...rest } = item;
    const short = rest as Known; // `content` is optional
    saved += itemBytes(item) - itemBytes(short);
    return short;
  });
  if (saved === 0) return items;
  return new TokenEstimate(items, marks).worth(saved) >= limits.minSavings ? shorter : items;
}

function boundaryOf(items: readonly Item[], protectedTurns: number): number {
  if (protectedTurns === 0) return items.length;
  const starts = items.flatMap((item, index) =>
    item.type === "message" && item.role === "user" ? [index] : [],
  );
  return starts.at(-protectedTurns) ?? 0;
}
