/** What every wire format must do alike: what is asked, what is answered, and what of it goes back. */
import { describe, expect, test } from "bun:test";
import type { ModelCapability } from "../../src/model/config.ts";
import type { ModelEvent, RequestOptions } from "../../src/model/model.ts";
import type { Item } from "../../src/protocol/history.ts";
import { textMessage } from "../../src/protocol/history.ts";
import { ResponseFold } from "../../src/worker/fold.ts";
import { conformance, SCHEMES, THINKS, TOOLS } from "./conformance.ts";
import { collect, ofType, request, SECRET } from "./support.ts";

describe.each(SCHEMES)("%s", (scheme) => {
  const { facts, modelAt, serve } = conformance(scheme);

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
