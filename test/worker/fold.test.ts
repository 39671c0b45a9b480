import { describe, expect, test } from "bun:test";
import type { FinishReason, ModelEvent, Usage } from "../../src/model/model.ts";
import type { Event } from "../../src/protocol/event.ts";
import type { ReasoningItem } from "../../src/protocol/history.ts";
import { MAX_RESPONSE_CHARACTERS, ResponseFold } from "../../src/worker/fold.ts";
import { call, dataOf, finish, names, text, usage } from "./scripted.ts";

function fold(events: readonly ModelEvent[], taken: readonly string[] = []) {
  const emitted: Event[] = [];
  const announced: string[] = [];
  const warnings: string[] = [];
  const response = new ResponseFold({
    emit: (event) => emitted.push(event),
    announced: (name) => announced.push(name),
    warn: (message) => warnings.push(message),
    isCallIdTaken: (id) => taken.includes(id),
  });
  for (const event of events) response.accept(event);
  return { ...response.result(), emitted, announced, warnings };
}

const reasoning = (content: string, more: Partial<ReasoningItem> = {}): ModelEvent => ({
  type: "thinking_done",
  block: "r",
  item: { type: "reasoning", text: content, ...more },
});

const counts = (part: Partial<Usage>): ModelEvent => ({
  type: "usage",
  usage: { input: null, output: null, cacheRead: null, cacheWrite: null, ...part },
});

test("the name of a call is told once, when it begins, whatever becomes of the call", () => {
  const [start] = call("c1", "t");
  if (start === undefined) throw new Error();
  expect(fold([start]).announced).toEqual(["t"]);
  expect(fold([...call("c1", "t"), ...call("c2", "u"), finish()]).announced).toEqual(["t", "u"]);
});

describe("text and reasoning", () => {
  test("text around a call becomes one message before the call (2)", () => {
    const { items } = fold([...text("A"), ...call("c1", "t"), ...text("B", "u"), finish()]);
    expect(items).toEqual([
      { type: "message", role: "assistant", content: [{ type: "text", text: "AB" }] },
      { type: "tool_call", call_id: "c1", name: "t", arguments: "{}" },
    ]);
  });

  test("interleaved blocks stay apart", () => {
    const { items, emitted } = fold([
      { type: "text_delta", block: "a", text: "1" },
      { type: "text_delta", block: "b", text: "2" },
      { type: "text_done", block: "a", text: "1" },
      { type: "text_done", block: "b", text: "2" },
      finish(),
    ]);
    expect(items).toMatchObject([{ content: [{ text: "12" }] }]);
    expect(dataOf(emitted, "text_done")).toEqual([{ text: "1" }, { text: "2" }]);
  });

  test("text without its end is not kept, empty text is shown and not kept", () => {
    const { items, emitted } = fold([
      { type: "text_delta", block: "a", text: "lost" },
      { type: "text_done", block: "b", text: "" },
      finish(),
    ]);
    expect(items).toEqual([]);
    expect(names(emitted)).toEqual(["text_delta", "text_done"]);
  });

  test("reasoning is shown and stored before the message, with what the vendor needs back (W5)", () => {
    const { items, emitted } = fold([
      { type: "thinking_start", block: "r" },
      { type: "thinking_delta", block: "r", text: "hm" },
      reasoning("hm", { provider: { signature: "s" } }),
      ...text("yes"),
      finish(),
    ]);
    expect(items.map((item) => item.type)).toEqual(["reasoning", "message"]);
    expect(items[0]).toEqual({ type: "reasoning", text: "hm", provider: { signature: "s" } });
    expect(names(emitted).slice(0, 3)).toEqual([
      "thinking_start",
      "thinking_delta",
      "thinking_done",
    ]);
  });

  test("reasoning without text, data or anything behind it is not stored", () => {
    expect(fold([reasoning(""), ...text("x"), finish()]).items).toHaveLength(1);
    expect(fold([reasoning("thought"), finish()]).items).toEqual([]);
  });

  test("a cut answer and a refusal are remarks for the parent, an answer that led on is not", () => {
    const remark = (...events: ModelEvent[]) => fold(events).remark;
    expect(remark(...text("long"), finish("length"))).toBe(
      "the answer was cut at the model's token limit",
    );
    expect(remark(finish("refusal"))).toBe("the model refused to answer");
    expect(remark(...text("I"), finish("refusal"))).toContain("content filter");
    expect(remark(...text("done"), finish())).toBeUndefined();
    expect(remark(...text("x"), ...call("c", "t"), finish("length"))).toBeUndefined();
  });

  test("a cut answer and a refusal are explained to the clients", () => {
    expect(fold([...text("long"), finish("length")]).warnings).toEqual([
      "the answer was cut at the model's token limit",
    ]);
    expect(fold([finish("refusal")]).warnings).toEqual(["the model refused to answer"]);
    expect(fold([{ type: "warning", message: "w" }, finish()]).warnings).toEqual(["w"]);
  });
});

describe("tool calls", () => {
  test.each(["", " \n", "null"])("arguments %j mean none, and the tool runs (5)", (args) => {
    const { items, calls, emitted } = fold([...call("c1", "t", args), finish()]);
    expect(items).toMatchObject([{ arguments: "{}" }]);
    expect(calls).toEqual([{ callId: "c1", name: "t", input: {} }]);
    expect(dataOf(emitted, "tool_call_done")).toMatchObject([{ arguments: "{}" }]);
  });

  test.each([
    ["[1]", "t arguments must be a JSON object, not an array; received: [1]"],
    ["42", "t arguments must be a JSON object, not a number; received: 42"],
    ['{"a":', 't arguments are not valid JSON: JSON Parse error: .*; received: {"a":'],
  ])("arguments %j are stored as {} and refused with the reason (5, W12)", (args, reason) => {
    const { items, calls } = fold([...call("c1", "t", args), finish()]);
    expect(items).toMatchObject([{ arguments: "{}" }]);
    const [only] = calls;
    expect(only !== undefined && "refusal" in only ? only.refusal : "").toMatch(
      new RegExp(`^Tool execution failed: Invalid argument: ${reason.replace(/[[{]/g, "\\$&")}$`),
    );
  });

  test("arguments are stored compact, with their keys in the model's order", () => {
    const { items } = fold([...call("c1", "t", '{ "b": 1, "a": [1, 2] }'), finish()]);
    expect(items).toMatchObject([{ arguments: '{"b":1,"a":[1,2]}' }]);
  });

  test("two interleaved calls keep their own arguments (28)", () => {
    const { calls } = fold([
      { type: "tool_start", callId: "a", name: "t" },
      { type: "tool_start", callId: "b", name: "u" },
      { type: "tool_delta", callId: "a", json: '{"x":' },
      { type: "tool_delta", callId: "b", json: '{"y":2}' },
      { type: "tool_done", callId: "a", name: "t", arguments: '{"x":1}' },
      { type: "tool_done", callId: "b", name: "u", arguments: '{"y":2}' },
      finish("tool_calls"),
    ]);
    expect(calls).toEqual([
      { callId: "a", name: "t", input: { x: 1 } },
      { callId: "b", name: "u", input: { y: 2 } },
    ]);
  });

  test("a call id that is used already is replaced in events and items alike (W2)", () => {
    const events = [...call("call", "t"), ...call("call", "t"), ...call("", "t"), finish()];
    const { items, calls, emitted } = fold(events, ["call"]);
    const ids = ["call_2", "call_3", "call_4"];
    expect(calls.map((entry) => entry.callId)).toEqual(ids);
    expect(items.map((item) => item.type === "tool_call" && item.call_id)).toEqual(ids);
    expect(dataOf(emitted, "tool_call_start").map((data) => data.id)).toEqual(ids);
    expect(dataOf(emitted, "tool_call_args_delta").map((data) => data.id)).toEqual(ids);
    expect(dataOf(emitted, "tool_call_done").map((data) => data.id)).toEqual(ids);
  });

  test("a call without a beginning is shown with one", () => {
    const done: ModelEvent = { type: "tool_done", callId: "c", name: "t", arguments: "{}" };
    const { emitted } = fold([{ type: "tool_delta", callId: "c", json: "x" }, done, finish()]);
    expect(names(emitted)).toEqual(["tool_call_start", "tool_call_done"]);
  });

  test("a call without its end is dropped with a warning", () => {
    const { items, calls, warnings } = fold([
      { type: "tool_start", callId: "c", name: "t" },
      finish("tool_calls"),
    ]);
    expect([items, calls]).toEqual([[], []]);
    expect(warnings).toEqual(["tool call `t` was dropped: the model did not finish it"]);
  });

  const refusals = (events: readonly ModelEvent[], reason: FinishReason): boolean[] =>
    fold([...events, finish(reason)]).calls.map(
      (entry) => "refusal" in entry && entry.refusal.includes("arguments were cut"),
    );

  test("a call that the token limit cut is refused, complete ones before it run (W4)", () => {
    const whole = call("c1", "t", '{"a":1}');
    const begun: ModelEvent = { type: "tool_start", callId: "c2", name: "t" };
    expect(refusals([...whole, begun], "length")).toEqual([false, true]);
    expect(refusals([...whole, ...call("c2", "t", '{"a":"b')], "length")).toEqual([false, true]);
    expect(refusals([...whole, ...call("c2", "t", "")], "length")).toEqual([false, true]);
    expect(refusals([...call("c1", "t", ""), ...call("c2", "t")], "length")).toEqual([
      false,
      false,
    ]);
  });
});

describe("the end of a stream", () => {
  test("usage is merged field by field, the newest value wins (20)", () => {
    const events = [
      counts({ input: 10, output: 1 }),
      counts({ output: 5, cacheRead: 3 }),
      finish(),
    ];
    expect(fold(events).usage).toEqual({ input: 10, output: 5, cacheRead: 3, cacheWrite: null });
    expect(fold([finish()]).usage).toBeUndefined();
    const thought = [counts({ reasoning: 7 }), counts({ output: 9 }), finish()];
    expect(fold(thought).usage).toMatchObject({ output: 9, reasoning: 7 });
  });

  test("a call keeps what its vendor signed (W5)", () => {
    const provider = { vendor: "h", google: { thoughtSignature: "s" } };
    const done = { type: "tool_done", name: "t", arguments: "{}" } as const;
    const { items } = fold([
      { ...done, callId: "a", provider },
      { ...done, callId: "b" },
      finish("tool_calls"),
    ]);
    expect(items).toEqual([
      { type: "tool_call", call_id: "a", name: "t", arguments: "{}", provider },
      { type: "tool_call", call_id: "b", name: "t", arguments: "{}" },
    ]);
  });

  test("a failed response keeps complete text only, and its usage (W26)", () => {
    const {
      items,
      calls,
      failure,
      usage: tokens,
    } = fold([
      reasoning("r"),
      ...text("A"),
      ...call("c1", "t"),
      { type: "text_delta", block: "u", text: "B" },
      usage(4, null),
      { type: "failed", message: "reset" },
    ]);
    expect(items).toMatchObject([{ type: "message", content: [{ text: "A" }] }]);
    expect(items).toHaveLength(1);
    expect([calls, failure, tokens?.input]).toEqual([[], "reset", 4]);
  });

  test("a response without an end counts as failed", () => {
    expect(fold([...text("A")]).failure).toBe("the stream ended before the response was complete");
  });

  test("events after the end are ignored", () => {
    const { items, emitted } = fold([finish(), ...text("late")]);
    expect([items, emitted]).toEqual([[], []]);
  });

  test("a response without bound is refused", () => {
    const big = "x".repeat(MAX_RESPONSE_CHARACTERS / 2 + 1);
    const events = [...text(big), ...text(big, "u"), ...text("more", "v"), finish()];
    expect(fold(events).failure).toMatch(/longer than \d+ characters/);
  });
});
