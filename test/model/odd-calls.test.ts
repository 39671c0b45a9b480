/** Tool calls as no model should make them; what comes of them must be told to the model. */
import { describe, expect, test } from "bun:test";
import { resolveModel } from "../../src/model/catalog.ts";
import type { Model } from "../../src/model/model.ts";
import { namesCalls } from "../../src/model/nameless-calls.ts";
import { createModel } from "../../src/model/provider.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { collect, ofType, request, virtualClock } from "./support.ts";

type Scheme = keyof typeof FORMATS;
const SCHEMES = Object.keys(FORMATS) as Scheme[];

const modelAt = async (scheme: Scheme, base_url: string): Promise<Model> =>
  await createModel(resolveModel({ scheme, base_url, model_id: "m", auth: { kind: "none" } }), {
    env: {},
    podName: "p",
    clock: virtualClock(),
  });

/** Every value under `key`, at any depth, in the order of the text. */
function valuesOf(body: unknown, key: string): unknown[] {
  const found: unknown[] = [];
  JSON.stringify(body, (name, value: unknown) => {
    if (name === key) found.push(value);
    return value;
  });
  return found;
}

describe.each(SCHEMES)("%s", (scheme) => {
  test.each(["", " "])("a call with the name %p is one that can be answered", async (name) => {
    await using server = await wireServer(FORMATS[scheme], (_, n) =>
      n === 1
        ? {
            text: "I call.",
            calls: [
              { id: "c1", name: "Read" },
              { id: "c2", name },
            ],
          }
        : { text: "done" },
    );
    const model = await modelAt(scheme, server.url);
    const events = await collect(model);
    const calls = ofType(events, "tool_done");
    expect(calls.map((call) => [call.callId, call.name, call.arguments || "{}"])).toEqual([
      ["c1", "Read", "{}"],
      ["c2", scheme === "openai_chat" ? "unknown" : name, "{}"],
    ]);
    expect(ofType(events, "tool_start").map(({ callId }) => callId)).toEqual(["c1", "c2"]);
    expect(events.at(-1)).toEqual({ type: "finish", reason: "tool_calls" });
    const items = calls.flatMap((call): Item[] => [
      { type: "tool_call", call_id: call.callId, name: call.name, arguments: "{}" },
      { type: "tool_result", call_id: call.callId, summary: "result", is_error: true },
    ]);
    await collect(model, request({ items: [textMessage("user", "hello"), ...items] }));
    const body = JSON.stringify(server.requests[1]?.raw);
    expect(body).toContain("c2");
    expect(body).not.toMatch(/"name":" ?"/);
  });

  test.each(Object.getOwnPropertyNames(Object.prototype))(
    "a call named %s goes back under a name",
    async (name) => {
      await using server = await wireServer(FORMATS[scheme], (_, n) =>
        n === 1 ? { calls: [{ id: "c1", name }] } : { text: "done" },
      );
      const model = await modelAt(scheme, server.url);
      const calls = ofType(await collect(model), "tool_done");
      expect(calls.map((call) => call.name)).toEqual([name]);
      const callId = calls[0]?.callId ?? "";
      const items: Item[] = [
        textMessage("user", "hello"),
        { type: "tool_call", call_id: callId, name, arguments: "{}" },
        { type: "tool_result", call_id: callId, summary: "no such tool", is_error: true },
      ];
      const events = await collect(model, request({ items }));
      expect(ofType(events, "text_done").map(({ text }) => text)).toEqual(["done"]);
      const names = valuesOf(server.requests[1]?.raw, "name");
      expect([...new Set(names)]).toEqual([`${name}_`]);
    },
  );
});

describe("openai_chat", () => {
  const chunk = (delta: object, finish_reason: string | null = null): string =>
    `data: ${JSON.stringify({ id: "x", choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
  const callsOf = async (...deltas: readonly object[]) => {
    await using server = await wireServer(FORMATS.openai_chat, () => ({
      raw: [
        ...deltas.map((delta) => chunk({ tool_calls: [delta] })),
        chunk({}, "tool_calls"),
        "data: [DONE]\n\n",
      ],
    }));
    const events = await collect(await modelAt("openai_chat", server.url));
    return ofType(events, "tool_done").map((call) => [call.callId, call.name, call.arguments]);
  };

  test("a name may come after an empty one, and be followed by empty ones", async () => {
    const named = { name: "Read", arguments: '{"a":' };
    expect(
      await callsOf(
        { index: 0, id: "c1", function: { name: "" } },
        { index: 0, id: "c1", function: named },
        { index: 0, id: "", function: { name: "", arguments: "1}" } },
      ),
    ).toEqual([["c1", "Read", '{"a":1}']]);
    expect(
      await callsOf(
        { id: "c1", function: { ...named, arguments: '{"a":' } },
        { id: "c1", function: { name: "", arguments: "1}" } },
      ),
    ).toEqual([["c1", "Read", '{"a":1}']]);
  });

  test.each([
    ["without name and id", [{ index: 0, function: { name: "", arguments: "{}" } }], "{}"],
    ["without any function", [{ index: 0, id: "c1" }], ""],
    ["known by its id alone", [{ id: "c1", function: { name: "", arguments: "{}" } }], "{}"],
    [
      "in pieces",
      [
        { index: 0, id: "c1", function: { name: "", arguments: '{"a' } },
        { index: 0, function: { name: "", arguments: '":1}' } },
      ],
      '{"a":1}',
    ],
  ] as const)("a call %s is one, too", async (_, deltas, text) => {
    expect(await callsOf(...deltas)).toEqual([[expect.any(String), "unknown", text]]);
  });
});

describe("an answer that is rewritten", () => {
  /** What comes out when the text is cut at every `size` bytes. */
  const through = async (text: string, size: number): Promise<string> => {
    const bytes = Buffer.from(text);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (const piece of pieces) controller.enqueue(piece);
        controller.close();
      },
    });
    return await new Response(body.pipeThrough(namesCalls())).text();
  };

  test("is the same where no name is missing, wherever it is cut", async () => {
    const whole = FORMATS.openai_chat
      .encode({ text: 'é✓ "tool_calls"', calls: [{ name: "Read", input: { a: [1, "é"] } }] })
      .join("");
    const odd = ': comment\n\nevent: x\r\ndata: {oops "tool_calls"\r\n\r\ndata: [DONE]';
    for (const size of [1, 2, 3, 7, 1000]) {
      expect(await through(whole + odd, size)).toBe(whole + odd);
    }
  });
});
