import { describe, expect, test } from "bun:test";
import { textMessage } from "../../src/protocol/history.ts";
import { ToolError } from "../../src/tools/tool.ts";
import { History, LOST_RESULT } from "../../src/worker/history.ts";
import { runTurns } from "../../src/worker/loop.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { within } from "../support/temp.ts";
import {
  call,
  dataOf,
  finish,
  names,
  outline,
  script,
  setUp,
  text,
  tool,
  usage,
  noticesOf,
} from "./scripted.ts";

const never = new AbortController().signal;

describe("a run", () => {
  test("shows and keeps one tool call and the answer (1.16)", async () => {
    const read = tool("Read", () => ({ summary: "Read 1 line", content: "x\n" }));
    const model = script(
      [...call("c1", "Read", '{ "file_path" : "/w/a" }'), usage(10, 2), finish("tool_calls")],
      [...text("it is x"), usage(20, 3), finish()],
    );
    const records: number[] = [];
    const { deps, events, history } = setUp(model, [read], {
      recordUsage: (_usage, length) => records.push(length),
    });

    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(names(events)).toEqual([
      "turn_start",
      "tool_call_start",
      "tool_call_args_delta",
      "tool_call_done",
      "usage",
      "turn_end",
      "tool_result",
      "turn_start",
      "text_delta",
      "text_delta",
      "text_done",
      "usage",
      "turn_end",
    ]);
    expect(dataOf(events, "turn_start")).toEqual([{ turn: 0 }, { turn: 1 }]);
    expect(dataOf(events, "tool_call_done")).toEqual([
      { id: "c1", name: "Read", arguments: '{"file_path":"/w/a"}' },
    ]);
    expect(dataOf(events, "tool_result")).toEqual([
      { id: "c1", summary: "Read 1 line", output: "x\n", is_error: false },
    ]);
    expect(outline(history)).toEqual([
      "user: hi",
      'call c1 Read {"file_path":"/w/a"}',
      "result c1 Read 1 line",
      "assistant: it is x",
    ]);
    expect(records).toEqual([1, 3]);
    expect(deps.turns.current).toBe(2);
    expect(read.calls).toEqual([{ file_path: "/w/a" }]);
  });

  test("sends system prompt, history and tools sorted by code unit, without their code", async () => {
    const model = script([finish()]);
    const { deps } = setUp(model, [tool("b"), tool("a"), tool("B")]);
    await runTurns(deps, never);
    expect(model.requests[0]?.system).toBe("be brief");
    expect(model.requests[0]?.items).toHaveLength(1);
    expect(model.requests[0]?.tools.map((definition) => definition.name)).toEqual(["B", "a", "b"]);
    expect(model.requests[0]?.tools.every((definition) => !("run" in definition))).toBe(true);
  });

  test("answers a call of a tool that does not exist and goes on (3)", async () => {
    const model = script([...call("c1", "nosuch"), finish()], [...text("ok"), finish()]);
    const { deps, events, history } = setUp(model);
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(dataOf(events, "tool_result")).toEqual([
      { id: "c1", summary: "Tool 'nosuch' not found", is_error: true },
    ]);
    expect(outline(history).slice(-2)).toEqual([
      "result c1 Tool 'nosuch' not found (error)",
      "assistant: ok",
    ]);
  });

  test("gives a failing tool's error to the model (4)", async () => {
    const failing = tool("t", () => {
      throw new ToolError("execution_failed", "boom");
    });
    const model = script([...call("c1", "t"), finish()], [finish()]);
    const { deps, events, history } = setUp(model, [failing]);
    await runTurns(deps, never);
    const summary = "Tool execution failed: Execution failed: boom";
    expect(dataOf(events, "tool_result")).toEqual([{ id: "c1", summary, is_error: true }]);
    const result = { type: "tool_result", call_id: "c1", summary, is_error: true } as const;
    expect(history.items.at(-1)).toEqual({ ...result, id: "i000003" }); // no content
    expect(model.requests[1]?.items.at(-1)).toMatchObject({ summary });
  });

  test("alternates user and assistant over two inputs and counts turns on (6)", async () => {
    const model = script([...text("one"), finish()], [...text("two"), finish()]);
    const { deps, history } = setUp(model);
    await runTurns(deps, never);
    history.append(textMessage("user", "more"));
    await runTurns(deps, never);
    expect(outline(history)).toEqual([
      "user: hi",
      "assistant: one",
      "user: more",
      "assistant: two",
    ]);
    expect(deps.turns.current).toBe(2);
  });

  test("ends at the turn limit with all results committed (7)", async () => {
    const model = script([...call("c1", "t"), finish()], [...call("c2", "t"), finish()]);
    const { deps, history } = setUp(model, [tool("t")], { maxTurns: 2 });
    expect(await runTurns(deps, never)).toEqual({ outcome: "limit_reached" });
    expect(model.requests).toHaveLength(2);
    expect(history.openCalls()).toEqual([]);
    expect(outline(history).at(-1)).toBe("result c2 t done");
  });

  test("counts the turn limit anew in the next run of a session (8)", async () => {
    const model = script(
      [...call("c1", "t"), finish()],
      [...call("c2", "t"), finish()],
      [...call("c3", "t"), finish()],
      [...text("done"), finish()],
    );
    const { deps, history } = setUp(model, [tool("t")], { maxTurns: 2 });
    expect(await runTurns(deps, never)).toEqual({ outcome: "limit_reached" });
    history.append(textMessage("user", "go on"));
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(deps.turns.current).toBe(4);
  });

  test("finishes on an empty response without an item", async () => {
    const { deps, events, history } = setUp(script([finish()]));
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(names(events)).toEqual(["turn_start", "turn_end"]);
    expect(outline(history)).toEqual(["user: hi"]);
  });

  test("puts notices into the history before the request that carries them (21, W11)", async () => {
    const queue = ["[Notification] a", "[Notification] b"];
    const model = script([...call("c1", "t"), finish()], [...text("ok"), finish()]);
    const late = tool("t", () => {
      queue.push("[Notification] c");
      return { summary: "ran" };
    });
    const { deps, history } = setUp(model, [late], {
      takeNotices: (keep) => keep(noticesOf(queue.splice(0))),
    });
    await runTurns(deps, never);
    expect(outline(history)).toEqual([
      "user: hi",
      "system: [Notification] a",
      "system: [Notification] b",
      "call c1 t {}",
      "result c1 ran",
      "system: [Notification] c",
      "assistant: ok",
    ]);
    expect(model.requests.map((request) => request.items.length)).toEqual([3, 6]);
  });

  test("keeps notices waiting while it yields to a compaction, and when that ends the run (22)", async () => {
    const waiting = ["[Notification] a"];
    const seen: number[] = [];
    const model = script([...text("ok"), finish()]);
    const { deps, events, history } = setUp(model, [], {
      takeNotices: (keep) => keep(noticesOf(waiting.splice(0))),
      compaction: {
        beforeRequest: (_, announce) => {
          announce();
          seen.push(waiting.length, model.requests.length);
          return Promise.resolve(seen.length > 2 ? "still too long" : undefined);
        },
        forRequest: (items) => items,
      },
    });
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(seen).toEqual([1, 0]);
    expect(outline(history)).toEqual(["user: hi", "system: [Notification] a", "assistant: ok"]);
    expect(names(events).slice(0, 3)).toEqual(["turn_start", "turn_end", "turn_start"]);
    waiting.push("[Notification] b");
    expect(await runTurns(deps, never)).toMatchObject({ message: "still too long" });
    expect(waiting).toEqual(["[Notification] b"]);
    expect(model.requests).toHaveLength(1);
  });

  test("needs no user item when a notice is what wakes the model (29)", async () => {
    const history = new History();
    history.append(textMessage("user", "hi"), textMessage("assistant", "hello"));
    const notices = ["[Notification]\nchild done"];
    const model = script([...text("noted"), finish()]);
    const { deps } = setUp(model, [], {
      history,
      takeNotices: (keep) => keep(noticesOf(notices.splice(0))),
    });
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(model.requests[0]?.items.at(-1)).toMatchObject({
      role: "system",
      content: [{ text: "[Notification]\nchild done" }],
    });
  });

  test("warns about cut output before the results of the batch (16)", async () => {
    const wide = tool("wide", () => ({ summary: "wide", content: "x".repeat(1000) }));
    const model = script([...call("c1", "wide"), ...call("c2", "t"), finish()], [finish()]);
    const { deps, events } = setUp(model, [wide, tool("t")], {
      output: { defaultMaxBytes: 200, perTool: {} },
    });
    await runTurns(deps, never);
    const from = names(events).indexOf("alert");
    expect(names(events).slice(from, from + 3)).toEqual(["alert", "tool_result", "tool_result"]);
    expect(dataOf(events, "alert")).toEqual([
      {
        level: "warn",
        source: "worker",
        message: "tool `wide` output truncated from 1000 to 183 bytes (limit 200)",
        timestamp_ms: 1_700_000_000_000,
      },
    ]);
  });

  test("answers calls that a dead process left open instead of running them (W6)", async () => {
    const dangerous = tool("t");
    const history = new History(() => {}, [
      textMessage("user", "hi"),
      { type: "tool_call", call_id: "c1", name: "t", arguments: "{}" },
    ]);
    const { deps } = setUp(script([...text("ok"), finish()]), [dangerous], { history });
    await runTurns(deps, never);
    expect(dangerous.calls).toEqual([]);
    expect(outline(history)).toEqual([
      "user: hi",
      "call c1 t {}",
      `result c1 ${LOST_RESULT} (error)`,
      "assistant: ok",
    ]);
  });

  test("ends as internal when the store refuses an item, and shows nothing that was not kept", async () => {
    let full = false;
    const history = new History(() => {
      if (full) throw new Error("no space left on device");
    });
    history.append(textMessage("user", "hi"));
    const filling = tool("t", () => {
      full = true;
      return { summary: "done" };
    });
    const { deps, events } = setUp(script([...call("c1", "t"), finish()]), [filling], { history });
    expect(await runTurns(deps, never)).toEqual({
      outcome: "error",
      code: "internal",
      message: "no space left on device",
    });
    expect(dataOf(events, "tool_result")).toEqual([]);
    full = false;
    history.append(textMessage("user", "again"));
    expect(pairingFault(history.items)).toBeUndefined();
  });

  test("ends as internal when the system prompt cannot be made, before the turn starts", async () => {
    const { deps, events } = setUp(script(), [], {
      system: () => {
        throw new Error("failed to render system prompt template: x");
      },
    });
    expect(await runTurns(deps, never)).toMatchObject({ outcome: "error", code: "internal" });
    expect(events).toEqual([]);
  });

  test("ends as internal on two tools of one name", async () => {
    const { deps } = setUp(script(), [tool("t"), tool("t")]);
    expect(await runTurns(deps, never)).toMatchObject({ message: "duplicate tool name: 't'" });
  });

  test("lets the event loop breathe between turns of a model that never waits", async () => {
    const controller = new AbortController();
    const endless = script(...Array(1000).fill([...call("c", "t"), finish()]));
    const { deps } = setUp(endless, [tool("t")]);
    setImmediate(() => controller.abort());
    expect(await runTurns(deps, controller.signal)).toEqual({ outcome: "cancelled" });
    expect(endless.requests.length).toBeLessThan(10);
  });
});

test("usage is told with its parts, where the vendor tells them apart", async () => {
  const tokens = { input: 10, output: 5, cacheRead: 3, cacheWrite: null, reasoning: 2 };
  const { deps, events } = setUp(
    script([...text("A"), { type: "usage", usage: tokens }, finish()]),
  );
  await runTurns(deps, never);
  expect(dataOf(events, "usage")).toEqual([
    { input_tokens: 10, output_tokens: 5, cache_read_tokens: 3, reasoning_tokens: 2 },
  ]);
});

describe("a broken stream", () => {
  test("ends the run as provider error, keeps its number and reports its usage (26)", async () => {
    const model = script([usage(5, null), { type: "failed", message: "HTTP error: reset" }]);
    const { deps, events } = setUp(model);
    expect(await runTurns(deps, never)).toEqual({
      outcome: "error",
      code: "provider_error",
      message: "Client error: HTTP error: reset",
    });
    expect(names(events)).toEqual(["turn_start", "usage"]);
    expect(model.requests).toHaveLength(1); // not sent again
    expect(deps.turns.current).toBe(0);
  });

  test("keeps complete text, drops calls, and leaks nothing into the next response (24)", async () => {
    const run = tool("t");
    const model = script(
      [...text("half"), ...call("c1", "t"), { type: "failed", message: "gone" }],
      [...text("whole"), finish()],
    );
    const { deps, history } = setUp(model, [run]);
    await runTurns(deps, never);
    history.append(textMessage("user", "again"));
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(outline(history)).toEqual([
      "user: hi",
      "assistant: half",
      "user: again",
      "assistant: whole",
    ]);
    expect(run.calls).toEqual([]);
  });

  test("is an error and not a finish when the vendor reports one after text (27)", async () => {
    const model = script([...text("partly"), { type: "failed", message: "overloaded" }]);
    expect(await runTurns(setUp(model).deps, never)).toMatchObject({
      outcome: "error",
      message: "Client error: overloaded",
    });
  });

  test("is an error when the iterator throws, or ends without a word", async () => {
    const throws = script(async function* () {
      throw new Error("socket closed");
    });
    expect(await runTurns(setUp(throws).deps, never)).toMatchObject({
      message: "Client error: socket closed",
    });
    const silent = script([{ type: "text_delta", block: "t", text: "par" }]);
    expect(await runTurns(setUp(silent).deps, never)).toMatchObject({
      code: "provider_error",
      message: "Client error: the stream ended before the response was complete",
    });
    const synchronous = (): never => {
      throw new Error("no key");
    };
    expect(await runTurns(setUp(synchronous).deps, never)).toMatchObject({
      message: "Client error: no key",
    });
  });

  test("that stays open after its end does not hold the run", async () => {
    const model = script(async function* () {
      try {
        yield* [...text("done"), finish()];
      } finally {
        await new Promise<never>(() => {});
      }
    });
    expect(await within(runTurns(setUp(model).deps, never), 5000, "the run")).toEqual({
      outcome: "finished",
    });
  });
});
