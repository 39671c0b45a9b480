import { describe, expect, test } from "bun:test";
import { MAX_NOTICES } from "../../src/controller/notices.ts";
import type { Event } from "../../src/protocol/event.ts";
import { textMessage } from "../../src/protocol/history.ts";
import type { PodEvent } from "../../src/protocol/method.ts";
import { MAX_QUEUE_BYTES } from "../../src/transport/server.ts";
import { History } from "../../src/worker/history.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { notifyOf, runOf, SELF, SESSION, setUp, settle, textsOf } from "./harness.ts";

const finished: RunEnd = { outcome: "finished" };
const errorOf = (code: string, message: string, id?: string) => ({
  event: "error",
  data: { code, message, ...(id === undefined ? {} : { id }) },
});
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

describe("a notice", () => {
  test("wakes an idle pod: a run without user message, not reported upward (scenario 100)", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, notifyOf("news", "n"));
    const run = await pod.nextRun();
    expect(client.received).toEqual([{ event: "ack", data: { id: "n" } }]);
    expect(run.take()).toEqual(["[Notification] news"]);
    await run.end(finished);
    expect(pod.names()).toEqual(["run_end"]);
    expect(pod.reports).toEqual([]);
    expect(pod.userTexts()).toEqual([]);
  });

  test("of bookkeeping waits for the next run (W68)", async () => {
    await using pod = setUp();
    pod.controller.notice("quiet", false);
    await settle();
    expect(pod.runs).toBe(0);
    await pod.send(pod.client(), runOf("hi"));
    expect((await pod.nextRun()).take()).toEqual(["[Notification] quiet"]);
  });

  test("joins the run that is going on", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    pod.controller.notice("news", true);
    expect(run.take()).toEqual(["[Notification] news"]);
    await run.end(finished);
    expect(pod.runs).toBe(1);
  });

  test("that comes after a run's last request starts another run (W7)", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    run.take();
    pod.controller.notice("late", true);
    await run.end(finished);
    const second = await pod.nextRun();
    expect(pod.names()).toEqual(["user_message", "run_end"]);
    expect(second.take()).toEqual(["[Notification] late"]);
    await second.end(finished);
    expect(pod.names()).toEqual(["user_message", "run_end", "run_end"]);
    expect(pod.reports).toHaveLength(1);
    expect(pod.runs).toBe(2);
  });

  test("waits after a cancel until somebody asks for something", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    run.take();
    pod.controller.notice("late", true);
    pod.controller.cancel();
    await run.end({ outcome: "cancelled" });
    await settle();
    expect(pod.runs).toBe(1);
    expect(pod.controller.phase).toBe("idle");
    // Whoever waits for the tree to be quiet does not wait for it.
    await pod.send(client, { method: "status" });
    expect(client.received.at(-1)).toMatchObject({ data: { state: "idle", pending: 0 } });
    await pod.send(client, runOf("again"));
    expect((await pod.nextRun()).take()).toEqual(["[Notification] late"]);
  });

  test("that no request could be made for waits too: a broken prompt makes no endless loop", async () => {
    let runs = 0;
    await using pod = setUp({
      runTurns: async () => {
        runs += 1;
        if (runs > 5) return await new Promise<RunEnd>(() => undefined);
        return { outcome: "error", code: "internal", message: "no system prompt" };
      },
    });
    pod.controller.notice("news", true);
    await settle();
    await settle();
    expect(runs).toBe(1);
    expect(pod.controller.phase).toBe("idle");
    // The next news is a reason to try again, with both.
    pod.controller.notice("more", true);
    await settle();
    expect(runs).toBe(2);
    expect(textsOf(pod.controller)).toEqual(["[Notification] news", "[Notification] more"]);
  });

  test("that came during a run which failed after its request starts another run", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    run.take();
    pod.controller.notice("late", true);
    await run.end({ outcome: "error", code: "provider_error", message: "529" });
    expect((await pod.nextRun()).take()).toEqual(["[Notification] late"]);
  });

  test("is dropped as the oldest of 129, and an alert says so (W7)", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), runOf("hi"));
    const run = await pod.nextRun();
    for (let n = 0; n <= MAX_NOTICES; n += 1) pod.controller.notice(`n${n}`, true);
    const texts = run.take();
    expect(texts).toHaveLength(MAX_NOTICES);
    expect(texts[0]).toBe("[Notification] n1");
    const alerts = pod.broadcasts.flatMap((event) => (event.event === "alert" ? [event.data] : []));
    expect(alerts).toMatchObject([
      {
        level: "warn",
        source: "pod",
        message: "too many notices are waiting; the oldest was dropped",
      },
    ]);
  });
});

describe("an alert", () => {
  test("is told to all at once, and again to each client that comes later, oldest first", async () => {
    await using pod = setUp();
    pod.controller.alert("warn", "pod", "one");
    pod.controller.alert("error", "agents_md", "two");
    expect(pod.names()).toEqual(["alert", "alert"]);
    const late = pod.client();
    pod.controller.opened(late);
    expect(late.received).toEqual(pod.broadcasts);
  });

  test("of a run is kept like any other, and other events are not", async () => {
    await using pod = setUp();
    const data = { level: "warn", source: "worker", message: "cut", timestamp_ms: 1 } as const;
    pod.controller.publish({ event: "alert", data });
    pod.controller.publish({ event: "text_delta", data: { text: "x" } });
    expect(pod.names()).toEqual(["alert", "text_delta"]);
    const late = pod.client();
    pod.controller.opened(late);
    expect(late.received).toEqual([{ event: "alert", data }]);
  });

  test("is kept with the 511 before it", async () => {
    await using pod = setUp();
    for (let n = 0; n < 600; n += 1) pod.controller.alert("warn", "pod", `a${n}`);
    const late = pod.client();
    pod.controller.opened(late);
    const messages = late.received.map((event) => event.event === "alert" && event.data.message);
    expect(messages).toHaveLength(512);
    expect([messages[0], messages.at(-1)]).toEqual(["a88", "a599"]);
  });

  test("is cut when it is long: what is replayed always fits before a client", async () => {
    await using pod = setUp();
    const path = "ü".repeat(1024 * 1024);
    for (let n = 0; n < 600; n += 1) pod.controller.alert("warn", "pod", `file ref @${path} ${n}`);
    const late = pod.client();
    pod.controller.opened(late);
    expect(late.received).toHaveLength(512);
    const size = late.received.reduce((sum, event) => sum + JSON.stringify(event).length * 2, 0);
    expect(size).toBeLessThan(MAX_QUEUE_BYTES / 2);
    const [first] = late.received;
    expect(first?.event === "alert" && first.data.message).toStartWith("file ref @üüü");
    expect(first?.event === "alert" && first.data.message).toEndWith("…");
  });
});

describe("shutdown", () => {
  test("of an idle pod ends it once, however often it is asked", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, { method: "shutdown", id: "a" });
    await pod.send(client, { method: "shutdown", id: "b" });
    pod.controller.shutdown();
    expect(pod.log).toEqual(["ack c1", "finish", "ack c1"]);
    expect(pod.finished).toBe(1);
  });

  test("during a run ends the run first, announces its end, and then the pod", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "shutdown", id: "s" });
    expect(run.signal.aborted).toBe(true);
    expect(pod.finished).toBe(0);
    pod.controller.notice("late", true);
    await run.end({ outcome: "cancelled" });
    expect(pod.log).toEqual(["user_message", "run", "ack c1", "error", "run_end", "finish"]);
    expect(pod.reports).toEqual([]);
    expect(pod.runs).toBe(1);
  });

  test("leaves nothing more to ask for", async () => {
    await using pod = setUp();
    const client = pod.client();
    pod.controller.shutdown();
    await pod.send(client, runOf("hi", "r"));
    pod.controller.notice("late", true);
    await settle();
    expect(client.received).toEqual([errorOf("internal", "Pod is shutting down", "r")] as Event[]);
    expect(pod.runs).toBe(0);
  });
});

describe("a report of a child", () => {
  const event: PodEvent = { kind: "turn_ended", pod_name: "kid", instance: "k" };

  test("that is believed is acknowledged to its sender", async () => {
    const heard: PodEvent[] = [];
    await using pod = setUp({ childEvent: async (report) => heard.push(report) > 0 });
    const client = pod.client();
    await pod.send(client, { method: "pod_event", id: "e1", params: event });
    expect(heard).toEqual([event]);
    expect(client.received).toEqual([{ event: "ack", data: { id: "e1" } }]);
  });

  test("that is not believed, or cannot be handled, is refused to its sender alone", async () => {
    let fail = false;
    await using pod = setUp({
      childEvent: async () => {
        if (fail) throw new Error("registry locked");
        return false;
      },
    });
    const client = pod.client();
    await pod.send(client, { method: "pod_event", id: "e1", params: event });
    fail = true;
    await pod.send(client, { method: "pod_event", id: "e2", params: event });
    expect(client.received).toEqual([
      errorOf("internal", "pod_event refused: not from a known child of this pod", "e1"),
      {
        event: "error",
        data: {
          code: "internal",
          message: "pod_event could not be handled",
          id: "e2",
          retry: true,
        },
      },
    ] as Event[]);
    expect(pod.broadcasts).toEqual([]);
  });

  test("that is delivered again under its id is acknowledged and not handled again", async () => {
    let heard = 0;
    await using pod = setUp({
      childEvent: async () => {
        await settle();
        return (heard += 1) > 0;
      },
    });
    const client = pod.client();
    const method = { method: "pod_event", id: "e1", params: event } as const;
    await Promise.all([pod.send(client, method), pod.send(client, method)]);
    await pod.send(client, method);
    expect(heard).toBe(1);
    expect(client.received).toEqual(Array(3).fill({ event: "ack", data: { id: "e1" } }) as Event[]);
    await pod.send(client, { ...method, id: "e2" });
    expect(heard).toBe(2);
  });

  test("that was refused is looked at again when it comes again", async () => {
    let known = false;
    await using pod = setUp({ childEvent: async () => known });
    const client = pod.client();
    const method = { method: "pod_event", id: "e1", params: event } as const;
    await pod.send(client, method);
    known = true;
    await pod.send(client, method);
    expect(client.received.map((answer) => answer.event)).toEqual(["error", "ack"]);
  });
});
