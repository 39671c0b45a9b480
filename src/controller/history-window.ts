/** The part of a conversation that fits into one line of the protocol: its newest items. */
import { MAX_LINE_BYTES } from "../transport/jsonl.ts";

/** Room for the rest of the line: the greeting with its scope summary, keys, the line end. */
const RESERVED_BYTES = 1024 * 1024;

/** The newest items that fit, and how many older ones were left out. */
interface HistoryWindow<Item> {
  readonly kept: Item[];
  readonly omitted: number;
}

/** Keeps as many of the newest items as `maxBytes` of JSON hold: none when the newest alone is more. */
export function fitHistory<Item extends object>(
  items: readonly Item[],
  maxBytes: number = MAX_LINE_BYTES - RESERVED_BYTES,
): HistoryWindow<Item> {
  let room = maxBytes;
  let first = items.length;
  for (const item of items.toReversed()) {
    room -= Buffer.byteLength(JSON.stringify(item)) + 1;
    if (room < 0) break;
    first -= 1;
  }
  return { kept: items.slice(first), omitted: first };
}
