import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { resolveModel } from "../../src/model/catalog.ts";
import type { Model, ModelEvent } from "../../src/model/model.ts";
import { createModel, type ModelDependencies } from "../../src/model/provider.ts";
import { newestInput } from "../../src/model/script.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import { temp, within } from "../support/temp.ts";
import { collect, failureOf, ofType, request, virtualClock } from "./support.ts";

async function scripted(
  directory: { join(name: string): string },
  rules: readonly object[],
  dependencies: Partial<ModelDependencies> = {},
): Promise<Model> {
  const script = directory.join("scenario.json");
  writeFileSync(script, JSON.stringify({ rules }));
  return await createModel(resolveModel({ scheme: "script", script }), {
    env: {},
    podName: "lead",
    ...dependencies,
  });
}
const say = (text: string) => request({ items: [textMessage("user", text)] });
const said = (events: readonly ModelEvent[]) => ofType(events, "text_done").map((e) => e.text);

test("a rule streams words, calls tools and reports usage", async () => {
  await using dir = temp();
  const model = await scripted(dir, [
    {
      match: "copy (\\S+) to (?<to>\\S+)",
      text: "I copy  $1.\nNow.",
      calls: [
        { tool: "Read", input: { file_path: "{scenario_dir}/$1", lines: [1, "$<to>"] } },
        { tool: "ListPods" },
      ],
      usage: { input: 5, cache_read: 2 },
    },
  ]);
  expect(model.provider).toBe("script");
  expect(model.modelId).toBe("scenario");
  const events = await collect(model, say("please copy a.txt to b.txt"));
  expect(ofType(events, "text_delta").map(({ text }) => text)).toEqual([
    "I ",
    "copy  ",
    "a.txt.\n",
    "Now.",
  ]);
  expect(said(events)).toEqual(["I copy  a.txt.\nNow."]);
  const calls = ofType(events, "tool_done");
  expect(calls.map(({ name, arguments: text }) => [name, text])).toEqual([
    ["Read", JSON.stringify({ file_path: dir.join("a.txt"), lines: [1, "b.txt"] })],
    ["ListPods", "{}"],
  ]);
  expect(new Set(calls.map(({ callId }) => callId)).size).toBe(2);
  expect(ofType(events, "tool_start").map(({ callId }) => callId)).toEqual(
    calls.map(({ callId }) => callId),
  );
  expect(events.slice(-2)).toEqual([
    { type: "usage", usage: { input: 5, output: null, cacheRead: 2, cacheWrite: null } },
    { type: "finish", reason: "tool_calls" },
  ]);
});

describe("the rule that answers", () => {
  test("is the first that fits pod, match, not_match and times", async () => {
    await using dir = temp();
    const model = await scripted(dir, [
      { pod: "child-*", text: "for children" },
      { match: "^go$", not_match: "stop", times: 2, text: "twice" },
      { match: "^go$", text: "later" },
      { text: "else" },
    ]);
    const answers = [];
    for (const input of ["go", "x\ngo", "go", "stop\ngo", "going"]) {
      answers.push(...said(await collect(model, say(input))));
    }
    expect(answers).toEqual(["twice", "twice", "later", "later", "else"]);
  });

  test("depends on the Pod's name", async () => {
    await using dir = temp();
    const rules = [
      { pod: "child-*", text: "I am {pod}" },
      { pod: "lead", text: "lead" },
    ];
    const child = await scripted(dir, rules, { podName: "child-7" });
    expect(said(await collect(child))).toEqual(["I am child-7"]);
    expect(said(await collect(await scripted(dir, rules)))).toEqual(["lead"]);
  });

  test("sees everything since the model's last answer", () => {
    const items: Item[] = [
      textMessage("user", "first"),
      { type: "tool_call", call_id: "a", name: "Read", arguments: "{}" },
      { type: "tool_result", call_id: "a", summary: "Read 1 line", content: "body" },
      textMessage("system", "[Notification]\nchild finished"),
    ];
    expect(newestInput(items)).toBe("Read 1 line\nbody\n[Notification]\nchild finished");
    expect(newestInput([...items, textMessage("assistant", "ok")])).toBe("");
    expect(newestInput(items.slice(0, 1))).toBe("first");
  });

  test("if there is none, the failure quotes the input within bounds", async () => {
    await using dir = temp();
    const model = await scripted(dir, [{ match: "^no$", text: "x" }]);
    const message = failureOf(await collect(model, say(`start\n${"y".repeat(5000)}`)));
    expect(message).toStartWith(
      `no rule of ${dir.join("scenario.json")} answers pod \`lead\` to: start\\nyyy`,
    );
    expect(message.length).toBeLessThan(700);
  });
});

test("an error fails the request, after the text if there is one", async () => {
  await using dir = temp();
  const model = await scripted(dir, [
    { match: "a", error: "no credit" },
    { text: "well", error: "cut" },
  ]);
  expect(await collect(model, say("a"))).toEqual([{ type: "failed", message: "no credit" }]);
  expect(await collect(model, say("b"))).toEqual([
    { type: "text_delta", block: "0", text: "well" },
    { type: "failed", message: "cut" },
  ]);
});

test("an empty text is a silent answer", async () => {
  await using dir = temp();
  const model = await scripted(dir, [{ text: "" }]);
  expect(await collect(model)).toEqual([{ type: "finish", reason: "stop" }]);
});

describe("a delay", () => {
  test("comes before the first token and between words", async () => {
    await using dir = temp();
    const clock = virtualClock();
    const rules = [{ delay_ms: 300, chunk_delay_ms: 20, text: "one two three" }];
    const model = await scripted(dir, rules, { clock });
    await collect(model);
    expect(clock.slept).toEqual([300, 20, 20]);
  });

  test.each([{ delay_ms: 60_000 }, { chunk_delay_ms: 60_000 }])(
    "of %p ends at an abort, and so does the stream",
    async (delay) => {
      await using dir = temp();
      const model = await scripted(dir, [{ ...delay, text: "one two" }]);
      const abort = new AbortController();
      const stream = model.stream(request(), abort.signal)[Symbol.asyncIterator]();
      if ("chunk_delay_ms" in delay) {
        expect((await stream.next()).value).toMatchObject({ text: "one " });
      }
      const next = stream.next();
      abort.abort();
      expect(await within(next, 1000, "end after the abort")).toMatchObject({ done: true });
    },
  );
});

test("a scenario with a mistake stops the creation of the model", async () => {
  await using dir = temp();
  await expect(scripted(dir, [{ txt: "x" }])).rejects.toThrow("rules[0].txt: unknown key");
});
