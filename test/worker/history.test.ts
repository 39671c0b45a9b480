import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { textMessage, type Item } from "../../src/protocol/history.ts";
import { History, LOST_RESULT, type StoredItem } from "../../src/worker/history.ts";
import { pairingFault, repairPairing } from "../../src/worker/pairing.ts";
import { outline } from "./scripted.ts";

const call = (callId: string): Item => ({
  type: "tool_call",
  call_id: callId,
  name: "t",
  arguments: "{}",
});
const result = (callId: string, summary = "ok"): Item => ({
  type: "tool_result",
  call_id: callId,
  summary,
});
const user = (text: string): Item => textMessage("user", text);

describe("ids", () => {
  test("rise and are the session's own, whatever the vendor called the item", () => {
    const history = new History();
    history.append({ type: "reasoning", id: "rs_1", text: "hm" }, user("a"));
    history.append(user("b"));
    expect(history.items.map((item) => item.id)).toEqual(["i000001", "i000002", "i000003"]);
    expect(history.lastId).toBe("i000003");
  });

  test("survive a restore, and new ones come after them", () => {
    const restored = [
      { ...user("a"), id: "i000007" },
      { ...user("b"), id: "i1234567" },
    ];
    const history = new History(() => {}, restored);
    history.append(user("c"));
    expect(history.items.map((item) => item.id)).toEqual(["i000007", "i1234567", "i1234568"]);
  });

  test("are given in order to restored items that have none, or none that rises", () => {
    const restored = [user("a"), { ...user("b"), id: "i000001" }, { ...user("c"), id: "msg_9" }];
    const first = new History(() => {}, restored).items.map((item) => item.id);
    expect(first).toEqual(["i000001", "i000002", "i000003"]);
    expect(new History(() => {}, restored).items.map((item) => item.id)).toEqual(first);
  });

  test("are not used again after a refused append", () => {
    let refuse = true;
    const history = new History(() => {
      if (refuse) throw new Error("disk full");
    });
    expect(() => history.append(user("a"))).toThrow("disk full");
    expect(history.items).toEqual([]);
    refuse = false;
    expect(history.append(user("a"))[0]?.id).toBe("i000002");
  });
});

describe("the listener", () => {
  test("hears of items before they are visible, once per append, and not of restored ones", () => {
    const heard: [number, readonly StoredItem[]][] = [];
    const history: History = new History(
      (items) => heard.push([history.items.length, items]),
      [user("old")],
    );
    history.append(user("a"), user("b"));
    history.append();
    history.closeOpenCalls("nothing open");
    expect(heard.map(([length, items]) => [length, items.length])).toEqual([[1, 2]]);
  });
});

describe("calls and results", () => {
  test("open calls are listed in order and closed in order", () => {
    const history = new History();
    history.append(user("go"), call("a"), call("b"), call("c"), result("b"));
    expect(history.openCalls().map((item) => item.call_id)).toEqual(["a", "c"]);
    expect(() => history.forRequest()).toThrow("tool call a has no result");
    history.closeOpenCalls("[Interrupted by user]");
    expect(outline(history).slice(-2)).toEqual([
      "result a [Interrupted by user] (error)",
      "result c [Interrupted by user] (error)",
    ]);
    expect(history.openCalls()).toEqual([]);
    expect(history.forRequest()).toHaveLength(7);
    expect(history.hasCall("a")).toBe(true);
    expect(history.hasCall("z")).toBe(false);
  });

  test("anything else that follows an open call closes it first, in the same report", () => {
    const reports: number[] = [];
    const history = new History((items) => reports.push(items.length));
    history.append(call("a"));
    history.append(user("next"));
    expect(outline(history)).toEqual([
      "call a t {}",
      `result a ${LOST_RESULT} (error)`,
      "user: next",
    ]);
    expect(reports).toEqual([1, 2]);
  });

  test("a result without a call and a call that is open already are refused", () => {
    const history = new History();
    expect(() => history.append(result("a"))).toThrow("stray tool call a");
    expect(() => history.append(call("a"), call("a"))).toThrow("duplicate tool call a");
    expect(history.items).toEqual([]);
  });

  test("a request is a copy that later items do not reach", () => {
    const history = new History();
    history.append(user("a"));
    const request = history.forRequest();
    history.append(user("b"));
    expect(request).toHaveLength(1);
  });
});

describe("a restored conversation", () => {
  test("that a cancel of the reference broke is put in order (W6)", () => {
    const log = [user("1"), call("a"), call("b"), user("2"), result("b", "late"), user("3")];
    const history = new History(() => {}, log);
    expect(outline(history)).toEqual([
      "user: 1",
      "call a t {}",
      "call b t {}",
      `result a ${LOST_RESULT} (error)`,
      "result b late",
      "user: 2",
      "user: 3",
    ]);
    expect(pairingFault(history.items)).toBeUndefined();
  });

  test("keeps calls at its end open, so that their closing is logged", () => {
    const logged: string[] = [];
    const history = new History(
      (items) => logged.push(...items.map((item) => item.type)),
      [user("1"), call("a"), call("b"), result("a")],
    );
    expect(history.openCalls().map((item) => item.call_id)).toEqual(["b"]);
    history.closeOpenCalls(LOST_RESULT);
    expect(logged).toEqual(["tool_result"]);
  });

  const anyItem = fc.oneof(
    fc.constantFrom("a", "b", "c").map(call),
    fc.constantFrom("a", "b", "c").map((id) => result(id)),
    fc.constant(user("x")),
  );

  test("of any shape becomes one that a vendor takes, and no call or message is lost", () => {
    fc.assert(
      fc.property(fc.array(anyItem, { maxLength: 14 }), (items) => {
        const history = new History(() => {}, items);
        history.closeOpenCalls(LOST_RESULT);
        expect(pairingFault(history.items)).toBeUndefined();
        const kept = (list: readonly Item[]): string[] =>
          list.filter((item) => item.type !== "tool_result").map((item) => item.type);
        expect(kept(history.items)).toEqual(kept(items));
        expect(new Set(history.items.map((item) => item.id)).size).toBe(history.items.length);
      }),
    );
  });

  test("of any shape is repaired once: a second repair changes nothing", () => {
    fc.assert(
      fc.property(fc.array(anyItem, { maxLength: 14 }), (items) => {
        const once = repairPairing(items, LOST_RESULT);
        expect(repairPairing(once, LOST_RESULT)).toEqual(once);
      }),
    );
  });

  test("whatever is appended, a request is ready once open calls are closed", () => {
    fc.assert(
      fc.property(fc.array(anyItem, { maxLength: 14 }), (items) => {
        const history = new History();
        for (const item of items) {
          try {
            history.append(item);
          } catch {
            // stray or duplicate: refused
          }
        }
        history.closeOpenCalls(LOST_RESULT);
        expect(() => history.forRequest()).not.toThrow();
      }),
    );
  });
});
