import { describe, expect, test } from "bun:test";
import { textMessage } from "../../src/protocol/history.ts";
import { runTurns } from "../../src/worker/loop.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { within } from "../support/temp.ts";
import * as scripted from "./scripted.ts";

const { call, dataOf, finish, names, outline, script, setUp, text, tool, usage } = scripted;
const never = new AbortController().signal;

describe("an abort", () => {
  test("before the run ends it without a request (W9)", async () => {
    const model = script();
    const { deps, events } = setUp(model, [], {
      takeNotices: (keep) => keep(scripted.noticesOf(["kept"])),
    });
    expect(await runTurns(deps, AbortSignal.abort())).toEqual({ outcome: "cancelled" });
    expect(model.requests).toEqual([]);
    expect(events).toEqual([]);
    expect(outline(deps.history)).toEqual(["user: hi"]);
  });

  test("during the stream keeps nothing of the response and repeats the turn number (9)", async () => {
    const controller = new AbortController();
    const model = script(
      async function* (signal) {
        yield usage(7, null);
        yield* text("complete block");
        yield { type: "text_delta", block: "u", text: "partial" };
        controller.abort();
        await scripted.aborted(signal);
      },
      [...text("done"), finish()],
    );
    const { deps, events, history } = setUp(model);
    expect(await runTurns(deps, controller.signal)).toEqual({ outcome: "cancelled" });
    expect(names(events).at(-1)).toBe("usage");
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(outline(history)).toEqual(["user: hi", "assistant: done"]);
    expect(dataOf(events, "turn_start")).toEqual([{ turn: 0 }, { turn: 0 }]);
  });

  test("ends a stream that hangs and ignores the signal; what it says later is not heard", async () => {
    const controller = new AbortController();
    const later = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const model = script(async function* () {
      try {
        yield { type: "text_delta", block: "t", text: "a" };
        controller.abort();
        await later.promise;
        yield* [...text("too late"), finish()];
      } finally {
        closed.resolve();
      }
    });
    const { deps, events } = setUp(model);
    const end = await within(runTurns(deps, controller.signal), 5000, "the run");
    expect(end).toEqual({ outcome: "cancelled" });
    const shown = events.length;
    later.resolve();
    await closed.promise;
    expect(events.length).toBe(shown);
    expect(outline(deps.history)).toEqual(["user: hi"]);
  });

  test("makes a failure that it caused count as cancelled", async () => {
    const controller = new AbortController();
    const model = script(async function* () {
      controller.abort();
      yield { type: "failed", message: "The operation was aborted" };
    });
    expect(await runTurns(setUp(model).deps, controller.signal)).toEqual({ outcome: "cancelled" });
  });

  test("during a batch keeps what finished and answers the rest, once and for all (10, 12)", async () => {
    const controller = new AbortController();
    const fast = tool("fast");
    const slow = tool("slow", async (_input, { signal }) => await scripted.untilAborted(signal));
    const model = script(
      [...call("c1", "fast"), ...call("c2", "slow"), finish()],
      [...text("ok"), finish()],
    );
    const early: string[] = [];
    const { deps, events, history } = setUp(model, [fast, slow], {
      recordEarly: ({ call_id }) => {
        early.push(call_id);
        controller.abort(); // only now: one has finished, the other hangs
      },
    });
    expect(await runTurns(deps, controller.signal)).toEqual({ outcome: "cancelled" });
    expect(outline(history).slice(-2)).toEqual([
      "result c1 fast done",
      "result c2 [Interrupted by user] (error)",
    ]);
    expect(dataOf(events, "tool_result").map((data) => data.is_error)).toEqual([false, true]);

    history.append(textMessage("user", "go on"));
    expect(await runTurns(deps, never)).toEqual({ outcome: "finished" });
    expect(early).toEqual(["c1"]);
    expect(fast.calls).toHaveLength(1);
    expect(slow.calls).toHaveLength(1);
    expect(pairingFault(model.requests[1]?.items ?? [])).toBeUndefined();
    expect(deps.turns.current).toBe(2);
  });
});
