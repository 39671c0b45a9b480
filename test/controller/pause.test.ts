import { describe, expect, test } from "bun:test";
import { PAUSED_STATE } from "../../src/controller/state.ts";
import type { Event } from "../../src/protocol/event.ts";
import { messageText, textMessage } from "../../src/protocol/history.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { type Harness, notifyOf, runOf, SELF, setUp, settle } from "./harness.ts";

const finished: RunEnd = { outcome: "finished" };
const stopped: RunEnd = { outcome: "cancelled" };
const pausedEnd: Event = { event: "run_end", data: { result: "paused", outcome: "paused" } };

/** A pod whose first run was paused. */
async function paused(pod: Harness): Promise<void> {
  const client = pod.client();
  await pod.send(client, runOf("first"));
  const run = await pod.nextRun();
  run.take();
  await pod.send(client, { method: "pause" });
  await run.end(stopped);
}

const roles = (pod: Harness): string[] =>
  pod.history.items.map((item) =>
    item.type === "message" ? `${item.role}: ${messageText(item)}` : item.type,
  );

describe("a pause", () => {
  test("ends the run as paused, without an error, and the parent is told (9, W55)", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "pause", id: "p" });
    expect(client.received).toEqual([{ event: "ack", data: { id: "p" } }]);
    expect(run.signal.aborted).toBe(true);
    expect(pod.controller.phase).toBe("running");
    await run.end(stopped);
    expect(pod.controller.phase).toBe("paused");
    expect(pod.broadcasts.at(-1)).toEqual(pausedEnd);
    expect(pod.names()).toEqual(["user_message", "run_end"]);
    expect(pod.published("status")).toMatchObject({ state: "paused" });
    expect(pod.reports).toEqual([
      { kind: "turn_paused", pod_name: SELF.name, instance: SELF.instance },
    ]);
  });

  test("is left by resume: the same run goes on, without a new item, and is reported when it ends", async () => {
    await using pod = setUp();
    await paused(pod);
    const before = roles(pod);
    const client = pod.client();
    await pod.send(client, { method: "resume", id: "r" });
    const run = await pod.nextRun();
    expect(client.received).toEqual([{ event: "ack", data: { id: "r" } }]);
    expect(run.signal.aborted).toBe(false);
    expect(roles(pod)).toEqual(before);
    await run.end(finished);
    expect(pod.names()).toEqual(["user_message", "run_end", "run_end"]);
    expect(pod.reports.map(({ kind }) => kind)).toEqual(["turn_paused", "turn_ended"]);
    expect(pod.controller.phase).toBe("idle");
  });

  test("is left by a new run: open calls are closed, the model is told, then the input (10)", async () => {
    await using pod = setUp();
    await paused(pod);
    pod.history.append(
      { type: "tool_call", call_id: "c1", name: "Read", arguments: "{}" },
      { type: "tool_call", call_id: "c2", name: "Read", arguments: "{}" },
    );
    await pod.send(pod.client(), runOf("second", "x"));
    await (await pod.nextRun()).end(finished);
    expect(pod.history.items.slice(1)).toMatchObject([
      { type: "tool_call", call_id: "c1" },
      { type: "tool_call", call_id: "c2" },
      { type: "tool_result", call_id: "c1", summary: "[Interrupted by user]", is_error: true },
      { type: "tool_result", call_id: "c2", summary: "[Interrupted by user]", is_error: true },
      textMessage(
        "system",
        "[The previous turn was interrupted by the user. The user's next request follows.]",
      ),
      textMessage("user", "second"),
    ]);
    expect(pod.names()).toEqual(["user_message", "run_end", "user_message", "run_end"]);
  });

  test("of a paused pod is taken silently, and a cancel finds nothing running", async () => {
    await using pod = setUp();
    await paused(pod);
    const client = pod.client();
    await pod.send(client, { method: "pause", id: "p" });
    await pod.send(client, { method: "cancel", id: "c" });
    expect(client.received).toEqual([
      { event: "ack", data: { id: "p" } },
      { event: "error", data: { code: "not_running", message: "Pod is not running", id: "c" } },
    ]);
    expect(pod.controller.phase).toBe("paused");
  });

  test("keeps notices and reports until it is left", async () => {
    await using pod = setUp();
    await paused(pod);
    const client = pod.client();
    await pod.send(client, notifyOf("news"));
    pod.controller.notice("report", true, "e1");
    await settle();
    expect(pod.runs).toBe(1);
    await pod.send(client, { method: "status" });
    expect(client.received.at(-1)).toMatchObject({ data: { state: "paused", pending: 0 } });
    await pod.send(client, { method: "resume" });
    const run = await pod.nextRun();
    expect(run.take()).toEqual(["[Notification] news", "[Notification] report"]);
    await run.end(finished);
  });

  test("that a cancel follows, or that follows a cancel, is a pause (spec 7.4)", async () => {
    for (const methods of [["pause", "cancel"] as const, ["cancel", "pause"] as const]) {
      await using pod = setUp();
      const client = pod.client();
      await pod.send(client, runOf("hi"));
      const run = await pod.nextRun();
      for (const method of methods) await pod.send(client, { method });
      await run.end(stopped);
      expect(pod.broadcasts.at(-1)).toEqual(pausedEnd);
    }
  });

  test("that came too late has no effect: the run had ended by itself", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "pause" });
    await run.end(finished);
    expect(pod.controller.phase).toBe("idle");
    expect(pod.reports.map(({ kind }) => kind)).toEqual(["turn_ended"]);
  });

  test("of a run that notices started keeps it one that nobody asked for", async () => {
    await using pod = setUp();
    const client = pod.client();
    pod.controller.notice("news", true);
    const run = await pod.nextRun();
    run.take();
    await pod.send(client, { method: "pause" });
    await run.end(stopped);
    await pod.send(client, { method: "resume" });
    await (await pod.nextRun()).end(finished);
    expect(pod.reports.map(({ kind }) => kind)).toEqual(["turn_paused"]);
  });

  test("and a shutdown end the pod: paused, then the end, and no report of either", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "pause" });
    await pod.send(client, { method: "shutdown" });
    await run.end(stopped);
    expect(pod.log.slice(-2)).toEqual(["run_end", "finish"]);
    expect(pod.broadcasts.at(-1)).toEqual(pausedEnd);
    expect(pod.reports).toEqual([]);
  });

  test("survives in a pod that comes back to it: resume works and late clients see it (W22)", async () => {
    await using pod = setUp({ initial: PAUSED_STATE });
    const client = pod.client();
    await pod.send(client, { method: "get_history" });
    expect(client.received[0]).toMatchObject({ event: "history", data: { status: "paused" } });
    expect(client.received[1]).toEqual(pausedEnd);
    await pod.send(client, { method: "resume" });
    await (await pod.nextRun()).end(finished);
    expect(pod.reports.map(({ kind }) => kind)).toEqual(["turn_ended"]);
  });
});

describe("methods that come in one burst", () => {
  test("are all taken, in their order: nothing is lost (W6)", async () => {
    await using pod = setUp();
    const [one, two] = [pod.client(), pod.client()];
    const burst = [
      pod.send(one, runOf("a", "1")),
      pod.send(two, runOf("b", "2")),
      pod.send(one, notifyOf("n", "3")),
      pod.send(two, { method: "pause", id: "4" }),
      pod.send(one, { method: "resume", id: "5" }),
      pod.send(one, { method: "status", id: "6" }),
      pod.send(two, { method: "get_history", id: "7" }),
    ];
    await Promise.all(burst);
    const run = await pod.nextRun();
    // The pause came before the run had begun: it is not lost.
    expect(run.signal.aborted).toBe(true);
    const answers = (client: typeof one) =>
      client.received.flatMap((event) =>
        event.event === "ack"
          ? [`ack ${event.data.id}`]
          : event.event === "error"
            ? [`${event.data.code} ${event.data.id}`]
            : [],
      );
    // Those of the run and of the note came when they were on the disk.
    expect(answers(one)).toEqual(["already_running 5", "ack 6", "ack 1", "ack 3"]);
    expect(answers(two)).toEqual(["already_running 2", "ack 4", "ack 7"]);
    await run.end(stopped);
    expect(pod.controller.phase).toBe("paused");
    await pod.send(one, { method: "resume" });
    expect((await pod.nextRun()).take()).toEqual(["[Notification] n"]);
  });
});

describe("a client that comes late", () => {
  test("gets the history, then the running request so far, and then what happens (W8)", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    pod.controller.publish({ event: "turn_start", data: { turn: 0 } });
    for (const text of ["par", "tial"]) {
      pod.controller.publish({ event: "text_delta", data: { text } });
    }
    const late = pod.client();
    pod.controller.opened(late);
    expect(late.received).toEqual([]);
    await pod.send(late, { method: "get_history", id: "h" });
    expect(late.received.map(({ event }) => event)).toEqual([
      "history",
      "turn_start",
      "text_delta",
      "ack",
    ]);
    expect(late.received[2]).toEqual({ event: "text_delta", data: { text: "partial" } });
    // Who asks again has seen it.
    await pod.send(late, { method: "get_history" });
    expect(late.received.slice(4).map(({ event }) => event)).toEqual(["history"]);
    await run.end(finished);
  });

  test("gets nothing but the history of a pod that is idle", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    pod.controller.publish({ event: "turn_start", data: { turn: 0 } });
    await run.end(finished);
    const late = pod.client();
    await pod.send(late, { method: "get_history" });
    expect(late.received.map(({ event }) => event)).toEqual(["history"]);
  });
});
