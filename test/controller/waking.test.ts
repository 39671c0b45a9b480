/** Notices, which wake a Pod or wait for its next run, and alerts, which people see. */
import { describe, expect, test } from "bun:test";
import { MAX_NOTICES } from "../../src/controller/notices.ts";
import { MAX_QUEUE_BYTES } from "../../src/transport/server.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { finished, notifyOf, runOf, setUp, settle, textsOf } from "./harness.ts";

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
