/**
 * Runs of the turn loop against hosts that fail, break off or speak OpenAI's format: what of an answer
 * is kept and executed. Numbers are those of spec worker-and-tools 7.
 */
import { describe, expect, test } from "bun:test";
import { textMessage } from "../../src/protocol/history.ts";
import { runTurns } from "../../src/worker/loop.ts";
import { type Answer, anthropicServer, encodeBlocks } from "../support/anthropic-server.ts";
import { within } from "../support/temp.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { dataOf, outline, setUp, tool } from "../worker/scripted.ts";
import { modelAt, virtualClock } from "./support.ts";

const DEADLINE_MS = 20_000;
const never = new AbortController().signal;
const run = (deps: Parameters<typeof runTurns>[0]) =>
  within(runTurns(deps, never), DEADLINE_MS, "the run");

test("a 503 with Retry-After: 5 is waited for, and the run finishes (worker 25)", async () => {
  await using server = await anthropicServer((_, n): Answer =>
    n === 1
      ? {
          status: 503,
          headers: { "retry-after": "5" },
          error: { type: "api_error", message: "not now" },
        }
      : { text: "ok" },
  );
  const clock = virtualClock();
  const { stream } = await modelAt(server.url, { clock });
  const { deps, events, history } = setUp(stream);
  expect(await run(deps)).toEqual({ outcome: "finished" });
  expect(clock.slept).toEqual([5000]);
  expect(server.requests).toHaveLength(2);
  expect(outline(history)).toEqual(["user: hi", "assistant: ok"]);
  expect(dataOf(events, "alert").map(({ message }) => message)).toEqual([
    "model request failed (API error (status: 503) [api_error]: not now); attempt 2 of 4 in 5.0 s",
  ]);
});

describe("an answer that breaks off", () => {
  /** Text and a call, each complete; then the connection is gone. */
  const whole = { text: "half", calls: [{ name: "t", input: { n: 1 }, id: "c1" }] };
  const brokenOff = (seen: Promise<void>): Answer => {
    // Without `message_delta` and `message_stop`.
    const raw = encodeBlocks(whole).slice(0, -2);
    return { raw, cutAfter: raw.length, cutWhen: seen };
  };

  test("behind a whole text and a whole call leaks neither into the next (worker 24)", async () => {
    const seen = Promise.withResolvers<void>();
    await using server = await anthropicServer((_, n) =>
      n === 1 ? brokenOff(seen.promise) : { text: "whole" },
    );
    const called = tool("t");
    const { stream } = await modelAt(server.url, { clock: virtualClock() });
    const { deps, events, history } = setUp(stream, [called], {
      emit: (event) => {
        events.push(event);
        if (event.event === "tool_call_done") seen.resolve();
      },
    });
    expect(await run(deps)).toMatchObject({ outcome: "error", code: "provider_error" });
    history.append(textMessage("user", "again"));
    expect(await run(deps)).toEqual({ outcome: "finished" });
    expect(dataOf(events, "text_done").map(({ text }) => text)).toEqual(["half", "whole"]);
    // What was shown whole is kept (W26), in a message of its own.
    expect(outline(history)).toEqual([
      "user: hi",
      "assistant: half",
      "user: again",
      "assistant: whole",
    ]);
    expect(called.calls).toEqual([]);
    expect(JSON.stringify(server.requests[1]?.messages)).not.toContain("tool_use");
  });

  test("is not asked for again (worker 26)", async () => {
    const seen = Promise.withResolvers<void>();
    await using server = await anthropicServer(() => ({
      text: ["par", "tial"],
      cutAfter: 3,
      cutWhen: seen.promise,
    }));
    const clock = virtualClock();
    const { stream } = await modelAt(server.url, { clock });
    const { deps, events, history } = setUp(stream, [], {
      emit: (event) => {
        events.push(event);
        if (event.event === "text_delta") seen.resolve();
      },
    });
    expect(await run(deps)).toMatchObject({
      outcome: "error",
      code: "provider_error",
      message: expect.stringMatching(/^Client error: HTTP error: .*connection was closed/),
    });
    expect(server.requests).toHaveLength(1);
    expect(clock.slept).toEqual([]);
    expect(outline(history)).toEqual(["user: hi"]);
  });

  test("with the host's own error is an error of the run, not its end (worker 27)", async () => {
    const streamError = { type: "overloaded_error", message: "Overloaded" };
    await using server = await anthropicServer(() => ({ text: "partly", streamError }));
    const { stream } = await modelAt(server.url, { clock: virtualClock() });
    const { deps, events } = setUp(stream);
    expect(await run(deps)).toMatchObject({
      outcome: "error",
      code: "provider_error",
      message: expect.stringMatching(/^Client error: .*Overloaded/),
    });
    expect(server.requests).toHaveLength(1);
    expect(dataOf(events, "turn_end")).toEqual([]);
  });
});

test("interleaved calls in OpenAI's format are executed with their own arguments (worker 28)", async () => {
  const calls = [
    { id: "call-a", name: "a", input: { path: "/a", deep: [1, 2] } },
    { id: "call-b", name: "b", input: { path: "/b" } },
  ];
  const format = FORMATS.openai_chat;
  // The halves of the arguments alternate: a, b, a, b.
  const order = format
    .encode({ calls })
    .flatMap((event) => /"index":(\d),"function"/.exec(event)?.[1] ?? []);
  expect(order).toEqual(["0", "1", "0", "1"]);
  await using server = await wireServer(format, (_, n) => (n === 1 ? { calls } : { text: "ok" }));
  const { stream } = await modelAt(server.url, {}, { scheme: "openai_chat" });
  const [a, b] = [tool("a"), tool("b")];
  const { deps, history } = setUp(stream, [a, b]);
  expect(await run(deps)).toEqual({ outcome: "finished" });
  expect([a.calls, b.calls]).toEqual([[calls[0]?.input], [calls[1]?.input]]);
  expect(outline(history).slice(-3)).toEqual([
    "result call-a a done",
    "result call-b b done",
    "assistant: ok",
  ]);
});
