/** Requests for runs, their answers, and how the end of a run is told. */
import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/protocol/event.ts";
import { textMessage } from "../../src/protocol/history.ts";
import { History } from "../../src/worker/history.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { errorOf, finished, runOf, SELF, SESSION, setUp, settle } from "./harness.ts";

const BUSY = "Pod is already executing a turn";

describe("a run that was asked for", () => {
  test("is shown to everybody, acknowledged to its sender, run, ended and reported, in this order", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi", "r1"));
    const run = await pod.nextRun();
    expect(pod.log).toEqual(["user_message", "ack c1", "run"]);
    expect(client.received).toEqual([{ event: "ack", data: { id: "r1" } }]);
    expect(pod.broadcasts).toEqual([
      { event: "user_message", data: { segments: [{ kind: "text", content: "hi" }] } },
    ]);
    expect(pod.userTexts()).toEqual(["hi"]);
    await run.end(finished);
    expect(pod.log).toEqual(["user_message", "ack c1", "run", "run_end", "report turn_ended"]);
    expect(pod.broadcasts.at(-1)).toEqual({
      event: "run_end",
      data: { result: "finished", outcome: "finished" },
    });
    expect(pod.reports).toEqual([
      { kind: "turn_ended", pod_name: SELF.name, instance: SELF.instance },
    ]);
    expect(pod.controller.phase).toBe("idle");
  });

  test("is acknowledged only when it has an id", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    await (await pod.nextRun()).end(finished);
    expect(client.received).toEqual([]);
  });

  test("is not shown as it was typed when a compaction has given its id to another message", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("first"));
    await (await pod.nextRun()).end(finished);
    pod.history.rebase([
      { ...textMessage("system", "[Compacted context summary]"), id: "i000001" },
      { ...textMessage("user", "other words"), id: "i000002" },
    ]);
    await pod.send(client, { method: "get_history" });
    const shown = client.received.at(-1);
    expect(JSON.stringify(shown)).toContain("other words");
    expect(JSON.stringify(shown)).not.toContain("segments");
  });

  test("is in the history with its segments joined, and shown again as it was typed", async () => {
    await using pod = setUp();
    const client = pod.client();
    const input = [
      { kind: "text", content: "see " },
      { kind: "file_ref", path: "a.txt" },
    ] as const;
    await pod.send(client, { method: "run", params: { input: [...input] } });
    await (await pod.nextRun()).end(finished);
    expect(pod.userTexts()).toEqual(["see @a.txt"]);
    await pod.send(client, { method: "get_history" });
    const history = client.received[0];
    expect(history?.event === "history" && history.data.items).toEqual([
      { ...textMessage("user", "see @a.txt"), id: "i000001", segments: [...input] },
    ]);
  });

  test("begins after the bodies of its files are in the history", async () => {
    const attached = textMessage("system", "[File: a.txt]\nA");
    await using pod = setUp({ attach: async () => [attached] });
    await pod.send(pod.client(), runOf("see @a.txt"));
    await pod.nextRun();
    expect(pod.history.items.map((item) => item.type === "message" && item.role)).toEqual([
      "user",
      "system",
    ]);
  });

  test("is running in status.json, and everything published is true when its end is announced (W9)", async () => {
    const seen: unknown[] = [];
    await using pod = setUp({
      broadcast: (event: Event) => {
        if (event.event === "run_end") seen.push(pod.published("status"), pod.published("history"));
      },
    });
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    const status = { instance: SELF.instance, pod_name: SELF.name, session_id: SESSION };
    expect(pod.published("status")).toEqual({ ...status, state: "running" });
    pod.history.append(textMessage("assistant", "hello"));
    await run.end(finished);
    const items = [
      { ...textMessage("user", "hi"), id: "i000001" },
      { ...textMessage("assistant", "hello"), id: "i000002" },
    ];
    expect(seen).toEqual([{ ...status, state: "idle" }, items]);
  });

  test("that is empty is refused to its sender and starts nothing", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, { method: "run", id: "r1", params: { input: [] } });
    await settle();
    expect(client.received).toEqual([
      errorOf("internal", "run needs at least one segment of input", "r1"),
    ] as Event[]);
    expect(pod.broadcasts).toEqual([]);
    expect(pod.runs).toBe(0);
  });

  test("is refused while another one runs, and that one goes on untouched", async () => {
    await using pod = setUp();
    const [first, second] = [pod.client(), pod.client()];
    await pod.send(first, runOf("one", "a"));
    const run = await pod.nextRun();
    await pod.send(second, runOf("two", "b"));
    expect(second.received).toEqual([errorOf("already_running", BUSY, "b")] as Event[]);
    expect(first.received).toEqual([{ event: "ack", data: { id: "a" } }]);
    await run.end(finished);
    expect(pod.userTexts()).toEqual(["one"]);
    expect(pod.names()).toEqual(["user_message", "run_end"]);
  });

  test("can be asked for by this process, which learns whether it was taken", async () => {
    await using pod = setUp();
    const input = [{ kind: "text", content: "hi" }] as const;
    expect(pod.controller.run([])).toBe(false);
    expect(pod.controller.run(input)).toBe(true);
    expect(pod.controller.run(input)).toBe(false);
    await (await pod.nextRun()).end(finished);
    expect(pod.controller.run(input)).toBe(true);
  });
});

describe("an answer", () => {
  test("to something that cannot be now goes to its sender alone, with its id (W2)", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, { method: "cancel", id: "c" });
    await pod.send(client, { method: "resume", id: "r" });
    await pod.send(client, { method: "pause" });
    expect(client.received).toEqual([
      errorOf("not_running", "Pod is not running", "c"),
      errorOf("not_paused", "Pod is not paused", "r"),
      errorOf("not_running", "Pod is not running"),
    ] as Event[]);
    expect(pod.broadcasts).toEqual([]);
  });

  test("to get_history and status comes before the ack, in any state, and to nobody else", async () => {
    await using pod = setUp({ unreported: () => 2 });
    const [client, other] = [pod.client(), pod.client()];
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    pod.controller.notice("wait", true);
    await pod.send(client, { method: "get_history", id: "h" });
    await pod.send(client, { method: "status", id: "s" });
    expect(pod.log.slice(2)).toEqual(
      ["run", "history c1", "ack c1", "status c1", "ack c1"].slice(1),
    );
    const [history, , status] = client.received;
    expect(history?.event === "history" && history.data.status).toBe("running");
    expect(history?.event === "history" && history.data.items).toHaveLength(1);
    expect(status).toEqual({
      event: "status",
      data: {
        state: "running",
        pod_name: SELF.name,
        instance: SELF.instance,
        pid: process.pid,
        runs: 1,
        pending: 3,
      },
    });
    expect(other.received).toEqual([]);
    await run.end(finished);
  });
});

describe("the end of a run", () => {
  const ends: readonly (readonly [RunEnd, string, string])[] = [
    [finished, "finished finished", "turn_ended"],
    [{ outcome: "finished", remark: "half an answer" }, "finished finished", "errored"],
    [{ outcome: "limit_reached" }, "limit_reached limit_reached", "errored"],
    [{ outcome: "cancelled" }, "finished cancelled", ""], // nobody cancelled it but a shutdown
    [{ outcome: "error", code: "provider_error", message: "no" }, "finished error", "errored"],
  ];
  for (const [end, announced, reported] of ends) {
    test(`${end.outcome}: one run_end (${announced}), the parent gets ${reported || "nothing"}`, async () => {
      await using pod = setUp();
      await pod.send(pod.client(), runOf("hi"));
      await (await pod.nextRun()).end(end);
      const last = pod.broadcasts.filter(({ event }) => event === "run_end");
      expect(last).toHaveLength(1);
      const [only] = last;
      expect(only?.event === "run_end" && `${only.data.result} ${only.data.outcome}`).toBe(
        announced,
      );
      expect(pod.reports.map(({ kind }) => kind).join()).toBe(reported);
    });
  }

  test("by a failure is told as an error first, in the provider's words", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const end: RunEnd = { outcome: "error", code: "provider_error", message: "Client error: 529" };
    await (await pod.nextRun()).end(end);
    expect(pod.broadcasts.slice(1, 2)).toEqual([
      errorOf("provider_error", "Client error: 529"),
    ] as Event[]);
    expect(pod.names()).toEqual(["user_message", "error", "run_end"]);
    expect(pod.reports).toEqual([
      {
        kind: "errored",
        pod_name: SELF.name,
        instance: SELF.instance,
        message: "Client error: 529",
      },
    ]);
  });

  test("by a cancel is told as the reference tells it, then by run_end (W3)", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "cancel", id: "c" });
    expect(run.signal.aborted).toBe(true);
    expect(client.received).toEqual([{ event: "ack", data: { id: "c" } }]);
    await run.end({ outcome: "cancelled" });
    expect(pod.broadcasts.slice(1)).toEqual([
      errorOf("internal", "Cancelled"),
      { event: "run_end", data: { result: "finished", outcome: "cancelled" } },
    ] as Event[]);
    // The parent may be waiting for it (W55).
    expect(pod.reports).toEqual([
      { kind: "turn_cancelled", pod_name: SELF.name, instance: SELF.instance },
    ]);
  });

  test("at the turn limit says so to the parent (W55)", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    await (await pod.nextRun()).end({ outcome: "limit_reached" });
    expect(pod.reports[0]).toMatchObject({ message: "the turn limit (max_turns) was reached" });
  });

  test("comes also when the run breaks inside the program", async () => {
    await using pod = setUp({ runTurns: () => Promise.reject(new Error("bug")) });
    await pod.send(pod.client(), runOf("hi"));
    await settle();
    expect(pod.names()).toEqual(["user_message", "error", "run_end"]);
    expect(pod.controller.phase).toBe("idle");
  });

  test("comes also when the input cannot be kept", async () => {
    const history = new History(() => {
      throw new Error("disk full");
    });
    await using pod = setUp({ history });
    const client = pod.client();
    await pod.send(client, runOf("hi", "r1"));
    await settle();
    expect(client.received).toEqual([
      errorOf("internal", "internal error; see the pod's log", "r1"),
    ] as Event[]);
    // Nobody but its sender waits for a run that was not taken.
    expect(pod.names()).toEqual(["error", "run_end"]);
    expect(pod.reports).toEqual([]);
    expect(pod.runs).toBe(0);
    expect(pod.controller.phase).toBe("idle");
  });

  test("is the end for a cancel that came while files were still read", async () => {
    const attached = Promise.withResolvers<[]>();
    await using pod = setUp({ attach: () => attached.promise });
    const client = pod.client();
    const sent = pod.send(client, runOf("see @a"));
    await pod.send(client, { method: "cancel" });
    attached.resolve([]);
    await sent;
    expect((await pod.nextRun()).signal.aborted).toBe(true);
  });
});
