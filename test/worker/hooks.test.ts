import { describe, expect, test } from "bun:test";
import { textMessage } from "../../src/protocol/history.ts";
import type { CallDecision, ToolHooks } from "../../src/worker/hooks.ts";
import { runTurns } from "../../src/worker/loop.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { call, dataOf, finish, outline, script, setUp, text, tool } from "./scripted.ts";

const never = new AbortController().signal;
const two = [...call("c1", "a", '{"n":1}'), ...call("c2", "b"), finish()];

/** Decides on the tool `b` as told, one decision for each time it is asked; everything else runs. */
function deciding(...decisions: CallDecision[]): ToolHooks {
  return {
    beforeCall: ({ name }) => (name === "b" ? decisions.shift() : undefined) ?? { decision: "run" },
  };
}

describe("a hook before a call", () => {
  test("that pauses keeps every call from running, and all run when the run goes on (13)", async () => {
    const [a, b] = [tool("a"), tool("b")];
    const hooks = deciding({ decision: "pause" });
    const { deps, history } = setUp(script(two, [...text("ok"), finish()]), [a, b], { hooks });
    expect(await runTurns(deps, never)).toEqual({ outcome: "paused" });
    expect([a.calls, b.calls]).toEqual([[], []]);
    expect(history.openCalls()).toHaveLength(2);
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect([a.calls, b.calls]).toEqual([[{ n: 1 }], [{}]]);
    expect(outline(history).slice(-3)).toEqual([
      "result c1 a done",
      "result c2 b done",
      "assistant: ok",
    ]);
  });

  test("that pauses is over when something else is said: nothing runs later", async () => {
    const [a, b] = [tool("a"), tool("b")];
    const model = script(two, [...text("ok"), finish()]);
    const { deps, history } = setUp(model, [a, b], { hooks: deciding({ decision: "pause" }) });
    await runTurns(deps, never);
    history.append(textMessage("user", "never mind"));
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect([a.calls, b.calls]).toEqual([[], []]);
    expect(pairingFault(model.requests[1]?.items ?? [])).toBeUndefined();
  });

  test("that skips a call leaves it with a result that says so (14)", async () => {
    const [a, b] = [tool("a"), tool("b")];
    const hooks = deciding({ decision: "skip", reason: "not today" });
    const model = script(two, [...text("ok"), finish()]);
    const { deps } = setUp(model, [a, b], { hooks });
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect([a.calls.length, b.calls.length]).toEqual([1, 0]);
    const sent = model.requests[1]?.items ?? [];
    expect(pairingFault(sent)).toBeUndefined();
    expect(sent).toContainEqual(
      expect.objectContaining({
        call_id: "c2",
        summary: "Tool call skipped: not today",
        is_error: true,
      }),
    );
  });

  test("may change what the tool gets; the history keeps what the model wrote", async () => {
    const [a, b] = [tool("a"), tool("b")];
    const hooks = deciding({ decision: "run", input: { n: 2 } });
    const { deps, history } = setUp(script(two, [finish()]), [a, b], { hooks });
    await runTurns(deps, never);
    expect(b.calls).toEqual([{ n: 2 }]);
    expect(outline(history)).toContain("call c2 b {}");
  });

  test("that aborts ends the run with no call executed and none left open", async () => {
    const [a, b] = [tool("a"), tool("b")];
    const hooks = deciding({ decision: "abort", reason: "forbidden" });
    const { deps, history } = setUp(script(two), [a, b], { hooks });
    expect(await runTurns(deps, never)).toEqual({
      outcome: "error",
      code: "internal",
      message: "Aborted: forbidden",
    });
    expect([a.calls, b.calls, history.openCalls()]).toEqual([[], [], []]);
  });

  test("is not asked about tools that do not exist", async () => {
    const asked: string[] = [];
    const hooks: ToolHooks = {
      beforeCall: ({ name }) => {
        asked.push(name);
        return { decision: "run" };
      },
    };
    const model = script([...call("c1", "nosuch"), ...call("c2", "a"), finish()], [finish()]);
    await runTurns(setUp(model, [tool("a")], { hooks }).deps, never);
    expect(asked).toEqual(["a"]);
  });
});

describe("a hook after a call", () => {
  test("sees the whole result and may rewrite it, for the history and for clients (15)", async () => {
    const wide = tool("a", () => ({ summary: "raw", content: "x".repeat(1000) }));
    const seen: number[] = [];
    const hooks: ToolHooks = {
      afterCall: (_, outcome) => {
        seen.push(outcome.content?.length ?? 0);
        return { outcome: { ...outcome, summary: "rewritten" } };
      },
    };
    const model = script([...call("c1", "a"), finish()], [finish()]);
    const { deps, history, events } = setUp(model, [wide], {
      hooks,
      output: { defaultMaxBytes: 200, perTool: {} },
    });
    await runTurns(deps, never);
    expect(seen).toEqual([1000]);
    expect(outline(history)).toContain("result c1 rewritten");
    const [shown] = dataOf(events, "tool_result");
    expect(shown?.summary).toBe("rewritten");
    expect(shown?.output?.length).toBeLessThanOrEqual(200);
  });

  test("that aborts ends the run and keeps the results, whose effects are there", async () => {
    const hooks: ToolHooks = { afterCall: (_, outcome) => ({ outcome, abort: "enough" }) };
    const { deps, history } = setUp(script(two), [tool("a"), tool("b")], { hooks });
    expect(await runTurns(deps, never)).toMatchObject({ message: "Aborted: enough" });
    expect(outline(history).slice(-2)).toEqual(["result c1 a done", "result c2 b done"]);
  });

  test("that fails ends the run and keeps the result", async () => {
    const hooks: ToolHooks = {
      afterCall: () => {
        throw new Error("bug in the hook");
      },
    };
    const { deps, history } = setUp(script([...call("c1", "a"), finish()]), [tool("a")], { hooks });
    expect(await runTurns(deps, never)).toMatchObject({ message: "Aborted: bug in the hook" });
    expect(outline(history).at(-1)).toBe("result c1 a done");
  });
});
