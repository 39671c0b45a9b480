/** The order to shut down, at rest and during a run. */
import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/protocol/event.ts";
import { errorOf, runOf, setUp, settle } from "./harness.ts";

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
