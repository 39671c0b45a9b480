import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fitHistory } from "../../src/controller/history-window.ts";
import { encodeMessage } from "../../src/protocol/event.ts";
import { MAX_LINE_BYTES } from "../../src/transport/jsonl.ts";

const item = (text: string): { text: string } => ({ text });
const bytes = (value: object): number => Buffer.byteLength(JSON.stringify(value)) + 1;

describe("the history that fits into a line", () => {
  test("is all of it while there is room, and nothing is said to be missing", () => {
    const items = [item("a"), item("b")];
    expect(fitHistory(items)).toEqual({ kept: items, omitted: 0 });
    expect(fitHistory([])).toEqual({ kept: [], omitted: 0 });
  });

  test("is the newest items in their order when there is not room for all", () => {
    const items = ["a", "b", "c", "d"].map(item);
    expect(fitHistory(items, 2 * bytes(item("a")))).toEqual({
      kept: [item("c"), item("d")],
      omitted: 2,
    });
    expect(fitHistory(items, 3 * bytes(item("a")) - 1).kept).toHaveLength(2);
  });

  test("has no gap: an item behind one that does not fit is left out too", () => {
    const items = [item("a"), item("x".repeat(1000)), item("b")];
    expect(fitHistory(items, 100)).toEqual({ kept: [item("b")], omitted: 2 });
  });

  test("is empty when even the newest item does not fit", () => {
    expect(fitHistory([item("a"), item("x".repeat(1000))], 100)).toEqual({ kept: [], omitted: 2 });
  });

  test("is measured in bytes, not in characters", () => {
    const wide = item("ü".repeat(100));
    expect(fitHistory([wide], 150).kept).toEqual([]);
    expect(fitHistory([wide], bytes(wide)).kept).toEqual([wide]);
  });

  test("leaves room for the rest of the line, whatever the items are", () => {
    const huge = Array.from({ length: 40 }, () => item("ü\u0001\ud800".repeat(100_000)));
    const { kept, omitted } = fitHistory(huge);
    expect(kept.length + omitted).toBe(huge.length);
    expect(kept.length).toBeGreaterThan(0);
    const line = encodeMessage({ event: "history", data: { items: kept } });
    expect(Buffer.byteLength(line)).toBeLessThan(MAX_LINE_BYTES - 512 * 1024);
  });

  test("is always a tail of the list, within the limit, and the longest one", () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.nat(400), (texts, limit) => {
        const items = texts.map(item);
        const { kept, omitted } = fitHistory(items, limit);
        expect(kept).toEqual(items.slice(omitted));
        const size = kept.reduce((sum, entry) => sum + bytes(entry), 0);
        expect(size).toBeLessThanOrEqual(limit);
        const next = items[omitted - 1];
        if (next !== undefined) expect(size + bytes(next)).toBeGreaterThan(limit);
      }),
    );
  });
});
