import { describe, expect, test } from "bun:test";
import { fileTools } from "../../src/tools/file-tools.ts";
import type { Tool } from "../../src/tools/tool.ts";
import { MAX_PARALLEL_TOOLS, runBatch, type BatchOptions } from "../../src/worker/batch.ts";
import type { PlannedCall } from "../../src/worker/fold.ts";
import { temp, within } from "../support/temp.ts";
import { scopeOf } from "../tools/support.ts";
import { rendezvous, tool, untilAborted } from "./scripted.ts";

const never = new AbortController().signal;

function options(...tools: Tool[]): BatchOptions {
  return {
    tools: new Map(tools.map((entry) => [entry.name, entry])),
    output: { defaultMaxBytes: 16_384, perTool: {} },
  };
}

const planned = (...names: string[]): PlannedCall[] =>
  names.map((name, index) => ({ callId: `c${index + 1}`, name, input: {} }));

const summaries = (results: readonly { outcome: { summary: string } }[]): string[] =>
  results.map((result) => result.outcome.summary);

describe("a batch", () => {
  test("runs its tools at the same time and returns results in call order (1)", async () => {
    // Each waits for the other two, and they end in reverse order.
    const meet = rendezvous(3);
    const ended: string[] = [];
    const after: Record<string, Promise<void>> = {};
    const gates = { a: Promise.withResolvers<void>(), b: Promise.withResolvers<void>() };
    after.a = gates.a.promise;
    after.b = gates.b.promise;
    const member = (name: string, opens?: () => void): Tool =>
      tool(name, async () => {
        await meet();
        await after[name];
        ended.push(name);
        opens?.();
        return { summary: name };
      });
    const tools = [
      member("a"),
      member("b", () => gates.a.resolve()),
      member("c", () => gates.b.resolve()),
    ];
    const run = runBatch(planned("a", "b", "c"), options(...tools), never);
    expect(summaries(await within(run, 5000, "tools that wait for each other"))).toEqual([
      "a",
      "b",
      "c",
    ]);
    expect(ended).toEqual(["c", "b", "a"]);
  });

  test("runs serial tools one after another in call order, beside the others", async () => {
    const log: string[] = [];
    const meet = rendezvous(2);
    const serial = (name: string, run: () => Promise<void>): Tool =>
      tool(
        name,
        async () => {
          log.push(`${name} begins`);
          await run();
          log.push(`${name} ends`);
          return { summary: name };
        },
        { serial: true },
      );
    const nothing = async (): Promise<void> => {};
    const read = serial("Read", async () => void (await meet()));
    const bash = tool("Bash", async () => {
      await meet(); // only met when Read runs meanwhile
      return { summary: "Bash" };
    });
    const set = options(read, serial("Edit", nothing), serial("Write", nothing), bash);
    const run = runBatch(planned("Read", "Bash", "Edit", "Write"), set, never);
    expect(summaries(await within(run, 5000, "batch"))).toEqual(["Read", "Bash", "Edit", "Write"]);
    expect(log).toEqual([
      "Read begins",
      "Read ends",
      "Edit begins",
      "Edit ends",
      "Write begins",
      "Write ends",
    ]);
  });

  test(`runs at most ${MAX_PARALLEL_TOOLS} parallel tools at once, and all of them`, async () => {
    let running = 0;
    let most = 0;
    const full = rendezvous(MAX_PARALLEL_TOOLS);
    const counted = tool("t", async () => {
      running += 1;
      most = Math.max(most, running);
      await full();
      running -= 1;
      return { summary: "ok" };
    });
    const calls = planned(...Array<string>(MAX_PARALLEL_TOOLS * 2 + 3).fill("t"));
    const results = await within(runBatch(calls, options(counted), never), 5000, "batch");
    expect(results).toHaveLength(calls.length);
    expect(most).toBe(MAX_PARALLEL_TOOLS);
  });

  test("edits one file in call order, so that each edit is there in the end (55)", async () => {
    await using directory = temp();
    const path = directory.join("a.txt");
    await Bun.write(path, "one two");
    const scope = scopeOf(directory.path);
    const edit = (callId: string, from: string, to: string): PlannedCall => ({
      callId,
      name: "Edit",
      input: { file_path: path, old_string: from, new_string: to },
    });
    const calls: PlannedCall[] = [
      { callId: "c1", name: "Read", input: { file_path: path } },
      edit("c2", "one", "1"),
      edit("c3", "two", "2"),
    ];
    const set = options(...fileTools({ scope, cwd: directory.path }));
    expect(summaries(await within(runBatch(calls, set, never), 5000, "the batch"))).toEqual([
      `Read 1 line(s) from ${path}`,
      `Edited ${path} (1 replacement)`,
      `Edited ${path} (1 replacement)`,
    ]);
    expect(await Bun.file(path).text()).toBe("1 2");
  });

  test("keeps one failing tool from touching the others", async () => {
    const bad = tool("bad", () => {
      throw new TypeError("x is undefined");
    });
    const results = await runBatch(planned("bad", "good"), options(bad, tool("good")), never);
    expect(summaries(results)).toEqual([
      "Tool execution failed: Execution failed: x is undefined",
      "good done",
    ]);
  });

  test("answers a refused call with the reason and does not run it", async () => {
    const refused = tool("t");
    const calls: PlannedCall[] = [{ callId: "c1", name: "t", refusal: "no" }];
    const results = await runBatch(calls, options(refused), never);
    expect(results).toEqual([{ callId: "c1", outcome: { summary: "no", isError: true } }]);
    expect(refused.calls).toEqual([]);
  });

  test("cuts content to the limit of the tool and says so (16, 19)", async () => {
    const content = "x".repeat(3000);
    const wide = (name: string): Tool => tool(name, () => ({ summary: "s", content }));
    const results = await runBatch(
      planned("Read", "Grep"),
      {
        ...options(wide("Read"), wide("Grep")),
        output: { defaultMaxBytes: 1024, perTool: { Read: 4096 } },
      },
      never,
    );
    expect(results[0]).toEqual({
      callId: "c1",
      outcome: { summary: "s", content, isError: false },
    });
    expect(Buffer.byteLength(results[1]?.outcome.content ?? "")).toBeLessThanOrEqual(1024);
    expect(results[1]?.alert).toMatch(/^tool `Grep` output truncated from 3000 to \d+ bytes/);
  });
});

describe("an aborted batch", () => {
  test("starts nothing when it is aborted before", async () => {
    const idle = tool("t");
    const results = await runBatch(planned("t", "t"), options(idle), AbortSignal.abort());
    expect(summaries(results)).toEqual(["[Interrupted by user]", "[Interrupted by user]"]);
    expect(results.every((result) => result.outcome.isError)).toBe(true);
    expect(idle.calls).toEqual([]);
  });

  test("starts no further serial call", async () => {
    const controller = new AbortController();
    const first = tool("first", () => (controller.abort(), { summary: "written" }), {
      serial: true,
    });
    const second = tool("second", undefined, { serial: true });
    const run = runBatch(planned("first", "second"), options(first, second), controller.signal);
    expect(summaries(await run)).toEqual(["written", "[Interrupted by user]"]);
    expect(second.calls).toEqual([]);
  });

  test("waits for tools that clean up, and keeps what they completed", async () => {
    const controller = new AbortController();
    const log: string[] = [];
    const writing = tool("writing", async (_input, { signal }) => {
      controller.abort();
      await untilAborted(signal).catch(() => {});
      log.push("written");
      return { summary: "written after all" };
    });
    const stopping = tool("stopping", async (_input, { signal }) => {
      try {
        return await untilAborted(signal);
      } finally {
        log.push("cleaned up");
      }
    });
    const calls = planned("stopping", "writing");
    const results = await runBatch(calls, options(writing, stopping), controller.signal);
    expect(summaries(results)).toEqual(["[Interrupted by user]", "written after all"]);
    expect(log.sort()).toEqual(["cleaned up", "written"]);
  });

  test("leaves a tool that ignores the abort behind after the bound", async () => {
    const controller = new AbortController();
    const late = Promise.withResolvers<{ summary: string }>();
    const deaf = tool("deaf", () => (controller.abort(), late.promise));
    const set = { ...options(deaf), abortSettleMs: 5 };
    const run = runBatch(planned("deaf"), set, controller.signal);
    const results = await within(run, 5000, "a batch with a deaf tool");
    late.resolve({ summary: "too late" });
    await late.promise;
    expect(summaries(results)).toEqual(["[Interrupted by user]"]);
  });
});
