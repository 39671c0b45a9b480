/** What one response becomes in the history, in the events and in the next request: through the whole loop. */
import { describe, expect, test } from "bun:test";
import type { Usage } from "../../src/model/model.ts";
import type { Event } from "../../src/protocol/event.ts";
import type { Item } from "../../src/protocol/history.ts";
import { runTurns } from "../../src/worker/loop.ts";
import type { OutputLimits } from "../../src/worker/truncate.ts";
import { within } from "../support/temp.ts";
import {
  call,
  dataOf,
  finish,
  outline,
  rendezvous,
  script,
  setUp,
  text,
  tool,
} from "./scripted.ts";

const never = new AbortController().signal;
const MARKER = /\n\n\[truncated: (\d+) bytes dropped, refine your query\]$/;

describe("the calls of one response", () => {
  test("run together and are answered in their order, whichever ends first (1)", async () => {
    // Sooner than 250 ms for three of 100 ms, whatever the machine is busy with: none could go on alone.
    const meet = rendezvous(3);
    const gates = { a: Promise.withResolvers<void>(), b: Promise.withResolvers<void>() };
    const ended: string[] = [];
    const member = (name: string, before?: Promise<void>, opens?: () => void) =>
      tool(name, async () => {
        await meet();
        await before;
        ended.push(name);
        opens?.();
        return { summary: `${name} done` };
      });
    const tools = [
      member("a", gates.a.promise),
      member("b", gates.b.promise, gates.a.resolve),
      member("c", undefined, gates.b.resolve),
    ];
    const model = script(
      [...call("c1", "a"), ...call("c2", "b"), ...call("c3", "c"), finish("tool_calls")],
      [...text("ok"), finish()],
    );
    const { deps, events, history } = setUp(model, tools);
    expect(await within(runTurns(deps, never), 5000, "the run")).toEqual({ outcome: "finished" });
    expect(ended).toEqual(["c", "b", "a"]);
    expect(dataOf(events, "tool_result").map(({ id }) => id)).toEqual(["c1", "c2", "c3"]);
    expect(outline(history).slice(4, 7)).toEqual([
      "result c1 a done",
      "result c2 b done",
      "result c3 c done",
    ]);
  });

  test("stand behind the whole text of the response, which is one message (2)", async () => {
    const model = script(
      [...text("A"), ...call("c1", "t"), ...text("B", "u"), finish("tool_calls")],
      [finish()],
    );
    const { deps, history } = setUp(model, [tool("t")]);
    await runTurns(deps, never);
    expect(outline(history)).toEqual([
      "user: hi",
      "assistant: AB",
      "call c1 t {}",
      "result c1 t done",
    ]);
    expect(model.requests[1]?.items.map(({ type }) => type)).toEqual([
      "message",
      "message",
      "tool_call",
      "tool_result",
    ]);
  });

  test.each(["", "null", "[1]", "42"])(
    "with arguments %j have {} in the history and in the next request (5)",
    async (args) => {
      const model = script([...call("c1", "t", args), finish("tool_calls")], [finish()]);
      const { deps, history } = setUp(model, [tool("t")]);
      await runTurns(deps, never);
      const stored = { type: "tool_call", call_id: "c1", name: "t", arguments: "{}" };
      expect(history.items[1]).toMatchObject(stored);
      expect(model.requests[1]?.items[1]).toMatchObject(stored);
    },
  );
});

describe("the content of a result", () => {
  /** What is committed and shown of tools with these contents. */
  async function committed(contents: Readonly<Record<string, string>>, output: OutputLimits) {
    const names = Object.keys(contents);
    const tools = names.map((name) =>
      tool(name, () => ({ summary: `${name} done`, content: contents[name] ?? "" })),
    );
    const calls = names.flatMap((name) => call(name, name));
    const { deps, events, history } = setUp(script([...calls, finish()], [finish()]), tools, {
      output,
    });
    await runTurns(deps, never);
    const kept = history.items.flatMap((item: Item) =>
      item.type === "tool_result" ? [item.content ?? ""] : [],
    );
    expect(dataOf(events, "tool_result").map((data) => data.output)).toEqual(kept);
    return { kept, alerts: alertsIn(events) };
  }
  const alertsIn = (events: readonly Event[]): string[] =>
    dataOf(events, "alert").map(({ level, message }) => `${level}: ${message}`);

  test("over the limit is cut, with the number of bytes that are gone and a warning (16)", async () => {
    const { kept, alerts } = await committed(
      { wide: "x".repeat(1000) },
      { defaultMaxBytes: 200, perTool: {} },
    );
    const [content = ""] = kept;
    expect(Buffer.byteLength(content)).toBeLessThanOrEqual(200);
    const dropped = Number(MARKER.exec(content)?.[1]);
    expect(content.replace(MARKER, "").length + dropped).toBe(1000);
    expect(alerts).toEqual([
      "warn: tool `wide` output truncated from 1000 to 183 bytes (limit 200)",
    ]);
  });

  test("of exactly the limit is kept as it is, without a warning (17)", async () => {
    const exact = { latin: "x".repeat(200), wide: `${"日".repeat(66)}xx` };
    const { kept, alerts } = await committed(exact, { defaultMaxBytes: 200, perTool: {} });
    expect(kept).toEqual([exact.latin, exact.wide]);
    expect(alerts).toEqual([]);
  });

  test("of many bytes per character is cut between two characters (18)", async () => {
    const { kept } = await committed(
      { two: "é".repeat(300), three: "日".repeat(300), four: "🙂".repeat(300) },
      { defaultMaxBytes: 201, perTool: {} },
    );
    for (const [index, character] of ["é", "日", "🙂"].entries()) {
      const content = kept[index] ?? "";
      const size = Buffer.byteLength(character);
      const body = content.replace(MARKER, "");
      expect(body).toBe(character.repeat(Math.floor((201 - 68) / size)));
      expect(Buffer.byteLength(body) + Number(MARKER.exec(content)?.[1])).toBe(300 * size);
    }
  });

  test("has the limit of its tool, else the default (19)", async () => {
    const content = "x".repeat(4096);
    const { kept, alerts } = await committed(
      { Read: content, Grep: content },
      { defaultMaxBytes: 1024, perTool: { Read: 4096 } },
    );
    expect(kept[0]).toBe(content);
    expect(kept[1]?.length).toBeLessThanOrEqual(1024);
    expect(alerts).toEqual([expect.stringMatching(/^warn: tool `Grep` .* \(limit 1024\)$/)]);
  });
});

test("usage that comes in parts is told and recorded once, the newest value of each field (20)", async () => {
  const part = (fields: Partial<Usage>) => ({
    type: "usage" as const,
    usage: { input: null, output: null, cacheRead: null, cacheWrite: null, ...fields },
  });
  const model = script([
    part({ input: 10, output: 1 }),
    ...text("A"),
    part({ output: 5, cacheRead: 3 }),
    finish(),
  ]);
  const recorded: Usage[] = [];
  const { deps, events } = setUp(model, [], { recordUsage: (usage) => recorded.push(usage) });
  await runTurns(deps, never);
  expect(recorded).toEqual([{ input: 10, output: 5, cacheRead: 3, cacheWrite: null }]);
  expect(dataOf(events, "usage")).toEqual([
    { input_tokens: 10, output_tokens: 5, cache_read_tokens: 3 },
  ]);
});
