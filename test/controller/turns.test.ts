/**
 * A controller over the real turn loop: what a person does to a run, and what the next request then
 * shows the model. Numbers are those of spec worker-and-tools 7.
 */
import { describe, expect, test } from "bun:test";
import { Compaction } from "../../src/controller/compaction.ts";
import { notificationText } from "../../src/prompts/notices.ts";
import type { Event } from "../../src/protocol/event.ts";
import { type Item, messageText } from "../../src/protocol/history.ts";
import type { Method } from "../../src/protocol/method.ts";
import type { Segment } from "../../src/protocol/segment.ts";
import type { Tool } from "../../src/tools/tool.ts";
import { History } from "../../src/worker/history.ts";
import { type LoopDependencies, runTurns } from "../../src/worker/loop.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { within } from "../support/temp.ts";
import * as scripted from "../worker/scripted.ts";
import { notifyOf, runOf, setUp } from "./harness.ts";

const { call, dataOf, finish, outline, script, text, tool } = scripted;

/** A Pod whose runs are real ones, with this model and these tools. */
function conversing(
  model: ReturnType<typeof script>,
  tools: readonly Tool[] = [],
  more: (history: History, emit: (event: Event) => void) => Partial<LoopDependencies> = () => ({}),
) {
  const events: Event[] = [];
  const history = new History();
  let changed = Promise.withResolvers<void>();
  let deps: LoopDependencies | undefined;
  const pod = setUp({
    history,
    wrapNotice: notificationText,
    broadcast: (event) => {
      events.push(event);
      changed.resolve();
      changed = Promise.withResolvers();
    },
    runTurns: (signal) => {
      const emit = (event: Event): void => pod.controller.publish(event);
      const takeNotices: LoopDependencies["takeNotices"] = (keep) =>
        pod.controller.takeNotices(keep);
      // Once for all runs: the number of the turn goes on.
      deps ??= scripted.setUp(model, tools, {
        history,
        emit,
        takeNotices,
        ...more(history, emit),
      }).deps;
      return runTurns(deps, signal);
    },
  });
  const client = pod.client();
  let ends = 0;
  return {
    events,
    history,
    client,
    send: async (method: Method) => await pod.send(client, method),
    /** How the next run to end has ended. */
    async ended(): Promise<string | undefined> {
      ends += 1;
      const seen = (): number => dataOf(events, "run_end").length;
      while (seen() < ends) await within(changed.promise, 5000, `the end of run ${ends}`);
      return dataOf(events, "run_end")[ends - 1]?.result;
    },
    [Symbol.asyncDispose]: async () => await pod[Symbol.asyncDispose](),
  };
}

/** The items of a request, in a line each. */
const shown = (items: readonly Item[] | undefined): string[] =>
  (items ?? []).map((item) =>
    item.type === "message"
      ? `${item.role}: ${messageText(item)}`
      : item.type === "tool_result"
        ? `result ${item.call_id} ${item.summary}`
        : item.type,
  );

/** A tool that hangs until it is told to stop; `begun` resolves when it is at work. */
function hanging(name: string) {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const made = tool(name, async (_input, { signal }) => {
    resolve();
    return await scripted.untilAborted(signal);
  });
  return Object.assign(made, { begun });
}

describe("a pause", () => {
  test("during an answer keeps nothing of it; the run goes on with a new one (worker 9)", async () => {
    const streaming = Promise.withResolvers<void>();
    const model = script(
      async function* (signal) {
        yield { type: "text_delta", block: "t", text: "partial" };
        streaming.resolve();
        await scripted.aborted(signal);
      },
      [...text("done"), finish()],
    );
    await using pod = conversing(model);
    await pod.send(runOf("hi"));
    await within(streaming.promise, 5000, "the answer");
    expect(dataOf(pod.events, "text_delta")).toEqual([{ text: "partial" }]);
    await pod.send({ method: "pause" });
    expect(await pod.ended()).toBe("paused");
    await pod.send({ method: "resume" });
    expect(await pod.ended()).toBe("finished");
    expect(outline(pod.history)).toEqual(["user: hi", "assistant: done"]);
    expect(dataOf(pod.events, "run_end").map(({ result }) => result)).toEqual([
      "paused",
      "finished",
    ]);
    expect(dataOf(pod.events, "error")).toEqual([]);
  });

  test("during a tool, then an input: its result, the note, the input are what is sent (worker 10)", async () => {
    const slow = hanging("slow");
    const model = script([...call("c1", "slow"), finish("tool_calls")], [...text("ok"), finish()]);
    await using pod = conversing(model, [slow]);
    await pod.send(runOf("first"));
    await within(slow.begun, 5000, "the tool");
    await pod.send({ method: "pause" });
    expect(await pod.ended()).toBe("paused");
    await pod.send(runOf("second"));
    expect(await pod.ended()).toBe("finished");
    const items = model.requests[1]?.items ?? [];
    expect(shown(items)).toEqual([
      "user: first",
      "tool_call",
      "result c1 [Interrupted by user]",
      expect.stringMatching(/^system: .*interrupted by the user/),
      "user: second",
    ]);
    expect(pairingFault(items)).toBeUndefined();
    expect(slow.calls).toHaveLength(1);
  });

  test("that a hook wants keeps both calls back until the run is resumed (worker 13)", async () => {
    const tools = [tool("a"), tool("b")];
    const model = script(
      [...call("c1", "a"), ...call("c2", "b"), finish("tool_calls")],
      [...text("ok"), finish()],
    );
    let asked = 0;
    await using pod = conversing(model, tools, () => ({
      hooks: { beforeCall: () => ({ decision: (asked += 1) === 2 ? "pause" : "run" }) },
    }));
    await pod.send(runOf("hi"));
    expect(await pod.ended()).toBe("paused");
    expect(tools.map(({ calls }) => calls.length)).toEqual([0, 0]);
    await pod.send({ method: "resume" });
    expect(await pod.ended()).toBe("finished");
    expect(tools.map(({ calls }) => calls.length)).toEqual([1, 1]);
    expect(outline(pod.history).slice(-3)).toEqual([
      "result c1 a done",
      "result c2 b done",
      "assistant: ok",
    ]);
  });
});

test("a cancel keeps the result that was there, answers the other, and nothing runs again (worker 12)", async () => {
  const [fast, slow] = [tool("fast"), hanging("slow")];
  const done = Promise.withResolvers<void>();
  const model = script(
    [...call("c1", "fast"), ...call("c2", "slow"), finish("tool_calls")],
    [...text("ok"), finish()],
  );
  await using pod = conversing(model, [fast, slow], () => ({ recordEarly: () => done.resolve() }));
  await pod.send(runOf("first"));
  await within(Promise.all([done.promise, slow.begun]), 5000, "the first result");
  await pod.send({ method: "cancel" });
  await pod.ended();
  expect(dataOf(pod.events, "error")).toEqual([{ code: "internal", message: "Cancelled" }]);
  await pod.send(runOf("second"));
  expect(await pod.ended()).toBe("finished");
  expect(shown(model.requests[1]?.items)).toEqual([
    "user: first",
    "tool_call",
    "tool_call",
    "result c1 fast done",
    "result c2 [Interrupted by user]",
    "user: second",
  ]);
  expect([fast.calls.length, slow.calls.length]).toEqual([1, 1]);
});

describe("notes", () => {
  test("that wait come behind the input, in their order, and only once (worker 21)", async () => {
    const slow = hanging("slow");
    const model = script(
      [...call("c1", "slow"), finish("tool_calls")],
      [...text("ok"), finish()],
      [finish()],
    );
    await using pod = conversing(model, [slow]);
    await pod.send(runOf("first"));
    await within(slow.begun, 5000, "the tool");
    for (const name of ["one", "two"]) await pod.send(notifyOf(name));
    const before = outline(pod.history);
    await pod.send({ method: "pause" });
    await pod.ended();
    // Whatever waits is not in the history before a request carries it; then it stays there (W11).
    expect(outline(pod.history).slice(0, before.length)).toEqual(before);
    expect(outline(pod.history).join()).not.toContain("[Notification]");
    await pod.send(runOf("second"));
    await pod.ended();
    const items = shown(model.requests[1]?.items);
    expect(items.slice(-3)).toEqual([
      "user: second",
      expect.stringMatching(/^system: \[Notification\]\none\n/),
      expect.stringMatching(/^system: \[Notification\]\ntwo\n/),
    ]);
    await pod.send({ method: "status" });
    expect(pod.client.received.at(-1)).toMatchObject({ event: "status", data: { pending: 0 } });
    await pod.send(runOf("third"));
    await pod.ended();
    const told = shown(model.requests[2]?.items).filter((item) => item.includes("[Notification]"));
    expect(told).toEqual(items.slice(-2));
  });

  test("wake an idle Pod: one request, nothing typed, the note at its end (worker 29)", async () => {
    const model = script([...text("hello"), finish()], [...text("noted"), finish()]);
    await using pod = conversing(model);
    await pod.send(runOf("hi"));
    await pod.ended();
    await pod.send(notifyOf("the build is done"));
    expect(await pod.ended()).toBe("finished");
    expect(model.requests).toHaveLength(2);
    const items = shown(model.requests[1]?.items);
    expect(items.slice(0, 2)).toEqual(["user: hi", "assistant: hello"]);
    expect(items.slice(2)).toEqual([
      expect.stringMatching(
        /^system: \[Notification\]\nthe build is done\n\n.*not a blocking request/,
      ),
    ]);
    expect(dataOf(pod.events, "user_message")).toHaveLength(1);
  });

  test("wait while a conversation that is too long is summarised first (worker 22)", async () => {
    const model = script([...text("x".repeat(4000)), finish()], [...text("noted"), finish()]);
    const summarising = Promise.withResolvers<number>();
    const summarised = Promise.withResolvers<void>();
    // There are no hooks before a request here: what could run too early is the request itself.
    await using pod = conversing(model, [], (history, emit) => {
      const compaction = new Compaction({
        history,
        settings: {
          prune_protected_turns: 3,
          prune_min_savings: 4096,
          compact_request_threshold: 500,
          compact_retained_tokens: 0,
        },
        retainedTokens: 0,
        marks: [],
        summarise: async () => {
          summarising.resolve(model.requests.length);
          await summarised.promise;
          return { text: "short", marks: [], references: [] };
        },
        readLines: () => Promise.reject(new Error("nothing is marked")),
        recentFiles: () => [],
        commit: () => Promise.resolve("session-2"),
        emit,
        alert: () => undefined,
      });
      return { compaction };
    });
    await pod.send(runOf("hi"));
    await pod.ended();
    await pod.send(notifyOf("the build is done"));
    expect(await within(summarising.promise, 5000, "the summary")).toBe(1);
    await pod.send({ method: "status" });
    expect(pod.client.received.at(-1)).toMatchObject({ event: "status", data: { pending: 1 } });
    expect(outline(pod.history).join()).not.toContain("[Notification]");
    summarised.resolve();
    expect(await pod.ended()).toBe("finished");
    const items = shown(model.requests[1]?.items);
    expect(items[0]).toContain("[Compacted context summary]");
    expect(items.at(-1)).toStartWith("system: [Notification]\nthe build is done");
  });
});

test("a paste is in the user item as it was pasted, and echoed as it was typed (worker 30)", async () => {
  const model = script([...text("ok"), finish()]);
  await using pod = conversing(model);
  const input: Segment[] = [
    { kind: "text", content: "see " },
    { kind: "paste", id: 1, chars: 11, lines: 2, content: "line1\nline2" },
    { kind: "text", content: " please" },
  ];
  await pod.send({ method: "run", params: { input } });
  await pod.ended();
  expect(shown(model.requests[0]?.items)).toEqual(["user: see line1\nline2 please"]);
  expect(dataOf(pod.events, "user_message")).toEqual([{ segments: input }]);
});
