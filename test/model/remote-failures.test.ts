import { describe, expect, test } from "bun:test";
import type { ModelEvent } from "../../src/model/model.ts";
import { REMOTE_LIMITS } from "../../src/model/transport.ts";
import { anthropicServer } from "../support/anthropic-server.ts";
import { within } from "../support/temp.ts";
import { collect, failureOf, modelAt, ofType, request, SECRET, virtualClock } from "./support.ts";

const QUICK = { ...REMOTE_LIMITS, firstByteMs: 200, idleMs: 200 };
const BUSY = { status: 529, error: { type: "overloaded_error", message: "Overloaded" } } as const;

describe("before the first byte", () => {
  test("a 429 with Retry-After is tried again after that time", async () => {
    await using server = await anthropicServer((_, n) =>
      n === 1
        ? {
            status: 429,
            headers: { "retry-after": "7" },
            error: { type: "rate_limit_error", message: "slow down" },
          }
        : { text: "ok" },
    );
    const clock = virtualClock();
    const events = await collect(await modelAt(server.url, { clock }));
    expect(clock.slept).toEqual([7000]);
    expect(events[0]).toEqual({
      type: "warning",
      message:
        "model request failed (API error (status: 429) [rate_limit_error]: slow down); " +
        "attempt 2 of 4 in 7.0 s",
    });
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("an overloaded vendor is asked four times, each with a warning", async () => {
    await using server = await anthropicServer(() => BUSY);
    const clock = virtualClock(0.5);
    const events = await collect(await modelAt(server.url, { clock }));
    expect(server.requests).toHaveLength(4);
    expect(clock.slept).toEqual([500, 1000, 2000]);
    expect(ofType(events, "warning")).toHaveLength(3);
    expect(failureOf(events)).toBe("API error (status: 529) [overloaded_error]: Overloaded");
  });

  test("an error in place of the first event counts as its status", async () => {
    const error =
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",' +
      '"message":"Overloaded"}}\n\n';
    await using server = await anthropicServer((_, n) => (n < 3 ? { raw: error } : { text: "ok" }));
    const events = await collect(await modelAt(server.url, { clock: virtualClock() }));
    expect(ofType(events, "warning")).toHaveLength(2);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("a cut connection is tried again", async () => {
    await using server = await anthropicServer((_, n) =>
      n === 1 ? { text: "x", cutAfter: 0 } : { text: "ok" },
    );
    const events = await collect(await modelAt(server.url, { clock: virtualClock() }));
    expect(ofType(events, "warning")[0]?.message).toContain("the connection was closed");
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("nobody there is tried again, then told", async () => {
    const server = await anthropicServer(() => ({ text: "x" }));
    await server[Symbol.asyncDispose]();
    const events = await collect(await modelAt(server.url, { clock: virtualClock() }));
    expect(ofType(events, "warning")).toHaveLength(3);
    expect(failureOf(events)).toBe(
      `HTTP error: cannot connect to ${server.url.slice("http://".length)}: connection refused`,
    );
  });

  test("silence ends at the first-byte limit", async () => {
    await using server = await anthropicServer((_, n) =>
      n === 1 ? { text: "x", stallAfter: 0 } : { text: "ok" },
    );
    const model = await modelAt(server.url, { clock: virtualClock(), limits: QUICK });
    const events = await collect(model);
    expect(ofType(events, "warning")[0]?.message).toContain(" within 0.2 s");
    await server.disconnected(1);
  });

  test.each([
    [400, "invalid_request_error"],
    [401, "authentication_error"],
    [404, "not_found_error"],
    [413, "request_too_large"],
  ])("a %d is final", async (status, type) => {
    await using server = await anthropicServer(() => ({
      status,
      error: { type, message: "no" },
    }));
    const events = await collect(await modelAt(server.url, { clock: virtualClock() }));
    expect(server.requests).toHaveLength(1);
    const host = server.url.slice("http://".length);
    const source =
      status === 401 ? ` (${host} got the key from environment variable TEST_KEY)` : "";
    expect(events).toEqual([
      { type: "failed", message: `API error (status: ${status}) [${type}]: no${source}` },
    ]);
  });

  test("a redirect is not followed, so the key stays with its host", async () => {
    await using other = await anthropicServer(() => ({ text: "stolen" }));
    await using server = await anthropicServer(() => ({
      status: 307,
      headers: { location: `${other.url}/v1/messages` },
      body: "",
    }));
    const events = await collect(await modelAt(server.url));
    expect(failureOf(events)).toContain("(status: 307)");
    expect(failureOf(events)).toContain("redirects are not followed");
    expect(other.requests).toEqual([]);
  });

  test("a page instead of a stream is told as one", async () => {
    await using server = await anthropicServer(() => ({
      raw: "<html>welcome</html>",
      contentType: "text/html",
    }));
    expect(failureOf(await collect(await modelAt(server.url)))).toEndWith(
      "got text/html: <html>welcome</html>",
    );
  });

  test("a thinking budget without room for an answer never leaves the house", async () => {
    await using server = await anthropicServer(() => ({ text: "x" }));
    const model = await modelAt(
      server.url,
      {},
      {
        capability: {
          tool_calling: "parallel",
          structured_output: "none",
          reasoning: "both",
          prompt_caching: { kind: "auto" },
        },
      },
    );
    const asked = request({ options: { reasoning: 5000, maxTokens: 4096 } });
    expect(failureOf(await collect(model, asked))).toStartWith("Config error: worker.reasoning");
    expect(server.requests).toEqual([]);
  });
});

describe("in the middle of an answer", () => {
  test("an error event fails the request and is not tried again", async () => {
    await using server = await anthropicServer(() => ({
      text: "partial",
      usage: { input: 11 },
      streamError: { type: "overloaded_error", message: "Overloaded" },
    }));
    expect(await collect(await modelAt(server.url))).toEqual([
      { type: "text_delta", block: "0", text: "partial" },
      { type: "text_done", block: "0", text: "partial" },
      { type: "usage", usage: { input: 11, output: null, cacheRead: 0, cacheWrite: 0 } },
      { type: "failed", message: "API error [overloaded_error]: Overloaded" },
    ]);
    expect(server.requests).toHaveLength(1);
  });

  test("a silent host meets the idle limit", async () => {
    await using server = await anthropicServer(() => ({ text: ["a", "b"], stallAfter: 3 }));
    const events = await collect(await modelAt(server.url, { limits: QUICK }));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["a"]);
    expect(ofType(events, "text_done")).toEqual([]);
    expect(failureOf(events)).toMatch(/^HTTP error: 127\.0\.0\.1:\d+ sent nothing for 0\.2 s$/);
    await server.disconnected(1);
  });

  test("a slow host that keeps sending does not", async () => {
    const text = Array.from({ length: 10 }, (_, i) => `${i} `);
    await using server = await anthropicServer(() => ({ text, eventDelayMs: 40 }));
    const events = await collect(await modelAt(server.url, { limits: QUICK }));
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test.each([
    [3, "text_delta"],
    [5, "tool_start"],
  ] as const)("a connection cut after %d events fails", async (cutAfter, last) => {
    const seen = Promise.withResolvers<void>();
    await using server = await anthropicServer(() => ({
      text: "part",
      calls: [{ name: "Read", input: { file_path: "/a" } }],
      cutAfter,
      cutWhen: seen.promise,
    }));
    const model = await modelAt(server.url, { clock: virtualClock() });
    const events: ModelEvent[] = [];
    for await (const event of model.stream(request(), new AbortController().signal)) {
      events.push(event);
      if (event.type === last) seen.resolve();
    }
    expect(failureOf(events)).toContain("the connection was closed unexpectedly");
    expect(ofType(events, "tool_done")).toEqual([]);
    expect(ofType(events, "text_done")).toHaveLength(cutAfter === 5 ? 1 : 0);
    expect(server.requests).toHaveLength(1);
  });

  test("a body that ends early fails, however politely it ended", async () => {
    const whole =
      '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}';
    const start =
      '{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1,"output_tokens":1}}}';
    await using server = await anthropicServer(() => ({
      raw: [`data: ${start}\n\n`, `data: ${whole}\n\n`],
    }));
    expect(failureOf(await collect(await modelAt(server.url)))).toEndWith(
      "ended the connection before the answer was complete",
    );
  });

  test("data that is not JSON fails with the text that was not", async () => {
    const start =
      '{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1,"output_tokens":1}}}';
    await using server = await anthropicServer(() => ({
      raw: [`data: ${start}\n\n`, "data: {oops\n\n"],
    }));
    const message = failureOf(await collect(await modelAt(server.url)));
    expect(message).toStartWith("JSON parse error: ");
    expect(message).toContain("oops");
  });

  test("more than the size limit fails", async () => {
    const text = Array.from({ length: 50 }, () => "x".repeat(1000));
    await using server = await anthropicServer(() => ({ text }));
    const limits = { ...REMOTE_LIMITS, maxBytes: 20_000 };
    expect(failureOf(await collect(await modelAt(server.url, { limits })))).toEndWith(
      "exceeds 20000 bytes",
    );
  });
});

describe("an abort", () => {
  test("before the answer ends the stream at once and frees the connection", async () => {
    await using server = await anthropicServer(() => ({ text: "x", stallAfter: 0 }));
    const model = await modelAt(server.url);
    const abort = new AbortController();
    const events = collect(model, request(), abort.signal);
    await server.arrived(1);
    abort.abort();
    expect(await within(events, 1000, "end after the abort")).toEqual([]);
    await server.disconnected(1);
  });

  test("in the middle ends the stream at once and frees the connection", async () => {
    await using server = await anthropicServer(() => ({ text: ["a", "b"], stallAfter: 3 }));
    const model = await modelAt(server.url);
    const abort = new AbortController();
    const seen: ModelEvent[] = [];
    const end = (async () => {
      for await (const event of model.stream(request(), abort.signal)) {
        seen.push(event);
        abort.abort();
      }
    })();
    await within(end, 1000, "end after the abort");
    expect(seen).toEqual([{ type: "text_delta", block: "0", text: "a" }]);
    await server.disconnected(1);
  });

  test("while nothing arrives does not wait for the host", async () => {
    await using server = await anthropicServer(() => ({ text: ["a", "b"], stallAfter: 3 }));
    const model = await modelAt(server.url);
    const abort = new AbortController();
    const stream = model.stream(request(), abort.signal)[Symbol.asyncIterator]();
    await stream.next();
    const next = stream.next();
    abort.abort();
    expect(await within(next, 1000, "end after the abort")).toMatchObject({ done: true });
  });

  test("between two attempts ends the wait", async () => {
    await using server = await anthropicServer(() => ({
      ...BUSY,
      headers: { "retry-after": "50" },
    }));
    const model = await modelAt(server.url);
    const abort = new AbortController();
    const stream = model.stream(request(), abort.signal)[Symbol.asyncIterator]();
    expect((await stream.next()).value).toMatchObject({ type: "warning" });
    const next = stream.next();
    abort.abort();
    expect(await within(next, 1000, "end after the abort")).toMatchObject({ done: true });
    expect(server.requests).toHaveLength(1);
  });

  test("before the request sends nothing", async () => {
    await using server = await anthropicServer(() => ({ text: "x" }));
    expect(await collect(await modelAt(server.url), request(), AbortSignal.abort())).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test("a consumer that leaves frees the connection too", async () => {
    await using server = await anthropicServer(() => ({ text: ["a", "b"], stallAfter: 3 }));
    const model = await modelAt(server.url);
    for await (const _ of model.stream(request(), new AbortController().signal)) break;
    await server.disconnected(1);
  });
});

test("the key is in no error and no warning, wherever a host repeats it", async () => {
  const leak = `you sent ${SECRET}`;
  const answers = [
    { ...BUSY, error: { type: "overloaded_error", message: leak } },
    { status: 503, body: `<html>${leak}</html>` },
    { status: 500, error: { type: SECRET, message: "x".repeat(10_000) + leak } },
    { status: 401, error: { type: "authentication_error", message: leak } },
  ];
  const streams = [
    { text: "a", streamError: { type: "api_error", message: leak } },
    { raw: [`data: {"type":"${SECRET}"}\n\n`] },
    { raw: leak, contentType: "text/plain" },
  ];
  await using server = await anthropicServer(
    (_, n) => [...answers, ...streams][n - 1] ?? { text: "end" },
  );
  const model = await modelAt(server.url, { clock: virtualClock() });
  const events: ModelEvent[] = [];
  for (let i = 0; i <= streams.length; i++) events.push(...(await collect(model)));
  expect(server.requests).toHaveLength(answers.length + streams.length);
  const texts = [...ofType(events, "warning"), ...ofType(events, "failed")].map((e) => e.message);
  expect(texts).toHaveLength(3 + 4);
  for (const text of texts) {
    expect(text).not.toContain(SECRET);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2048);
  }
});
