/** Estimates, pruning and cutting of conversations (spec worker-and-tools 1.13, 4.2, 4.4). */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import { compacted, cutFor } from "../../src/worker/compaction-cut.ts";
import { History, type StoredItem } from "../../src/worker/history.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { prune } from "../../src/worker/prune.ts";
import { itemBytes, TokenEstimate } from "../../src/worker/token-estimate.ts";

const user = (text: string): Item => textMessage("user", text);
const said = (text: string): Item => textMessage("assistant", text);
const call = (id: string): Item => ({
  type: "tool_call",
  call_id: id,
  name: "Read",
  arguments: "{}",
});
const result = (id: string, content = "x".repeat(400)): Item => ({
  type: "tool_result",
  call_id: id,
  summary: `read ${id}`,
  content,
});
const stored = (...items: Item[]): readonly StoredItem[] => {
  const history = new History();
  history.append(...items);
  return history.items;
};

test("an estimate is what was measured, and in proportion to sizes between and behind", () => {
  const items = [user("aaaa"), said("bbbb"), user("cccc"), said("dddd")];
  const bytes = (count: number): number =>
    items.slice(0, count).reduce((sum, item) => sum + itemBytes(item), 0);
  expect(new TokenEstimate(items, []).upTo(2)).toBe(Math.floor(bytes(2) / 4));
  const marks = [
    { length: 1, tokens: 100 },
    { length: 3, tokens: 500 },
    { length: 3, tokens: 300 },
  ];
  const estimate = new TokenEstimate(items, marks);
  expect(estimate.upTo(0)).toBe(0);
  expect(estimate.upTo(1)).toBe(100);
  expect(estimate.upTo(3)).toBe(300); // the newest of the same length
  const between = 100 + Math.floor(((bytes(2) - bytes(1)) * 200) / (bytes(3) - bytes(1)));
  expect(estimate.upTo(2)).toBe(between);
  expect(estimate.total).toBe(300 + Math.floor(((bytes(4) - bytes(3)) * 300) / bytes(3)));
  const above = new TokenEstimate(items, [{ length: 4, tokens: 1000 }]);
  expect(above.upTo(1)).toBe(Math.floor((bytes(1) * 1000) / bytes(4)));
});

test("only results before the protected turns lose their content (83)", () => {
  const items = stored(
    user("1"),
    call("a"),
    result("a"),
    said("."),
    user("2"),
    call("b"),
    result("b"),
    said("."),
    user("3"),
    call("c"),
    result("c"),
    said("."),
  );
  const marks = [{ length: items.length, tokens: 10_000 }];
  const pruned = prune(items, marks, { protectedTurns: 2, minSavings: 1 });
  const contents = pruned.flatMap((item) =>
    item.type === "tool_result" ? [item.content !== undefined] : [],
  );
  expect(contents).toEqual([false, true, true]);
  expect(prune(pruned, marks, { protectedTurns: 2, minSavings: 1 })).toBe(pruned);
  const none = prune(items, marks, { protectedTurns: 0, minSavings: 1 });
  expect(none.filter((item) => item.type === "tool_result" && item.content !== undefined)).toEqual(
    [],
  );
});

test("too small savings, or nothing measured yet, leave the request as it is (84)", () => {
  const items = stored(user("1"), call("a"), result("a"), said("."), user("2"));
  expect(prune(items, [], { protectedTurns: 1, minSavings: 1 })).toBe(items);
  const marks = [{ length: items.length, tokens: 100 }];
  expect(prune(items, marks, { protectedTurns: 1, minSavings: 4096 })).toBe(items);
});

test("the cut keeps about the retained tokens (85)", () => {
  const items = stored(user("1"), said("a"), user("2"), said("b"));
  const marks = [
    { length: 2, tokens: 100 },
    { length: 4, tokens: 300 },
  ];
  const cut = cutFor(items, marks, 200);
  expect([cut?.summarised.length, cut?.kept.length]).toEqual([2, 2]);
});

test("below the retained tokens nothing is summarised; retained 0 summarises all (86)", () => {
  const items = stored(user("1"), said("a"), user("2"), said("b"));
  const marks = [{ length: 4, tokens: 300 }];
  expect(cutFor(items, marks, 300)).toBeUndefined();
  expect(cutFor(items, marks, 0)?.kept).toEqual([]);
});

test("no call is cut from its result, no reasoning from what it led to, no user message is lost (93)", () => {
  const turn = fc.array(fc.constantFrom("text", "call", "calls", "thought"), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 6 }), fc.nat(3000), (turns, retained) => {
      let id = 0;
      const items: Item[] = turns.flatMap((steps, number) => [
        user(`question ${number}`),
        ...steps.flatMap((step): Item[] => {
          const names =
            step === "calls" ? [(id += 1), (id += 1)] : step === "text" ? [] : [(id += 1)];
          return [
            ...(step === "thought" ? [{ type: "reasoning" as const, text: "hm" }] : []),
            said("answer"),
            ...names.map((name) => call(String(name))),
            ...names.map((name) => result(String(name))),
          ];
        }),
      ]);
      const history = stored(...items);
      const cut = cutFor(history, [], retained);
      if (cut === undefined) return;
      expect(pairingFault(cut.kept)).toBeUndefined();
      expect(pairingFault(cut.summarised)).toBeUndefined();
      const before = cut.summarised.at(-1);
      expect(before?.type).not.toBe("reasoning");
      const next = compacted(cut, [textMessage("system", "summary")]);
      expect(pairingFault(next)).toBeUndefined();
      expect(next.length).toBeLessThanOrEqual(history.length);
      const ids = next.map((item) => item.id);
      expect(ids).toEqual([...new Set(ids)].sort());
      const last = `question ${turns.length - 1}`;
      expect(next.some((item) => JSON.stringify(item).includes(last))).toBe(true);
    }),
  );
});

test("a history goes on behind a compaction with ids that were never used", () => {
  const history = new History();
  history.append(user("1"), said("a"), user("2"), said("b"));
  const cut = cutFor(history.items, [], 60);
  const next = cut === undefined ? undefined : compacted(cut, [textMessage("system", "s")]);
  if (next === undefined) throw new Error("nothing was cut");
  history.rebase(next);
  expect(history.append(user("3")).map(({ id }) => id)).toEqual(["i000005"]);
  expect(history.forRequest()).toHaveLength(next.length + 1);
});
