import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ANTHROPIC } from "../../src/model/anthropic.ts";
import { toConversation } from "../../src/model/conversation.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";

const VENDOR = "api.anthropic.com";

function convert(items: readonly Item[], system = "", breakpoints = 0) {
  return toConversation(
    { system, items, tools: [] },
    { vendor: VENDOR, dialect: ANTHROPIC, breakpoints },
  );
}
const call = (call_id: string, args = "{}", name = "Read"): Item => ({
  type: "tool_call",
  call_id,
  name,
  arguments: args,
});
const result = (call_id: string, summary = "ok"): Item => ({
  type: "tool_result",
  call_id,
  summary,
});
const user = (text: string): Item => textMessage("user", text);
const assistant = (text: string): Item => textMessage("assistant", text);
const reasoning = (text: string, provider?: Record<string, unknown>): Item => ({
  type: "reasoning",
  text,
  ...(provider === undefined ? {} : { provider }),
});
const text = (value: string) => ({ type: "text" as const, text: value });

describe("a conversation", () => {
  test("keeps its order and joins the items of one side", () => {
    const items = [
      user("read both"),
      reasoning("thinking", { vendor: VENDOR, anthropic: { signature: "s" } }),
      assistant("I read."),
      call("a", '{"file_path":"/a"}'),
      call("b", '{"file_path":"/b"}'),
      result("a", "one"),
      { type: "tool_result", call_id: "b", summary: "two", content: "body", is_error: true },
      assistant("done"),
      user("thanks"),
    ] satisfies Item[];
    expect(convert(items, "sys").prompt).toEqual([
      { role: "system", content: "sys" },
      { role: "user", content: [text("read both")] },
      {
        role: "assistant",
        content: [
          {
            type: "reasoning",
            text: "thinking",
            providerOptions: { anthropic: { signature: "s" } },
          },
          text("I read."),
          { type: "tool-call", toolCallId: "a", toolName: "Read", input: { file_path: "/a" } },
          { type: "tool-call", toolCallId: "b", toolName: "Read", input: { file_path: "/b" } },
        ],
      },
      {
        role: "tool",
        content: [
          {
            type: "tool-result",
            toolCallId: "a",
            toolName: "Read",
            output: { type: "text", value: "one" },
          },
          {
            type: "tool-result",
            toolCallId: "b",
            toolName: "Read",
            output: { type: "error-text", value: "two\nbody" },
          },
        ],
      },
      { role: "assistant", content: [text("done")] },
      { role: "user", content: [text("thanks")] },
    ]);
  });

  test("turns system items into user text", () => {
    const { prompt } = convert([user("a"), textMessage("system", "[Notification]"), user("b")]);
    expect(prompt).toEqual([
      { role: "user", content: [text("a"), text("[Notification]"), text("b")] },
    ]);
  });

  test("puts tool results before the text that came between", () => {
    const items = [user("x"), call("a"), textMessage("system", "note"), result("a")];
    expect(convert(items).prompt.map((message) => message.role)).toEqual([
      "user",
      "assistant",
      "tool",
      "user",
    ]);
  });

  test("ends with the user even when the history does not", () => {
    for (const items of [[], [user("a"), assistant("partial")]]) {
      expect(convert(items).prompt.at(-1)).toEqual({
        role: "user",
        content: [text("Continue.")],
      });
    }
  });

  test("has no blank text", () => {
    const items = [user(" \n"), assistant(""), call("a"), result("a", "")];
    expect(convert(items).prompt).toEqual([
      { role: "user", content: [text("(empty message)")] },
      {
        role: "assistant",
        content: [{ type: "tool-call", toolCallId: "a", toolName: "Read", input: {} }],
      },
      {
        role: "tool",
        content: [
          {
            type: "tool-result",
            toolCallId: "a",
            toolName: "Read",
            output: { type: "text", value: "(no output)" },
          },
        ],
      },
    ]);
  });

  test("an empty content still adds the line break", () => {
    const items: Item[] = [{ type: "tool_result", call_id: "a", summary: "s", content: "" }];
    expect(JSON.stringify(convert(items).prompt)).toContain('"value":"s\\n"');
  });

  test("cleans ids and names of other vendors alike in call and result", () => {
    const items = [user("x"), call("a:1/é", "{}", "bad name"), result("a:1/é")];
    const sent = JSON.stringify(convert(items).prompt);
    expect(sent.match(/"toolCallId":"a_1__"/g)).toHaveLength(2);
    expect(sent.match(/"toolName":"bad_name"/g)).toHaveLength(2);
  });

  test.each([
    ["", {}],
    ["null", {}],
    ['{"a":{"b":[1]}}', { a: { b: [1] } }],
    ['{"a":"\\ud83d"}', { a: "\ufffd" }],
    ['{"a":', { rawInvalidInput: '{"a":' }],
    ["[1]", { rawInvalidInput: "[1]" }],
  ])("sends argument text %p as an object", (args, input) => {
    expect(JSON.stringify(convert([user("x"), call("a", args)]).prompt)).toContain(
      `"input":${JSON.stringify(input)}`,
    );
  });
});

describe("thinking", () => {
  const sentBack = (item: Item): unknown => {
    const message = convert([user("x"), item, assistant("y"), user("z")]).prompt[1];
    return message?.role === "assistant" ? message.content[0] : undefined;
  };

  test("goes back unchanged to the host that made it", () => {
    const odd = "broken \ud83d text";
    expect(sentBack(reasoning(odd, { vendor: VENDOR, anthropic: { signature: "s" } }))).toEqual({
      type: "reasoning",
      text: odd,
      providerOptions: { anthropic: { signature: "s" } },
    });
    const redacted = { vendor: VENDOR, anthropic: { redactedData: "r" } };
    expect(sentBack(reasoning("", redacted))).toMatchObject({
      providerOptions: { anthropic: { redactedData: "r" } },
    });
  });

  test.each([
    undefined,
    { vendor: "localhost:11434", anthropic: { signature: "s" } },
    { vendor: VENDOR },
    { vendor: VENDOR, anthropic: {} },
    { openai: { encrypted: "e" } },
  ])("of other origin (%p) is dropped", (provider) => {
    expect(sentBack(reasoning("t", provider))).toEqual(text("y"));
  });

  test("alone is no message", () => {
    const own = reasoning("t", { vendor: VENDOR, anthropic: { signature: "s" } });
    expect(convert([user("x"), own]).prompt).toEqual([{ role: "user", content: [text("x")] }]);
  });
});

describe("cache breakpoints", () => {
  const tools = [
    { name: "A", description: "", inputSchema: { type: "object" as const, properties: {} } },
    { name: "B", description: "", inputSchema: { type: "object" as const, properties: {} } },
  ];
  const marked = (items: readonly Item[], breakpoints: number): string[] => {
    const conversation = toConversation(
      { system: "sys", items, tools },
      { vendor: VENDOR, dialect: ANTHROPIC, breakpoints },
    );
    const found: string[] = [];
    const look = (name: string, value: object): void => {
      if ("providerOptions" in value && JSON.stringify(value.providerOptions).includes("cache")) {
        found.push(name);
      }
    };
    for (const tool of conversation.tools) look(`tool ${tool.name}`, tool);
    for (const message of conversation.prompt) {
      look(message.role, message);
      if (typeof message.content === "string") continue;
      for (const part of message.content) {
        look(
          part.type === "text" ? part.text : part.type === "tool-result" ? part.toolCallId : "?",
          part,
        );
      }
    }
    return found;
  };
  const items = [user("one"), assistant("two"), user("three"), call("c"), result("c")];

  test("stand at tools, system, before the newest user message and at the end", () => {
    expect(marked(items, 4)).toEqual(["tool B", "system", "two", "c"]);
  });

  test("prefer a compaction summary to the tools", () => {
    const summary = textMessage("system", "summary");
    expect(marked([summary, ...items], 4)).toEqual(["system", "summary", "two", "c"]);
  });

  test("respect the capability", () => {
    expect(marked(items, 0)).toEqual([]);
    expect(marked(items, 1)).toEqual(["c"]);
    expect(marked(items, 2)).toEqual(["system", "c"]);
    expect(marked(items, 99)).toHaveLength(4);
  });

  test("do not stand on one place twice", () => {
    expect(marked([user("one")], 4)).toEqual(["tool B", "system", "one"]);
  });
});

test("any history becomes a conversation that the API accepts", () => {
  const string = fc.string({ unit: "binary", maxLength: 8 });
  const id = fc.constantFrom("a", "b", "c:1");
  const item: fc.Arbitrary<Item> = fc.oneof(
    fc
      .tuple(fc.constantFrom("user" as const, "assistant" as const, "system" as const), string)
      .map(([role, value]) => textMessage(role, value)),
    fc.tuple(id, string).map(([call_id, args]) => call(call_id, args)),
    fc.tuple(id, string).map(([call_id, summary]) => result(call_id, summary)),
    fc
      .tuple(string, fc.constantFrom(VENDOR, "other"))
      .map(([t, vendor]) => reasoning(t, { vendor, anthropic: { signature: "s" } })),
  );
  fc.assert(
    fc.property(fc.array(item, { maxLength: 12 }), fc.integer({ min: 0, max: 5 }), (items, n) => {
      const { prompt } = convert(items, "sys", n);
      expect(["user", "tool"]).toContain(prompt.at(-1)?.role ?? "");
      let marks = 0;
      let afterText = false;
      for (const message of prompt) {
        marks += JSON.stringify(message).split("cacheControl").length - 1;
        if (message.role === "assistant") {
          afterText = false;
          expect(message.content.some((part) => part.type !== "reasoning")).toBe(true);
        }
        if (message.role === "user") afterText = true;
        // Results after text in one user turn are refused.
        if (message.role === "tool" && afterText) return false;
        if (message.role === "system" || message.role === "tool") continue;
        for (const part of message.content) {
          if (part.type === "text") {
            expect(part.text.trim()).not.toBe("");
            expect(part.text.isWellFormed()).toBe(true);
          }
        }
      }
      return marks <= Math.min(n, 4);
    }),
  );
});
