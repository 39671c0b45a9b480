import { describe, expect, test } from "bun:test";
import { TurnReplay } from "../../src/controller/turn-replay.ts";
import type { Event } from "../../src/protocol/event.ts";

const start: Event = { event: "turn_start", data: { turn: 3 } };
const end: Event = { event: "turn_end", data: { turn: 3, result: "finished" } };
const text = (part: string): Event => ({ event: "text_delta", data: { text: part } });
const args = (id: string, json: string): Event => ({
  event: "tool_call_args_delta",
  data: { id, json },
});

function after(...events: Event[]): readonly Event[] {
  const replay = new TurnReplay();
  for (const event of events) replay.record(event);
  return replay.events();
}

describe("what a late client is told of the running request (W8)", () => {
  test("is its events so far, with deltas joined", () => {
    const call: Event = { event: "tool_call_start", data: { id: "c", name: "Read" } };
    expect(
      after(
        start,
        { event: "thinking_start" },
        { event: "thinking_delta", data: { text: "h" } },
        { event: "thinking_delta", data: { text: "m" } },
        { event: "thinking_done", data: { text: "hm" } },
        text("a"),
        text("b"),
        text("c"),
        call,
        args("c", "{"),
        args("c", "}"),
        args("d", "[]"),
      ),
    ).toEqual([
      start,
      { event: "thinking_start" },
      { event: "thinking_delta", data: { text: "hm" } },
      { event: "thinking_done", data: { text: "hm" } },
      text("abc"),
      call,
      args("c", "{}"),
      args("d", "[]"),
    ]);
  });

  test("goes on after somebody has asked", () => {
    const replay = new TurnReplay();
    for (const event of [start, text("a"), text("b")]) replay.record(event);
    expect(replay.events()).toEqual([start, text("ab")]);
    replay.record(text("c"));
    expect(replay.events()).toEqual([start, text("abc")]);
  });

  test("is only that a turn is on once the answer is in the history, and nothing after the run", () => {
    expect(after(start, text("a"), end)).toEqual([start, end]);
    expect(
      after(start, text("a"), end, {
        event: "run_end",
        data: { result: "finished", outcome: "finished" },
      }),
    ).toEqual([]);
    expect(after(text("stray"))).toEqual([]);
  });

  test("of a paused pod is that it is paused", () => {
    const paused: Event = { event: "run_end", data: { result: "paused", outcome: "paused" } };
    expect(after(start, text("a"), paused)).toEqual([paused]);
    expect(after(paused, { event: "user_message", data: { segments: [] } })).toEqual([]);
  });

  test("leaves out what others told besides: usage, alerts, results", () => {
    const alert: Event = {
      event: "alert",
      data: { level: "warn", source: "pod", message: "m", timestamp_ms: 1 },
    };
    expect(after(start, alert, text("a"))).toEqual([start, text("a")]);
  });

  test("is bounded", () => {
    const replay = new TurnReplay();
    replay.record(start);
    for (let n = 0; n < 100; n += 1) replay.record(text("x".repeat(100_000)));
    const size = JSON.stringify(replay.events()).length;
    expect(size).toBeGreaterThan(3_000_000);
    expect(size).toBeLessThan(4_300_000);
  });
});
