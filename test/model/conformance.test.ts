/**
 * What every wire format must do alike, against a local server that speaks it. A format that needs
 * another expectation gets a line in `FACTS`, not a test of its own.
 */
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/model/catalog.ts";
import type { ModelCapability, ModelConfig } from "../../src/model/config.ts";
import type { FinishReason, ModelEvent, RequestOptions } from "../../src/model/model.ts";
import type { Item } from "../../src/protocol/history.ts";
import { textMessage } from "../../src/protocol/history.ts";
import { isObject } from "../../src/model/failure.ts";
import { createModel, type ModelDependencies } from "../../src/model/provider.ts";
import { SYSTEM_CLOCK } from "../../src/model/retry.ts";
import { REMOTE_LIMITS } from "../../src/model/transport.ts";
import { ResponseFold } from "../../src/worker/fold.ts";
import { within } from "../support/temp.ts";
import { FORMATS } from "../support/wire-formats.ts";
import {
  type Answer,
  type BlockAnswer,
  type WireRequest,
  type WireServer,
  wireServer,
} from "../support/wire-server.ts";
import { collect, failureOf, ofType, request, SECRET, virtualClock } from "./support.ts";

type Scheme = keyof typeof FORMATS;

/** The vendor's word for why it stopped, and ours. */
type Stop = readonly [string, FinishReason];

interface Facts {
  readonly path: string;
  readonly keyHeader: string;
  readonly key: string;
  /** The tools of a request as the vendor wants them. */
  readonly toolNames: (raw: WireRequest["raw"]) => unknown;
  /** Where the wish for thinking stands in a request. */
  readonly effort: (raw: WireRequest["raw"]) => unknown;
  readonly sizeLimit: (raw: WireRequest["raw"]) => unknown;
  readonly stopReasons: readonly [Stop, Stop];
  /** False where the vendor does not count what it writes to its cache. */
  readonly countsCacheWrites: boolean;
  readonly countsReasoning: boolean;
}

/** The value at a path of a request body; undefined when there is none. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (isObject(inner) ? inner[String(key)] : undefined),
    value,
  );
}
/** The value at a path of each element of a list. */
function each(list: unknown, ...path: readonly string[]): unknown {
  return Array.isArray(list) ? list.map((entry) => at(entry, ...path)) : undefined;
}

const FACTS: Readonly<Record<Scheme, Facts>> = {
  anthropic: {
    path: "/v1/messages",
    keyHeader: "x-api-key",
    key: SECRET,
    toolNames: (raw) => each(raw.tools, "name"),
    effort: (raw) => at(raw, "thinking", "budget_tokens"),
    sizeLimit: (raw) => raw.max_tokens,
    stopReasons: [
      ["max_tokens", "length"],
      ["refusal", "refusal"],
    ],
    countsCacheWrites: true,
    countsReasoning: false,
  },
  openai_chat: {
    path: "/v1/chat/completions",
    keyHeader: "authorization",
    key: `Bearer ${SECRET}`,
    toolNames: (raw) => each(raw.tools, "function", "name"),
    effort: (raw) => raw.reasoning_effort,
    sizeLimit: (raw) => raw.max_tokens,
    stopReasons: [
      ["length", "length"],
      ["content_filter", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
  openai_responses: {
    path: "/v1/responses",
    keyHeader: "authorization",
    key: `Bearer ${SECRET}`,
    toolNames: (raw) => each(raw.tools, "name"),
    effort: (raw) => at(raw, "reasoning", "effort"),
    sizeLimit: (raw) => raw.max_output_tokens,
    stopReasons: [
      ["max_output_tokens", "length"],
      ["content_filter", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
  gemini: {
    path: "/v1beta/models/test-model:streamGenerateContent?alt=sse",
    keyHeader: "x-goog-api-key",
    key: SECRET,
    toolNames: (raw) => each(at(raw, "tools", 0, "functionDeclarations"), "name"),
    effort: (raw) => at(raw, "generationConfig", "thinkingConfig", "thinkingLevel"),
    sizeLimit: (raw) => at(raw, "generationConfig", "maxOutputTokens"),
    stopReasons: [
      ["MAX_TOKENS", "length"],
      ["SAFETY", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
};

const SCHEMES = Object.keys(FACTS) as Scheme[];
const THINKS: ModelCapability = {
  tool_calling: "parallel",
  structured_output: "none",
  reasoning: "both",
  prompt_caching: { kind: "auto" },
};
const TOOLS = ["Read", "Write"].map((name) => ({
  name,
  description: `${name} a file.`,
  inputSchema: { type: "object" as const, properties: { file_path: { type: "string" } } },
}));
/** For hosts that say nothing at all, and for those that fall silent. */
const MUTE = { ...REMOTE_LIMITS, firstByteMs: 250 };
const STALLED = { ...REMOTE_LIMITS, idleMs: 600 };

describe.each(SCHEMES)("%s", (scheme) => {
  const facts = FACTS[scheme];
  const format = FORMATS[scheme];
  const serve = (
    handler: (request: WireRequest, n: number) => Answer | Promise<Answer>,
  ): Promise<WireServer> => wireServer(format, handler);
  const modelAt = async (
    url: string,
    dependencies: Partial<ModelDependencies> = {},
    config: ModelConfig = {},
  ) =>
    await createModel(
      resolveModel({
        scheme,
        base_url: url,
        model_id: "test-model",
        auth: { kind: "api_key", env: "TEST_KEY" },
        capability: THINKS,
        ...config,
      }),
      {
        env: { TEST_KEY: SECRET },
        podName: "tester",
        clock: virtualClock(),
        userAgent: "pod/9.9",
        ...dependencies,
      },
    );
  /** How many events it takes until the one that holds `text` has been sent. */
  const eventsUntil = (answer: BlockAnswer, text: string): number =>
    format.encode(answer).findIndex((event) => event.includes(text)) + 1;

  test("a request carries prompt, tools, options and key to the vendor's path", async () => {
    await using server = await serve(() => ({ text: "hi" }));
    const capability = { ...THINKS, reasoning: undefined };
    const model = await modelAt(server.url, {}, { capability });
    const ambient = {
      OPENAI_API_KEY: "ambient",
      OPENAI_BASE_URL: "http://127.0.0.1:1",
      ANTHROPIC_BASE_URL: "http://127.0.0.1:1",
      GOOGLE_GENERATIVE_AI_API_KEY: "ambient",
    };
    Object.assign(process.env, ambient);
    try {
      const options: RequestOptions = { temperature: 0.3, maxTokens: 4000 };
      const events = await collect(model, request({ tools: TOOLS, options }));
      expect(ofType(events, "failed")).toEqual([]);
    } finally {
      for (const name of Object.keys(ambient)) delete process.env[name];
    }
    const [sent] = server.requests;
    expect(sent?.path).toBe(facts.path);
    expect(sent?.headers[facts.keyHeader]).toBe(facts.key);
    expect(sent?.headers["user-agent"]).toStartWith("pod/9.9 ");
    expect(facts.toolNames(sent?.raw ?? {})).toEqual(["Read", "Write"]);
    expect(facts.sizeLimit(sent?.raw ?? {})).toBe(4000);
    const body = JSON.stringify(sent?.raw);
    expect(body).toContain('"temperature":0.3');
    expect(body).toContain("You are a test.");
    expect(body).toContain("hello");
    expect(body).not.toContain(SECRET);
    expect(sent?.path).not.toContain(SECRET);
  });

  test("a host without keys gets no key header, and a base with its version no second one", async () => {
    await using server = await serve(() => ({ text: "hi" }));
    const version = facts.path.split("/")[1];
    const model = await modelAt(`${server.url}/${version}`, {}, { auth: { kind: "none" } });
    expect(ofType(await collect(model), "finish")).toEqual([{ type: "finish", reason: "stop" }]);
    expect(server.requests[0]?.headers).not.toHaveProperty(facts.keyHeader);
    expect(server.requests[0]?.path).toBe(facts.path);
  });

  test("text streams, comes whole, and ends with usage", async () => {
    await using server = await serve(() => ({
      text: ["Hel", "lo ", "✓"],
      usage: { input: 7, cacheRead: 100, output: 30, reasoning: 20 },
    }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["Hel", "lo ", "✓"]);
    expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["Hello ✓"]);
    expect(ofType(events, "usage").map(({ usage }) => usage)).toEqual([
      {
        input: 107,
        output: 30,
        cacheRead: 100,
        cacheWrite: facts.countsCacheWrites ? 0 : null,
        ...(facts.countsReasoning ? { reasoning: 20 } : {}),
      },
    ]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("parallel tool calls stay apart, and their results go back to the right call", async () => {
    await using server = await serve((_, n) =>
      n > 1
        ? { text: "done" }
        : {
            text: "both",
            calls: [
              { id: "call-a", name: "Read", input: { file_path: "/a", deep: { list: [1, "é"] } } },
              { id: "call-b", name: "Read", input: { file_path: "/b" } },
              { id: "call-c", name: "Write" },
            ],
          },
    );
    const model = await modelAt(server.url);
    const events = await collect(model, request({ tools: TOOLS }));
    const done = ofType(events, "tool_done");
    expect(
      done.map((call) => [call.callId, call.name, JSON.parse(call.arguments || "{}")]),
    ).toEqual([
      ["call-a", "Read", { file_path: "/a", deep: { list: [1, "é"] } }],
      ["call-b", "Read", { file_path: "/b" }],
      ["call-c", "Write", {}],
    ]);
    expect(ofType(events, "tool_start").map(({ callId }) => callId)).toEqual([
      "call-a",
      "call-b",
      "call-c",
    ]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "tool_calls" });
    const results = done.map(({ callId }): Item => ({
      type: "tool_result",
      call_id: callId,
      summary: `result ${callId}`,
    }));
    const items = [textMessage("user", "hello"), ...kept(events), ...results];
    expect(ofType(await collect(model, request({ items, tools: TOOLS })), "failed")).toEqual([]);
    const body = JSON.stringify(server.requests[1]?.raw);
    const places = done.flatMap(({ callId }) => [
      body.indexOf(callId),
      body.indexOf(`result ${callId}`),
    ]);
    expect(places).not.toContain(-1);
    // Every call stands before every result.
    expect(Math.max(...places.filter((_, i) => i % 2 === 0))).toBeLessThan(
      Math.min(...places.filter((_, i) => i % 2 === 1)),
    );
  });

  test("thinking is shown, kept, and goes back to its host alone", async () => {
    await using server = await serve((_, n) =>
      n > 1
        ? { text: "done" }
        : {
            thinking: { text: "let me think", signature: "sealed-thought" },
            calls: [{ id: "call-a", name: "Read", signature: "sealed-call" }],
          },
    );
    const model = await modelAt(server.url);
    const events = await collect(model, request({ tools: TOOLS }));
    const thoughts = ofType(events, "thinking_done").map(({ item }) => item.text);
    expect(thoughts.join("")).toBe("let me think");
    expect(
      ofType(events, "thinking_delta")
        .map(({ text }) => text)
        .join(""),
    ).toBe("let me think");
    // Through the session log and back.
    const items = JSON.parse(
      JSON.stringify([
        textMessage("user", "hello"),
        ...kept(events),
        { type: "tool_result", call_id: "call-a", summary: "ok" },
      ]),
    ) as Item[];
    expect(ofType(await collect(model, request({ items, tools: TOOLS })), "failed")).toEqual([]);
    const body = JSON.stringify(server.requests[1]?.raw);
    if (scheme !== "openai_chat") expect(body).toContain("sealed-thought");
    if (scheme === "gemini" || scheme === "openai_chat") expect(body).toContain("sealed-call");
    expect(body).toMatch(/let me |think/);
    await using elsewhere = await serve(() => ({ text: "hi" }));
    await collect(await modelAt(elsewhere.url), request({ items, tools: TOOLS }));
    const foreign = JSON.stringify(elsewhere.requests[0]?.raw);
    expect(foreign).not.toContain("sealed");
    expect(foreign).not.toContain("let me");
    expect(foreign).toContain("call-a");
  });

  test("the wish for thinking is mapped, in either form", async () => {
    await using server = await serve(() => ({ text: "hi" }));
    const asked = async (reasoning: string | number, form: ModelCapability["reasoning"]) => {
      const capability = { ...THINKS, reasoning: form };
      const events = await collect(
        await modelAt(server.url, {}, { capability }),
        request({ options: { reasoning } }),
      );
      expect(ofType(events, "failed")).toEqual([]);
      return server.requests.at(-1)?.raw ?? {};
    };
    const label = await asked("high", "effort");
    const tokens = await asked(5000, scheme === "anthropic" ? "budget_tokens" : "effort");
    if (scheme === "anthropic") {
      expect(JSON.stringify(label)).toMatch(/"thinking"|"effort"/);
      expect(facts.effort(tokens)).toBe(5000);
    } else {
      expect([facts.effort(label), facts.effort(tokens)]).toEqual(["high", "medium"]);
    }
    const none = await modelAt(server.url, {}, { capability: { ...THINKS, reasoning: undefined } });
    const events = await collect(none, request({ options: { reasoning: "high" } }));
    expect(ofType(events, "warning").map(({ message }) => message)).toEqual([
      "worker.reasoning is ignored: the capability of test-model has no reasoning",
    ]);
  });

  test.each(facts.stopReasons)("stop reason %s is %s", async (stopReason, reason) => {
    await using server = await serve(() => ({ text: "x", stopReason }));
    expect((await collect(await modelAt(server.url))).at(-1)).toEqual({
      type: "finish",
      reason,
    });
  });

  test("an error in the middle fails the request, with the vendor's words, and is not tried again", async () => {
    await using server = await serve(() => ({
      text: "partial",
      streamError: { type: "overloaded_error", message: "The model is overloaded" },
    }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["partial"]);
    expect(failureOf(events)).toBe("API error [overloaded_error]: The model is overloaded");
    expect(ofType(events, "finish")).toEqual([]);
    expect(server.requests).toHaveLength(1);
  });

  test("an error in place of the answer is tried again, as its status would be", async () => {
    await using server = await serve((_, n) =>
      n < 3
        ? { streamError: { type: "overloaded_error", message: "The model is overloaded" } }
        : { text: "ok" },
    );
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "warning").map(({ message }) => message)).toEqual([
      expect.stringContaining("(API error [overloaded_error]: The model is overloaded); attempt 2"),
      expect.stringContaining("attempt 3 of 4"),
    ]);
    expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["ok"]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("a stalled stream meets the idle limit and frees the connection", async () => {
    const answer = { text: ["part-1", "part-2"] };
    await using server = await serve(() => ({
      ...answer,
      stallAfter: eventsUntil(answer, "part-1"),
    }));
    const events = await collect(await modelAt(server.url, { limits: STALLED }));
    expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual(["part-1"]);
    expect(ofType(events, "text_done")).toEqual([]);
    expect(failureOf(events)).toBe(`HTTP error: ${server.host} sent nothing for 0.6 s`);
    expect(server.requests).toHaveLength(1);
    await server.disconnected(1);
  });

  test("a host that never answers is asked again, then given up", async () => {
    await using server = await serve(() => ({ text: "x", stallAfter: 0 }));
    const events = await collect(await modelAt(server.url, { limits: MUTE }));
    expect(ofType(events, "warning")).toHaveLength(3);
    expect(failureOf(events)).toBe(`HTTP error: no answer from ${server.host} within 0.3 s`);
  });

  test("an answer that goes on for ever meets the total limit", async () => {
    const text = Array.from({ length: 400 }, (_, i) => `${i} `);
    await using server = await serve(() => ({ text, eventDelayMs: 20 }));
    const limits = { ...REMOTE_LIMITS, totalMs: 400 };
    const events = await collect(await modelAt(server.url, { limits }));
    expect(failureOf(events)).toBe(
      `HTTP error: the answer of ${server.host} took longer than 0.4 s`,
    );
    expect(server.requests).toHaveLength(1);
  });

  test.each(["7", () => new Date(Date.now() + 7000).toUTCString()])(
    "a 429 with Retry-After %p is tried again after that time",
    async (value) => {
      await using server = await serve((_, n) =>
        n === 1
          ? {
              status: 429,
              headers: { "retry-after": typeof value === "string" ? value : value() },
              error: { type: "rate_limit_error", message: "slow down" },
            }
          : { text: "ok" },
      );
      const clock = virtualClock();
      const events = await collect(await modelAt(server.url, { clock }));
      expect(clock.slept).toHaveLength(1);
      expect(clock.slept[0]).toBeWithin(3000, 7001);
      expect(ofType(events, "warning")[0]?.message).toStartWith(
        "model request failed (API error (status: 429) [rate_limit_error]: slow down); attempt 2",
      );
      expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
    },
  );

  test("a Retry-After beyond the total is not waited for", async () => {
    await using server = await serve(() => ({
      status: 429,
      headers: { "retry-after": "3600" },
      error: { type: "rate_limit_error", message: "come back later" },
    }));
    const clock = virtualClock();
    const events = await collect(await modelAt(server.url, { clock }));
    expect(clock.slept).toEqual([]);
    expect(failureOf(events)).toEndWith("come back later (the host asks to wait 3600 s)");
  });

  test.each([408, 425, 500, 502, 503, 504, 529])("a %d is tried four times", async (status) => {
    await using server = await serve(() => ({
      status,
      error: { type: "busy", message: "not now" },
    }));
    const clock = virtualClock(0.5);
    const events = await collect(await modelAt(server.url, { clock }));
    expect(server.requests).toHaveLength(4);
    expect(clock.slept).toEqual([500, 1000, 2000]);
    expect(failureOf(events)).toBe(`API error (status: ${status}) [busy]: not now`);
  });

  test("a connection cut before the answer is tried again", async () => {
    await using server = await serve((_, n) =>
      n === 1 ? { text: "x", cutAfter: 0 } : { text: "ok" },
    );
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "warning")).toHaveLength(1);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });

  test("a connection cut in the middle fails, and nothing unfinished counts as finished", async () => {
    const seen = Promise.withResolvers<void>();
    const answer = { text: ["part-1", "part-2"], calls: [{ id: "call-a", name: "Read" }] };
    await using server = await serve(() => ({
      ...answer,
      cutAfter: eventsUntil(answer, "part-1"),
      cutWhen: seen.promise,
    }));
    const model = await modelAt(server.url);
    const events: ModelEvent[] = [];
    for await (const event of model.stream(request(), new AbortController().signal)) {
      events.push(event);
      if (event.type === "text_delta") seen.resolve();
    }
    expect(failureOf(events)).toContain("the connection was closed unexpectedly");
    expect(ofType(events, "text_done")).toEqual([]);
    expect(ofType(events, "tool_done")).toEqual([]);
    expect(server.requests).toHaveLength(1);
  });

  test("a body that ends early fails, however politely it ended", async () => {
    const answer = { text: ["part-1", "part-2"], calls: [{ id: "call-a", name: "Read" }] };
    await using server = await serve(() => ({
      raw: format.encode(answer).slice(0, eventsUntil(answer, "part-1")),
    }));
    const events = await collect(await modelAt(server.url));
    expect(failureOf(events)).toBe(
      `HTTP error: ${server.host} ended the connection before the answer was complete`,
    );
    expect(ofType(events, "text_done")).toEqual([]);
    expect(ofType(events, "tool_done")).toEqual([]);
  });

  test("data that is not JSON fails with the text that was not", async () => {
    const events = format.encode({ text: "part-1" }).slice(0, -2);
    await using server = await serve(() => ({ raw: [...events, "data: {oops\n\n"] }));
    const message = failureOf(await collect(await modelAt(server.url)));
    expect(message).toStartWith("JSON parse error: ");
    expect(message).toContain("oops");
  });

  test("an answer of 5 MB arrives whole", async () => {
    const part = "0123456789abcdé".repeat(64);
    const text = Array.from({ length: 5300 }, () => part);
    await using server = await serve(() => ({ text }));
    const events = await collect(await modelAt(server.url));
    const whole = ofType(events, "text_done")[0]?.text ?? "";
    expect(Buffer.byteLength(whole)).toBeGreaterThan(5_000_000);
    expect(whole === text.join("")).toBe(true);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  }, 60_000);

  test("a single event of 5 MB arrives whole", async () => {
    const text = "0123456789abcdé".repeat(64 * 5300);
    await using server = await serve(() => ({ text }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_done")[0]?.text === text).toBe(true);
  }, 60_000);

  test("bytes may be split anywhere, also within a character", async () => {
    await using server = await serve(() => ({
      thinking: { text: "søg", signature: "s" },
      text: ["grüße 🙂 ", "終わり"],
      calls: [{ id: "t", name: "Read", input: { file_path: "/日本" } }],
      byteByByte: true,
    }));
    const events = await collect(await modelAt(server.url), request({ tools: TOOLS }));
    expect(ofType(events, "text_done")[0]?.text).toBe("grüße 🙂 終わり");
    expect(JSON.parse(ofType(events, "tool_done")[0]?.arguments ?? "")).toEqual({
      file_path: "/日本",
    });
    expect(
      ofType(events, "thinking_done")
        .map(({ item }) => item.text)
        .join(""),
    ).toBe("søg");
  });

  test("an abort ends the stream at once, before, during and between answers", async () => {
    const answer = { text: ["part-1", "part-2"] };
    await using server = await serve((_, n) =>
      n === 1
        ? { text: "x", stallAfter: 0 }
        : n === 2
          ? { ...answer, stallAfter: eventsUntil(answer, "part-1") }
          : { status: 529, headers: { "retry-after": "50" } },
    );
    const run = async (until: "arrival" | ModelEvent["type"]): Promise<ModelEvent[]> => {
      const abort = new AbortController();
      const model = await modelAt(server.url, { clock: SYSTEM_CLOCK });
      const arrived = server.requests.length + 1;
      if (until === "arrival") void server.arrived(arrived).then(() => abort.abort());
      const seen: ModelEvent[] = [];
      const end = (async () => {
        for await (const event of model.stream(request(), abort.signal)) {
          seen.push(event);
          if (event.type === until) abort.abort();
        }
      })();
      await within(end, 5000, "end after the abort");
      return seen;
    };
    expect(await run("arrival")).toEqual([]);
    expect((await run("text_delta")).map(({ type }) => type)).toEqual(["text_delta"]);
    expect((await run("warning")).map(({ type }) => type)).toEqual(["warning"]);
    await server.disconnected(2);
  });

  test("a wrong key is told with its source and its host, and never shown", async () => {
    await using server = await serve(() => ({
      status: 401,
      error: { type: "authentication_error", message: `invalid key ${SECRET}` },
    }));
    const message = failureOf(await collect(await modelAt(server.url)));
    expect(message).toBe(
      "API error (status: 401) [authentication_error]: invalid key [key] " +
        `(${server.host} got the key from environment variable TEST_KEY)`,
    );
    expect(server.requests).toHaveLength(1);
  });

  test("a redirect is not followed, so the key stays with its host", async () => {
    await using other = await serve(() => ({ text: "stolen" }));
    await using server = await serve(() => ({
      status: 307,
      headers: { location: `${other.url}${facts.path}` },
      body: "",
    }));
    expect(failureOf(await collect(await modelAt(server.url)))).toContain(
      "redirects are not followed",
    );
    expect(other.requests).toEqual([]);
  });

  test("any history is made into something that can be sent", async () => {
    await using server = await serve(() => ({ text: "ok" }));
    const items: Item[] = [
      textMessage("system", "[Summary] before"),
      { type: "reasoning", text: "foreign", provider: { vendor: "x", openai: { itemId: "rs" } } },
      textMessage("assistant", "said"),
      { type: "tool_call", call_id: "weird id/ü", name: "Read", arguments: "{broken" },
      { type: "tool_result", call_id: "weird id/ü", summary: "", is_error: true },
      textMessage("system", "a notice"),
      textMessage("user", " "),
      textMessage("assistant", "and \ud800 more"),
    ];
    const events = await collect(await modelAt(server.url), request({ items, tools: TOOLS }));
    expect(ofType(events, "failed")).toEqual([]);
    const body = JSON.stringify(server.requests[0]?.raw);
    for (const text of ["[Summary] before", "said", "a notice", "Continue."]) {
      expect(body).toContain(text);
    }
    expect(body).not.toContain("foreign");
  });
});

test("Gemini's answer to a wrong key, a 400, is told as one", async () => {
  await using server = await wireServer(FORMATS.gemini, () => ({
    status: 400,
    body: JSON.stringify({
      error: {
        code: 400,
        message: "API key not valid. Please pass a valid API key.",
        status: "INVALID_ARGUMENT",
        details: [
          { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID" },
        ],
      },
    }),
  }));
  const model = await createModel(
    resolveModel({
      scheme: "gemini",
      base_url: server.url,
      model_id: "m",
      auth: { kind: "api_key", env: "TEST_KEY" },
    }),
    { env: { TEST_KEY: SECRET }, podName: "p" },
  );
  expect(failureOf(await collect(model))).toBe(
    "API error (status: 400) [INVALID_ARGUMENT]: API key not valid. Please pass a valid API key. " +
      `(${server.host} got the key from environment variable TEST_KEY)`,
  );
});

/** The items that the worker would keep of a response. */
function kept(events: readonly ModelEvent[]): readonly Item[] {
  const fold = new ResponseFold({
    emit: () => undefined,
    announced: () => undefined,
    warn: () => undefined,
    isCallIdTaken: () => false,
  });
  for (const event of events) fold.accept(event);
  return fold.result().items;
}
