/**
 * The invariant that providers insist on: every tool call is answered by exactly one result before
 * anything else follows (spec worker-and-tools 1.11). Pure functions over item lists; the history
 * keeps the invariant with them, and restored logs that break it are put in order here.
 */
import type { Item, ToolCallItem, ToolResultItem } from "../protocol/history.ts";

/** Where a conversation stands: calls that wait for a result, and whether results have begun. */
export interface PairingState {
  readonly open: readonly ToolCallItem[];
  readonly answering: boolean;
}

/** How a conversation begins, and how it is whenever a request may be sent. */
export const SETTLED: PairingState = { open: [], answering: false };

/** The state after an item, or what is wrong with that item in this place. */
type PairingStep =
  | { readonly ok: true; readonly state: PairingState }
  | { readonly ok: false; readonly fault: "unanswered" | "duplicate" | "stray"; callId: string };

/**
 * Follows a conversation by one item. Faults: `unanswered` (a call is left without result),
 * `duplicate` (a call id that is still open), `stray` (a result without an open call).
 */
export function followPairing(state: PairingState, item: Item): PairingStep {
  const { open, answering } = state;
  const first = open[0];
  if (item.type === "tool_result") {
    const rest = open.filter((call) => call.call_id !== item.call_id);
    if (rest.length === open.length) return { ok: false, fault: "stray", callId: item.call_id };
    return { ok: true, state: { open: rest, answering: rest.length > 0 } };
  }
  if (item.type === "tool_call") {
    if (open.some((call) => call.call_id === item.call_id)) {
      return { ok: false, fault: "duplicate", callId: item.call_id };
    }
    // Results are one message to the vendor: a call after some of them starts a new response.
    if (first !== undefined && answering) {
      return { ok: false, fault: "unanswered", callId: first.call_id };
    }
    return { ok: true, state: { open: [...open, item], answering: false } };
  }
  if (first !== undefined) return { ok: false, fault: "unanswered", callId: first.call_id };
  return { ok: true, state };
}

/** What is wrong with a list of items as a request, in one sentence, or undefined when it is fine. */
export function pairingFault(items: readonly Item[]): string | undefined {
  const end = walk(items);
  if (typeof end === "string") return end;
  const open = end.open[0];
  return open === undefined ? undefined : `tool call ${open.call_id} has no result`;
}

function walk(items: readonly Item[]): PairingState | string {
  let state = SETTLED;
  for (const [index, item] of items.entries()) {
    const step = followPairing(state, item);
    if (!step.ok) return `item ${index}: ${step.fault} tool call ${step.callId}`;
    state = step.state;
  }
  return state;
}

/** A result made up for a call that has none; always an error, so that nobody takes it for success. */
export function closingResult(call: ToolCallItem, summary: string): ToolResultItem {
  return { type: "tool_result", call_id: call.call_id, summary, is_error: true };
}

/**
 * Puts a foreign or damaged list in order: results move directly behind their calls, calls without
 * a result get one with `summary`, results without a call go. Calls at the very end stay open, so
 * that their closing can be logged. A list without faults comes back unchanged.
 */
export function repairPairing<Known extends Item>(
  items: readonly Known[],
  summary: string,
): (Known | ToolResultItem)[] {
  if (typeof walk(items) !== "string") return [...items];
  const results = collectResults(items);
  const repaired: (Known | ToolResultItem)[] = [];
  let calls: { readonly call: ToolCallItem; readonly index: number }[] = [];
  const answer = (atEnd: boolean): void => {
    for (const { call, index } of calls) {
      const result = takeResult(results.get(call.call_id), index);
      if (result !== undefined) repaired.push(result);
      else if (!atEnd) repaired.push(closingResult(call, summary));
    }
    calls = [];
  };
  for (const [index, item] of items.entries()) {
    if (item.type === "tool_result") continue; // placed by `answer`
    const repeats = (entry: { call: ToolCallItem }) =>
      item.type === "tool_call" && entry.call.call_id === item.call_id;
    if (item.type !== "tool_call" || calls.some(repeats)) answer(false);
    repaired.push(item);
    if (item.type === "tool_call") calls.push({ call: item, index });
  }
  answer(true);
  return repaired;
}

type Placed<Result> = { readonly result: Result; readonly index: number };

function collectResults<Known extends Item>(items: readonly Known[]) {
  const results = new Map<string, Placed<Extract<Known, ToolResultItem>>[]>();
  for (const [index, item] of items.entries()) {
    if (!isResult(item)) continue;
    const known = results.get(item.call_id);
    if (known === undefined) results.set(item.call_id, [{ result: item, index }]);
    else known.push({ result: item, index });
  }
  return results;
}

function isResult<Known extends Item>(item: Known): item is Extract<Known, ToolResultItem> {
  return item.type === "tool_result";
}

/** The first unused result behind the call; earlier ones answer nothing and are dropped. */
function takeResult<Result>(queue: Placed<Result>[] | undefined, callIndex: number) {
  for (;;) {
    const next = queue?.shift();
    if (next === undefined || next.index > callIndex) return next?.result;
  }
}
