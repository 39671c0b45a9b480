/** What a batch makes of output that is too long and of calls that take too long. */
import { describe, expect, test } from "bun:test";
import { runTool, type Overflow, type Tool } from "../../src/tools/tool.ts";
import { runBatch } from "../../src/worker/batch.ts";
import { within } from "../support/temp.ts";
import { tool, untilAborted } from "./scripted.ts";

const never = new AbortController().signal;
const LONG = `START${"x".repeat(1000)}END`;

function wide(name: string, overflow?: Overflow): Tool {
  const made = tool(name, () => ({ summary: `${name} done`, content: LONG }));
  return overflow === undefined ? made : { ...made, overflow };
}

describe("output that is too long", () => {
  test("keeps the end that the tool wants, and the whole goes where it can be read", async () => {
    const kept: string[] = [];
    const tools = [wide("a"), wide("b", "tail"), wide("c", "again")];
    const results = await runBatch(
      tools.map(({ name }) => ({ callId: name, name, input: {} })),
      {
        tools: new Map(tools.map((entry) => [entry.name, entry])),
        output: { defaultMaxBytes: 200, perTool: {} },
        spill: (callId, content) => {
          expect(content).toBe(LONG);
          kept.push(callId);
          return callId === "b" ? undefined : `/out/${callId}`;
        },
      },
      never,
    );
    expect(kept.sort()).toEqual(["a", "b"]);
    expect(results.map(({ outcome }) => outcome.summary)).toEqual([
      "a done (whole output: /out/a)",
      "b done", // what could not be kept is not promised
      "c done",
    ]);
    const [head = "", tail = "", again = ""] = results.map(({ outcome }) => outcome.content);
    expect([head.startsWith("START"), tail.endsWith("END"), again.startsWith("START")]).toEqual([
      true,
      true,
      true,
    ]);
    expect(results.every(({ alert }) => alert?.includes("truncated from 1008"))).toBe(true);
  });
});

describe("a call that takes too long", () => {
  const context = { signal: never, callId: "c" };

  test("is told to stop and answered as failed", async () => {
    const slow = {
      ...tool("slow", async (_, { signal }) => await untilAborted(signal)),
      limitMs: 20,
    };
    const outcome = await within(runTool(slow, {}, context), 5000, "the call");
    expect(outcome).toEqual({
      summary: "Tool execution failed: Execution failed: timed out after 0.02 s",
      isError: true,
    });
  });

  test("is left behind when it does not stop, and the answer says so", async () => {
    const deaf = { ...tool("deaf", () => new Promise<never>(() => {})), limitMs: 20 };
    const outcome = await within(runTool(deaf, {}, context, 20), 5000, "the call");
    expect(outcome.summary).toContain("may still be at work");
  });

  test("keeps a result that came in time", async () => {
    const quick = { ...tool("quick"), limitMs: 5000 };
    expect(await runTool(quick, {}, context)).toEqual({ summary: "quick done", isError: false });
  });
});

test("calls that a person interrupted are answered in the words of the prompt pack", async () => {
  const controller = new AbortController();
  const hanging = tool("hanging", async (_, { signal }) => {
    controller.abort();
    return await untilAborted(signal);
  });
  const [result] = await runBatch(
    [{ callId: "c", name: "hanging", input: {} }],
    {
      tools: new Map([["hanging", hanging]]),
      output: { defaultMaxBytes: 200, perTool: {} },
      interrupted: "stopped by a person",
    },
    controller.signal,
  );
  expect(result?.outcome).toEqual({ summary: "stopped by a person", isError: true });
});
