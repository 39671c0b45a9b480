import { describe, expect, test } from "bun:test";
import { versionedBaseUrl } from "../../src/model/anthropic.ts";
import type { Item } from "../../src/protocol/history.ts";
import { textMessage } from "../../src/protocol/history.ts";
import { anthropicServer, sse } from "../support/anthropic-server.ts";
import { collect, modelAt, ofType, request, SECRET } from "./support.ts";

const TOOL = {
  name: "Read",
  description: "Reads a file.",
  inputSchema: { type: "object" as const, properties: { file_path: { type: "string" } } },
};

describe("a request", () => {
  test("carries model, prompt, tools, key and nothing of the environment", async () => {
    await using server = await anthropicServer(() => ({ text: "hi" }));
    const model = await modelAt(server.url, { userAgent: "pod/9.9" });
    process.env.ANTHROPIC_API_KEY = "ambient-key";
    process.env.ANTHROPIC_BASE_URL = "http://127.0.0.1:1/ambient";
    try {
      await collect(model, request({ tools: [TOOL], options: { temperature: 0.3 } }));
    } finally {
      delete process.env.ANTHROPIC_API_KEY;
      delete process.env.ANTHROPIC_BASE_URL;
    }
    const [sent] = server.requests;
    expect(sent?.path).toBe("/v1/messages");
    expect(sent?.model).toBe("test-model");
    expect(sent?.system).toBe("You are a test.");
    expect(sent?.messages).toEqual([{ role: "user", content: [{ type: "text", text: "hello" }] }]);
    expect(sent?.tools).toEqual([
      { name: "Read", description: "Reads a file.", input_schema: TOOL.inputSchema },
    ]);
    expect(sent?.raw).toMatchObject({ stream: true, max_tokens: 32_000, temperature: 0.3 });
    expect(sent?.headers["x-api-key"]).toBe(SECRET);
    expect(sent?.headers["anthropic-version"]).toBe("2023-06-01");
    expect(sent?.headers["user-agent"]).toStartWith("pod/9.9 ");
    expect(sent?.headers["anthropic-beta"]).toBeUndefined();
  });

  test("without auth has no key header", async () => {
    await using server = await anthropicServer(() => ({ text: "hi" }));
    const model = await modelAt(server.url, {}, { auth: { kind: "none" } });
    expect(ofType(await collect(model), "finish")).toEqual([{ type: "finish", reason: "stop" }]);
    expect(server.requests[0]?.headers).not.toHaveProperty("x-api-key");
  });

  test("reuses the connection of the one before", async () => {
    await using server = await anthropicServer(() => ({ text: "hi" }));
    const model = await modelAt(server.url);
    for (let i = 0; i < 3; i++) await collect(model);
    expect(server.requests.map(({ connection }) => connection)).toEqual([1, 1, 1]);
  });

  test("carries cache breakpoints when the capability has them", async () => {
    await using server = await anthropicServer(() => ({ text: "hi" }));
    const model = await modelAt(
      server.url,
      {},
      {
        capability: {
          tool_calling: "parallel",
          structured_output: "none",
          prompt_caching: { kind: "explicit", max_breakpoints: 4 },
        },
      },
    );
    const items = ["a", "b", "c"].map((text, i) =>
      textMessage(i === 1 ? "assistant" : "user", text),
    );
    await collect(model, request({ items, tools: [TOOL] }));
    const places = JSON.stringify(server.requests[0]?.raw).split('"cache_control"').length - 1;
    expect(places).toBe(4);
    expect(server.requests[0]?.raw).not.toHaveProperty(["tools", "0", "eager_input_streaming"]);
  });

  test.each([
    ["http://h", "http://h/v1"],
    ["http://h/api", "http://h/api/v1"],
    ["http://h/api/v1", "http://h/api/v1"],
    ["http://h/v1beta", "http://h/v1beta"],
    ["http://h/v1/anthropic", "http://h/v1/anthropic/v1"],
  ])("to base %s goes to %s", (base, url) => {
    expect(versionedBaseUrl(base)).toBe(url);
  });
});

describe("an answer", () => {
  test("streams text, then says it whole, then usage, then the end", async () => {
    await using server = await anthropicServer(() => ({
      text: ["Hel", "lo ", "✓"],
      usage: { input: 7, cacheRead: 100, cacheWrite: 20, output: 3 },
    }));
    expect(await collect(await modelAt(server.url))).toEqual([
      { type: "text_delta", block: "0", text: "Hel" },
      { type: "text_delta", block: "0", text: "lo " },
      { type: "text_delta", block: "0", text: "✓" },
      { type: "text_done", block: "0", text: "Hello ✓" },
      { type: "usage", usage: { input: 127, output: 3, cacheRead: 100, cacheWrite: 20 } },
      { type: "finish", reason: "stop" },
    ]);
  });

  test("keeps parallel tool calls apart and their argument text as it is", async () => {
    const odd = '{ "b": 1.0,\n "a": "\\u00e9" }';
    await using server = await anthropicServer(() => ({
      text: "both",
      calls: [
        { id: "t1", name: "Read", json: odd },
        { id: "t2", name: "Read", json: "" },
        { id: "t3", name: "Bash", json: '{"command": "ec' },
      ],
    }));
    const events = await collect(await modelAt(server.url), request({ tools: [TOOL] }));
    expect(ofType(events, "tool_start").map(({ callId }) => callId)).toEqual(["t1", "t2", "t3"]);
    expect(ofType(events, "tool_done")).toEqual([
      { type: "tool_done", callId: "t1", name: "Read", arguments: odd },
      { type: "tool_done", callId: "t2", name: "Read", arguments: "" },
      { type: "tool_done", callId: "t3", name: "Bash", arguments: '{"command": "ec' },
    ]);
    const deltas = ofType(events, "tool_delta").filter(({ callId }) => callId === "t1");
    expect(deltas.map(({ json }) => json).join("")).toBe(odd);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "tool_calls" });
  });

  test("has thinking that goes back in the next request", async () => {
    await using server = await anthropicServer(() => ({
      redacted: "blob",
      thinking: { text: "hmm", signature: "sig" },
      calls: [{ id: "t1", name: "Read" }],
    }));
    const model = await modelAt(server.url);
    const events = await collect(model);
    const thoughts = ofType(events, "thinking_done").map(({ item }) => item);
    expect(ofType(events, "thinking_start")).toHaveLength(2);
    expect(thoughts.map(({ text }) => text)).toEqual(["", "hmm"]);
    // Through the session log and back.
    const stored = JSON.parse(JSON.stringify(thoughts)) as Item[];
    const items: Item[] = [
      textMessage("user", "hello"),
      ...stored,
      { type: "tool_call", call_id: "t1", name: "Read", arguments: "{}" },
      { type: "tool_result", call_id: "t1", summary: "no", is_error: true },
    ];
    await collect(model, request({ items }));
    expect(server.requests[1]?.messages.slice(1)).toEqual([
      {
        role: "assistant",
        content: [
          { type: "redacted_thinking", data: "blob" },
          { type: "thinking", thinking: "hmm", signature: "sig" },
          { type: "tool_use", id: "t1", name: "Read", input: {} },
        ],
      },
      {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: "t1", content: "no", is_error: true }],
      },
    ]);
    const elsewhere = await anthropicServer(() => ({ text: "hi" }));
    await using _ = elsewhere;
    await collect(await modelAt(elsewhere.url), request({ items }));
    expect(JSON.stringify(elsewhere.requests[0]?.messages)).not.toContain("thinking");
  });

  test.each([
    ["max_tokens", "length"],
    ["refusal", "refusal"],
    ["stop_sequence", "stop"],
    ["something_new", "other"],
  ] as const)("with stop reason %s finishes as %s", async (stopReason, reason) => {
    await using server = await anthropicServer(() => ({ text: "x", stopReason }));
    expect((await collect(await modelAt(server.url))).at(-1)).toEqual({ type: "finish", reason });
  });

  test("of two megabytes arrives whole", async () => {
    const part = "0123456789abcdé".repeat(64);
    const text = Array.from({ length: 2100 }, () => part);
    await using server = await anthropicServer(() => ({ text }));
    const events = await collect(await modelAt(server.url));
    const whole = ofType(events, "text_done")[0]?.text ?? "";
    expect(whole.length).toBeGreaterThan(2_000_000);
    expect(whole === text.join("")).toBe(true);
    expect(
      ofType(events, "text_delta")
        .map((event) => event.text)
        .join("") === whole,
    ).toBe(true);
  });

  test("survives any split of its bytes", async () => {
    await using server = await anthropicServer(() => ({
      text: ["grüße 🙂 ", "終わり"],
      calls: [{ id: "t", name: "Read", input: { file_path: "/日本" } }],
      byteByByte: true,
    }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "text_done")[0]?.text).toBe("grüße 🙂 終わり");
    expect(ofType(events, "tool_done")[0]?.arguments).toBe('{"file_path":"/日本"}');
  });

  test("may hold events, blocks and deltas that are newer than the library", async () => {
    const start = {
      type: "message_start",
      message: { id: "m", usage: { input_tokens: 1, output_tokens: 1 } },
    };
    await using server = await anthropicServer(() => ({
      raw: [
        sse(start),
        sse({ type: "ping" }),
        sse({ type: "mood_change", mood: "good" }),
        sse({ type: "mood_change", mood: "better" }),
        sse({ type: "content_block_start", index: 0, content_block: { type: "hologram" } }),
        sse({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "3D" } }),
        sse({ type: "content_block_stop", index: 0 }),
        sse({ type: "content_block_start", index: 1, content_block: { type: "text", text: "" } }),
        sse({ type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "ok" } }),
        sse({ type: "content_block_delta", index: 1, delta: { type: "smell_delta", smell: 1 } }),
        // Not stopped: the end of the answer closes it.
        sse({
          type: "message_delta",
          delta: { stop_reason: "end_turn" },
          usage: { output_tokens: 2 },
        }),
        sse({ type: "message_stop" }),
      ],
    }));
    const events = await collect(await modelAt(server.url));
    expect(ofType(events, "warning").map(({ message }) => message)).toEqual([
      'ignored an unknown event "mood_change" in the answer',
      'ignored an unknown block "hologram" in the answer',
      'ignored an unknown delta "smell_delta" in the answer',
    ]);
    expect(events.filter(({ type }) => type !== "warning")).toEqual([
      { type: "text_delta", block: "1", text: "ok" },
      { type: "text_done", block: "1", text: "ok" },
      { type: "usage", usage: { input: 1, output: 2, cacheRead: 0, cacheWrite: 0 } },
      { type: "finish", reason: "stop" },
    ]);
  });
});

test("remarks about options are made once by a model", async () => {
  await using server = await anthropicServer(() => ({ text: "hi" }));
  const model = await modelAt(server.url, {}, { model_id: "claude-sonnet-4-5" });
  const asked = request({ options: { temperature: 3, reasoning: "high" } });
  const first = ofType(await collect(model, asked), "warning").map(({ message }) => message);
  expect(first).toEqual([
    "worker.reasoning is ignored: the capability of claude-sonnet-4-5 has no reasoning",
    "model option temperature (unsupported): 3 exceeds anthropic maximum of 1.0. clamped to 1.0",
  ]);
  expect(ofType(await collect(model, asked), "warning")).toEqual([]);
});
