/** What is special about single wire formats; what they share is in conformance*.test.ts. */
import { describe, expect, test } from "bun:test";
import { BUILTIN_CATALOG } from "../../src/model/builtin.ts";
import { type ResolvedRemoteModel, resolveModel } from "../../src/model/catalog.ts";
import type { ModelCapability, ModelConfig, ModelScheme } from "../../src/model/config.ts";
import type { Dialect } from "../../src/model/dialect.ts";
import { GEMINI } from "../../src/model/gemini.ts";
import type { RequestOptions } from "../../src/model/model.ts";
import { OPENAI_CHAT } from "../../src/model/openai-chat.ts";
import { OPENAI_RESPONSES } from "../../src/model/openai-responses.ts";
import { createModel } from "../../src/model/provider.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { collect, failureOf, ofType, request, virtualClock } from "./support.ts";

const DIALECTS = { openai_chat: OPENAI_CHAT, openai_responses: OPENAI_RESPONSES, gemini: GEMINI };

function remote(config: ModelConfig): ResolvedRemoteModel {
  const resolved = resolveModel(config);
  if (resolved.scheme === "script") throw new Error("not remote");
  return resolved;
}
function plan(dialect: Dialect, form: ModelCapability["reasoning"], options: RequestOptions) {
  const capability: ModelCapability = {
    tool_calling: "parallel",
    structured_output: "none",
    reasoning: form,
    prompt_caching: { kind: "auto" },
  };
  const auth = { kind: "none" } as const;
  return dialect.planOptions(
    remote({ scheme: "openai_chat", model_id: "m", auth, capability }),
    options,
  );
}
const modelAt = async (scheme: ModelScheme, base_url: string) =>
  await createModel(resolveModel({ scheme, base_url, model_id: "m", auth: { kind: "none" } }), {
    env: {},
    podName: "p",
    clock: virtualClock(),
  });

describe("the wish for thinking", () => {
  test.each([
    ["openai_chat", "effort", "high", { host: { reasoningEffort: "high" } }],
    ["openai_chat", "effort", "only-they-know", { host: { reasoningEffort: "only-they-know" } }],
    ["openai_chat", "budget_tokens", 20_000, { host: { reasoningEffort: "high" } }],
    ["openai_chat", "effort", 4095, { host: { reasoningEffort: "low" } }],
    [
      "openai_responses",
      "both",
      5000,
      {
        openai: {
          store: false,
          forceReasoning: true,
          reasoningEffort: "medium",
          reasoningSummary: "auto",
        },
      },
    ],
    ["openai_responses", undefined, undefined, { openai: { store: false } }],
    ["openai_responses", "effort", undefined, { openai: { store: false, forceReasoning: true } }],
    ["gemini", "budget_tokens", 6000, google({ thinkingBudget: 6000 })],
    ["gemini", "budget_tokens", -1, google({ thinkingBudget: -1 })],
    ["gemini", "budget_tokens", 0, google({ thinkingBudget: 0 })],
    ["gemini", "budget_tokens", "low", google({ thinkingBudget: 2048 })],
    ["gemini", "budget_tokens", "xhigh", google({ thinkingBudget: 24_576 })],
    ["gemini", "effort", "low", google({ thinkingLevel: "low" })],
    ["gemini", "effort", 20_000, google({ thinkingLevel: "high" })],
    ["gemini", "both", "minimal", google({ thinkingLevel: "minimal" })],
    ["gemini", "both", 100, google({ thinkingBudget: 100 })],
  ] as const)("of %s with capability %p and wish %p", (scheme, form, reasoning, expected) => {
    const options = reasoning === undefined ? {} : { reasoning };
    const { settings, warnings } = plan(DIALECTS[scheme], form, options);
    expect<unknown>(settings.providerOptions).toEqual(expected);
    expect(warnings).toEqual([]);
  });

  test.each([
    ["gemini", "both", -5],
    ["gemini", "effort", "enormous"],
    ["openai_chat", undefined, "high"],
    ["openai_responses", undefined, 2000],
    ["gemini", undefined, 2000],
  ] as const)("of %s with capability %p is dropped with a warning: %p", (scheme, form, wish) => {
    const { settings, warnings } = plan(DIALECTS[scheme], form, { reasoning: wish });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("worker.reasoning");
    expect(JSON.stringify(settings)).not.toContain("enormous");
  });

  test("of the most is told to be less where the format has less", () => {
    const { settings, warnings } = plan(GEMINI, "effort", { reasoning: "xhigh" });
    expect<unknown>(settings.providerOptions).toEqual(google({ thinkingLevel: "high" }));
    expect(warnings).toEqual([
      'worker.reasoning "xhigh" is sent as "high", the most that the format has',
    ]);
  });
});

function google(thinking: object) {
  return { google: { thinkingConfig: { ...thinking, includeThoughts: true } } };
}

describe("a base URL", () => {
  test.each([
    ["openai_chat", "https://api.openai.com", "https://api.openai.com/v1"],
    ["openai_chat", "https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"],
    ["openai_responses", "https://api.openai.com/v1", "https://api.openai.com/v1"],
    ["openai_responses", "http://localhost:1234", "http://localhost:1234/v1"],
    ["openai_responses", "https://gateway.example/me/openai", "https://gateway.example/me/openai"],
    ["gemini", "https://g.example", "https://g.example/v1beta"],
    ["gemini", "https://g.example/v1", "https://g.example/v1"],
  ] as const)("of %s: %s is completed to %s", (scheme, base, url) => {
    expect(DIALECTS[scheme].baseUrl(base)).toBe(url);
  });

  test("of every builtin provider leads to one version segment", () => {
    for (const { id, scheme } of BUILTIN_CATALOG.providers) {
      if (scheme === "anthropic") continue;
      const url = DIALECTS[scheme].baseUrl(remote({ ref: `${id}/m` }).baseUrl);
      expect(url.match(/\/v\d/g)).toHaveLength(1);
    }
  });
});

describe("an answer may hold what is newer than the library", () => {
  const item = { type: "hologram", id: "h" };
  const responses = (type: string, more: object) => ({ type, sequence_number: 9, ...more });
  test.each([
    ["openai_chat", { id: "x", choices: [{ index: 0, delta: { hologram: 1 }, logprobs: 3 }] }],
    ["openai_chat", { id: "x", choices: [], extra: 1 }],
    ["openai_chat", { type: "keepalive" }],
    ["openai_responses", responses("response.mood_change", { mood: "good" })],
    ["openai_responses", responses("response.output_item.added", { output_index: 7, item })],
    ["openai_responses", responses("response.output_item.done", { output_index: 7, item })],
    ["gemini", { candidates: [{ content: { parts: [{ hologram: 1 }], role: "model" } }] }],
    ["gemini", { candidates: [{ index: 0, mood: "good" }], note: 1 }],
  ] as const)("%s: %j", async (scheme, event) => {
    const whole = FORMATS[scheme].encode({ text: ["a", "b"] });
    const name = "type" in event ? `event: ${event.type}\n` : "";
    await using server = await wireServer(FORMATS[scheme], () => ({
      raw: [...whole.slice(0, 2), `${name}data: ${JSON.stringify(event)}\n\n`, ...whole.slice(2)],
    }));
    const events = await collect(await modelAt(scheme, server.url));
    expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["ab"]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "stop" });
  });
});

describe("openai_chat", () => {
  test("names the size limit as the host knows it", async () => {
    await using server = await wireServer(FORMATS.openai_chat, () => ({ text: "x" }));
    const asked = request({ options: { maxTokens: 77 } });
    await collect(await modelAt("openai_chat", server.url), asked);
    expect(server.requests[0]?.raw.max_tokens).toBe(77);
    const bodies: Record<string, unknown>[] = [];
    const resolved = resolveModel({
      scheme: "openai_chat",
      model_id: "m",
      auth: { kind: "api_key", env: "K" },
    });
    const vendor = await createModel(resolved, {
      env: { K: "k" },
      podName: "p",
      fetch: (_, init) => {
        bodies.push(JSON.parse(String(init?.body)) as Record<string, unknown>);
        return Promise.resolve(new Response("no", { status: 400 }));
      },
    });
    await collect(vendor, asked);
    expect(bodies[0]?.max_completion_tokens).toBe(77);
    expect(bodies[0]).not.toHaveProperty("max_tokens");
  });

  test("sees an error that stands beside choices", async () => {
    const chunk = {
      id: "x",
      choices: [{ index: 0, delta: { content: "" }, finish_reason: "error" }],
      error: { code: 502, message: "Provider disconnected" },
    };
    await using server = await wireServer(FORMATS.openai_chat, () => ({
      raw: [`data: ${JSON.stringify(chunk)}\n\n`, "data: [DONE]\n\n"],
    }));
    expect(failureOf(await collect(await modelAt("openai_chat", server.url)))).toBe(
      "API error: Provider disconnected",
    );
  });

  test("takes thinking of this turn back, not that of earlier ones", async () => {
    await using server = await wireServer(FORMATS.openai_chat, (_, n) =>
      n === 1
        ? { thinking: { text: "old thought", signature: "" }, text: "hi" }
        : { thinking: { text: "new thought", signature: "" }, calls: [{ id: "c", name: "Read" }] },
    );
    const model = await modelAt("openai_chat", server.url);
    const thought = async (items: readonly Item[]): Promise<Item[]> =>
      ofType(await collect(model, request({ items })), "thinking_done").map(({ item }) => item);
    const items: Item[] = [
      textMessage("user", "a"),
      ...(await thought([textMessage("user", "a")])),
    ];
    items.push(textMessage("assistant", "hi"), textMessage("user", "b"));
    items.push(...(await thought(items)));
    items.push({ type: "tool_call", call_id: "c", name: "Read", arguments: "{}" });
    items.push({ type: "tool_result", call_id: "c", summary: "ok" });
    await collect(model, request({ items }));
    const sent = JSON.stringify(server.requests[2]?.raw);
    expect(sent).toContain('"reasoning_content":"new thought"');
    expect(sent).not.toContain("old thought");
  });

  test("keeps what a server sends after the end mark of an answer out of the way", async () => {
    const events = FORMATS.openai_chat.encode({ text: "whole" });
    await using server = await wireServer(FORMATS.openai_chat, () => ({
      // Some servers send no usage and no `[DONE]`.
      raw: events.filter((event) => !/\[DONE\]|"usage"/.test(event)),
    }));
    const events_ = await collect(await modelAt("openai_chat", server.url));
    expect(events_.at(-1)).toEqual({ type: "finish", reason: "stop" });
    expect(ofType(events_, "text_done").map(({ text }) => text)).toEqual(["whole"]);
  });

  test("words in an answer are not taken for its end mark", async () => {
    const text = 'I write "finish_reason":"stop" and\ndata: [DONE]\n';
    const events = FORMATS.openai_chat.encode({ text });
    await using server = await wireServer(FORMATS.openai_chat, () => ({ raw: events.slice(0, 2) }));
    expect(failureOf(await collect(await modelAt("openai_chat", server.url)))).toEndWith(
      "ended the connection before the answer was complete",
    );
  });
});

describe("openai_responses", () => {
  test("stores nothing at the vendor and says what it drops", async () => {
    await using server = await wireServer(FORMATS.openai_responses, () => ({ text: "x" }));
    const options = { topK: 5, stopSequences: ["END"] };
    const model = await modelAt("openai_responses", server.url);
    const warnings = ofType(await collect(model, request({ options })), "warning");
    expect(server.requests[0]?.raw.store).toBe(false);
    expect(warnings.map(({ message }) => message)).toEqual([
      "model option topK (unsupported)",
      "model option stopSequences (unsupported)",
    ]);
  });

  test("a failed answer is a failure, with the vendor's words", async () => {
    const response = (status: string, error: unknown) => ({
      response: {
        id: "r",
        object: "response",
        created_at: 1,
        status,
        model: "m",
        output: [],
        error,
      },
    });
    const event = (type: string, fields: object): string =>
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: 0, ...fields })}\n\n`;
    await using server = await wireServer(FORMATS.openai_responses, () => ({
      raw: [
        event("response.created", response("in_progress", null)),
        event(
          "response.failed",
          response("failed", { code: "server_error", message: "The model crashed" }),
        ),
      ],
    }));
    const model = await modelAt("openai_responses", server.url);
    expect(failureOf(await collect(model))).toContain("The model crashed");
  });
});

describe("gemini", () => {
  test("waits as long as the body of a 429 asks", async () => {
    await using server = await wireServer(FORMATS.gemini, (_, n) =>
      n === 1
        ? {
            status: 429,
            body: JSON.stringify({
              error: {
                code: 429,
                message: "Quota exceeded",
                status: "RESOURCE_EXHAUSTED",
                details: [
                  { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "17.5s" },
                ],
              },
            }),
          }
        : { text: "ok" },
    );
    const clock = virtualClock();
    const model = await createModel(
      resolveModel({
        scheme: "gemini",
        base_url: server.url,
        model_id: "m",
        auth: { kind: "none" },
      }),
      { env: {}, podName: "p", clock },
    );
    expect((await collect(model)).at(-1)).toEqual({ type: "finish", reason: "stop" });
    expect(clock.slept).toEqual([17_500]);
  });

  test("a blocked prompt is a refusal", async () => {
    const chunk = { promptFeedback: { blockReason: "SAFETY" }, usageMetadata: {} };
    await using server = await wireServer(FORMATS.gemini, () => ({
      raw: `data: ${JSON.stringify(chunk)}\n\n`,
    }));
    expect((await collect(await modelAt("gemini", server.url))).at(-1)).toEqual({
      type: "finish",
      reason: "refusal",
    });
  });

  test("gives calls without ids ids of their own", async () => {
    const call = { name: "Read", input: {} };
    await using server = await wireServer(FORMATS.gemini, () => ({ calls: [call, call] }));
    const done = ofType(await collect(await modelAt("gemini", server.url)), "tool_done");
    expect(new Set(done.map(({ callId }) => callId)).size).toBe(2);
  });
});

test("an account without money is not asked again", async () => {
  await using server = await wireServer(FORMATS.openai_responses, () => ({
    status: 429,
    body: JSON.stringify({
      error: { message: "Quota", type: "insufficient_quota", code: "insufficient_quota" },
    }),
  }));
  const events = await collect(await modelAt("openai_responses", server.url));
  expect(server.requests).toHaveLength(1);
  expect(failureOf(events)).toBe("API error (status: 429) [insufficient_quota]: Quota");
});
