/** What must survive the process, seen from the controller: reports, notices, keys of runs. */
import { describe, expect, test } from "bun:test";
import { PodError } from "../../src/base/errors.ts";
import type { ControllerDependencies } from "../../src/controller/dependencies.ts";
import { MAX_NOTICES, MAX_REPORTS } from "../../src/controller/notices.ts";
import { Mailbox, type Outgoing } from "../../src/controller/mailbox.ts";
import { WakeBudget } from "../../src/controller/wake-budget.ts";
import type { Item } from "../../src/protocol/history.ts";
import type { Method, PodEvent } from "../../src/protocol/method.ts";
import { History } from "../../src/worker/history.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { type Harness, notifyOf, runOf, SESSION, setUp, settle, textsOf } from "./harness.ts";

const finished: RunEnd = { outcome: "finished" };
const event: PodEvent = { kind: "turn_ended", pod_name: "kid", instance: "k" };
const reportOf = (id: string): Method => ({ method: "pod_event", id, params: event });

/** A Pod whose children's reports become notices, as the family makes them. */
function parent(more: Parameters<typeof setUp>[0] = {}): Harness {
  const pod: Harness = setUp({
    childEvent: async (_event, id) => {
      pod.controller.notice(`report ${id}`, true, id);
      return true;
    },
    ...more,
  });
  return pod;
}

/** A record whose disk is `settle`. */
const recordWith = (settle: () => Promise<void>): ControllerDependencies["record"] => ({
  begin: () => Promise.resolve(),
  settle,
  end: () => Promise.resolve(),
});

/** The same session in another process, after a crash of the first. */
function successor(pod: Harness, history = new History()): Harness {
  const mailbox = new Mailbox(pod.path, SESSION, () => undefined);
  return parent({ mailbox, history });
}

describe("a report of a child", () => {
  test("is on disk before it is acknowledged and wakes the model once, however often it comes", async () => {
    await using pod = parent();
    const client = pod.client();
    await pod.send(client, reportOf("e1"));
    expect(new Mailbox(pod.path, SESSION, () => undefined).incoming).toMatchObject([
      { id: "e1", text: "[Notification] report e1" },
    ]);
    expect(client.received).toEqual([{ event: "ack", data: { id: "e1" } }]);
    await pod.send(client, reportOf("e1"));
    const run = await pod.nextRun();
    expect(run.take()).toEqual(["[Notification] report e1"]);
    await pod.send(client, reportOf("e1"));
    expect(client.received).toHaveLength(3);
    await run.end(finished);
    expect(pod.runs).toBe(1);
    expect(new Mailbox(pod.path, SESSION, () => undefined).incoming).toEqual([]);
  });

  test("that the model had not heard of before a crash is told by the next process, once", async () => {
    await using pod = parent();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    (await pod.nextRun()).take();
    await pod.send(client, reportOf("e1"));
    // Killed here.
    await using after = successor(pod);
    after.controller.begin();
    expect((await after.nextRun()).take()).toEqual(["[Notification] report e1"]);
    // The child did not get its acknowledgement and sends it again.
    const again = after.client();
    await after.send(again, reportOf("e1"));
    expect(again.received).toEqual([{ event: "ack", data: { id: "e1" } }]);
    expect(textsOf(after.controller)).toEqual([]);
  });

  test("that was in the conversation when the process died is not told again", async () => {
    await using pod = parent();
    await pod.send(pod.client(), reportOf("e1"));
    await pod.nextRun();
    const kept: Item[] = [];
    // Killed after the history had it and before the mailbox knew.
    expect(() =>
      pod.controller.takeNotices((items) => {
        kept.push(...items);
        throw new Error("killed");
      }),
    ).toThrow("killed");
    expect(kept).toMatchObject([{ notice: "e1" }]);
    await using after = successor(pod, new History(() => undefined, kept));
    after.controller.begin();
    await settle();
    expect(after.runs).toBe(0);
    expect(new Mailbox(pod.path, SESSION, () => undefined).incoming).toEqual([]);
  });

  test("is put off, not dropped, when too many wait: its sender is told to come again", async () => {
    await using pod = parent();
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    for (let n = 0; n < MAX_REPORTS; n += 1) await pod.send(client, reportOf(`e${n}`));
    await pod.send(client, reportOf("late"));
    expect(client.received.at(-1)).toMatchObject({ event: "error", data: { retry: true } });
    expect(run.take()).toHaveLength(MAX_REPORTS);
    await pod.send(client, reportOf("late"));
    expect(client.received.at(-1)).toEqual({ event: "ack", data: { id: "late" } });
    expect(run.take()).toEqual(["[Notification] report late"]);
  });
});

describe("the report of a run's end", () => {
  test("stands in the record before it is made, and is what was recorded, whatever is asked for meanwhile", async () => {
    const recorded: (Outgoing | undefined)[] = [];
    const reported: Outgoing[] = [];
    const disk = Promise.withResolvers<void>();
    await using pod = setUp({
      record: {
        ...recordWith(() => Promise.resolve()),
        end: async (_end, _abort, report) => {
          recorded.push(report);
          await disk.promise;
        },
      },
      report: (report) => reported.push(report),
    });
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "cancel" });
    await run.end({ outcome: "cancelled" });
    expect(recorded).toMatchObject([{ event: { kind: "turn_cancelled" } }]);
    expect(reported).toEqual([]);
    // Too late for both.
    await pod.send(client, { method: "pause" });
    await pod.send(client, { method: "shutdown" });
    disk.resolve();
    await settle();
    expect(reported).toEqual(recorded.filter((report) => report !== undefined));
    expect(pod.broadcasts.at(-1)).toMatchObject({ data: { outcome: "cancelled" } });
    expect(pod.finished).toBe(1);
  });
});

describe("a run with a key (W62)", () => {
  const keyed = (key: string, id: string): Method => ({
    method: "run",
    id,
    params: { input: [{ kind: "text", content: key }], key },
  });

  test("that is sent again is acknowledged and not started again, whatever the pod does", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, keyed("k1", "a"));
    await pod.send(client, keyed("k1", "b"));
    await (await pod.nextRun()).end(finished);
    await pod.send(client, keyed("k1", "c"));
    expect(client.received).toEqual(["a", "b", "c"].map((id) => ({ event: "ack", data: { id } })));
    expect(pod.runs).toBe(1);
    await pod.send(client, keyed("k2", "d"));
    await (await pod.nextRun()).end(finished);
    expect(pod.userTexts()).toEqual(["k1", "k2"]);
  });

  test("that was refused can be sent again", async () => {
    await using pod = setUp();
    const client = pod.client();
    await pod.send(client, runOf("one"));
    await pod.send(client, keyed("k1", "a"));
    await (await pod.nextRun()).end(finished);
    await pod.send(client, keyed("k1", "b"));
    expect(client.received.map((answer) => answer.event)).toEqual(["error", "ack"]);
    expect((await pod.nextRun()).signal.aborted).toBe(false);
  });

  test("is acknowledged when its input is on the disk, and a crash before leaves its key unused", async () => {
    const disk = Promise.withResolvers<void>();
    await using pod = setUp({ record: recordWith(() => disk.promise) });
    const [one, two] = [pod.client(), pod.client()];
    const sent = pod.send(one, keyed("k1", "a"));
    // Sent again meanwhile: it is neither refused nor answered before the first.
    const again = pod.send(two, keyed("k1", "b"));
    await settle();
    expect([one.received, two.received, pod.runs]).toEqual([[], [], 0]);
    // Killed here.
    await using after = successor(pod);
    const client = after.client();
    await after.send(client, keyed("k1", "c"));
    expect(client.received).toEqual([{ event: "ack", data: { id: "c" } }]);
    expect((await after.nextRun()).signal.aborted).toBe(false);
    disk.resolve();
    await Promise.all([sent, again]);
    expect(one.received).toEqual([{ event: "ack", data: { id: "a" } }]);
    expect(two.received).toEqual([{ event: "ack", data: { id: "b" } }]);
    expect(pod.runs).toBe(1);
  });

  test("that could not be recorded is refused, and taken when it is sent again", async () => {
    let failures = 1;
    await using pod = setUp({
      record: recordWith(async () => {
        if (failures-- > 0) throw new PodError("session_store", "no room");
      }),
    });
    const client = pod.client();
    await pod.send(client, keyed("k1", "a"));
    await settle();
    expect(client.received).toEqual([
      { event: "error", data: { code: "internal", message: "no room", id: "a" } },
    ]);
    expect([pod.runs, pod.controller.phase, pod.reports]).toEqual([0, "idle", []]);
    await pod.send(client, keyed("k1", "b"));
    expect(client.received.at(-1)).toEqual({ event: "ack", data: { id: "b" } });
    await (await pod.nextRun()).end(finished);
    expect(pod.reports.map(({ kind }) => kind)).toEqual(["turn_ended"]);
  });

  test("that could not be recorded leaves a paused turn paused", async () => {
    let fails = false;
    await using pod = setUp({
      record: recordWith(async () => {
        if (fails) throw new PodError("session_store", "no room");
      }),
    });
    const client = pod.client();
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    await pod.send(client, { method: "pause" });
    await run.end({ outcome: "cancelled" });
    fails = true;
    await pod.send(client, runOf("no, this", "r"));
    await settle();
    expect(client.received.at(-1)).toMatchObject({ event: "error", data: { id: "r" } });
    expect(pod.controller.phase).toBe("paused");
    await pod.send(client, { method: "resume", id: "on" });
    expect(client.received.at(-1)).toEqual({ event: "ack", data: { id: "on" } });
  });

  test("that was acknowledged is remembered after a crash", async () => {
    await using pod = setUp();
    await pod.send(pod.client(), keyed("k1", "a"));
    await pod.nextRun();
    await using after = successor(pod);
    const client = after.client();
    await after.send(client, keyed("k1", "b"));
    expect(client.received).toEqual([{ event: "ack", data: { id: "b" } }]);
    expect(after.runs).toBe(0);
  });
});

test("a note that was acknowledged is told by the next process, once", async () => {
  await using pod = setUp();
  const client = pod.client();
  await pod.send(client, runOf("hi"));
  const run = await pod.nextRun();
  await pod.send(client, { method: "pause" });
  await run.end({ outcome: "cancelled" });
  await pod.send(client, notifyOf("remember", "n"));
  expect(client.received).toEqual([{ event: "ack", data: { id: "n" } }]);
  // Killed here.
  await using after = successor(pod);
  after.controller.begin();
  const kept: Item[] = [];
  const next = await after.nextRun();
  expect(textsOf(after.controller, kept)).toEqual(["[Notification] remember"]);
  await next.end(finished);
  await using last = successor(pod, new History(() => undefined, kept));
  last.controller.begin();
  await settle();
  expect(last.runs).toBe(0);
});

test("notes that had to go are not told by the next process either", async () => {
  await using pod = setUp({ budget: new WakeBudget(0, 0, 60_000), now: () => 0 });
  const client = pod.client();
  await Promise.all(
    Array.from({ length: MAX_NOTICES + 2 }, (_, n) => pod.send(client, notifyOf(`n${n}`))),
  );
  expect(new Mailbox(pod.path, SESSION, () => undefined).incoming.map(({ text }) => text)).toEqual(
    Array.from({ length: MAX_NOTICES }, (_, n) => `[Notification] n${n + 2}`),
  );
});

test("a note that is too long is refused to its sender, with the limit", async () => {
  await using pod = setUp();
  const client = pod.client();
  await pod.send(client, notifyOf("x".repeat(262_145), "n"));
  expect(client.received).toEqual([
    {
      event: "error",
      data: { code: "internal", message: "a note may have at most 262144 characters", id: "n" },
    },
  ]);
  expect(pod.runs).toBe(0);
  await pod.send(client, notifyOf("x".repeat(262_144), "m"));
  expect(client.received.at(-1)).toEqual({ event: "ack", data: { id: "m" } });
});

describe("runs that notices start", () => {
  test("are limited; what comes meanwhile goes into one run as soon as that is allowed (W59)", async () => {
    let now = 0;
    await using pod = setUp({ now: () => now, budget: new WakeBudget(0, 2, 40) });
    const client = pod.client();
    for (let n = 0; n < 2; n += 1) {
      await pod.send(client, notifyOf(`n${n}`));
      const run = await pod.nextRun();
      run.take();
      await run.end(finished);
    }
    for (let n = 2; n < 6; n += 1) await pod.send(client, notifyOf(`n${n}`));
    await settle();
    expect(pod.runs).toBe(2);
    // On its way: whoever waits for the tree to be quiet waits for it.
    await pod.send(client, { method: "status" });
    expect(client.received.at(-1)).toMatchObject({ data: { state: "idle", pending: 4 } });
    now = 40;
    const run = await pod.nextRun();
    expect(run.take()).toEqual(["n2", "n3", "n4", "n5"].map((text) => `[Notification] ${text}`));
    await run.end(finished);
    expect(pod.runs).toBe(3);
  });

  test("do not wait when somebody asks for something: the notices go along", async () => {
    await using pod = setUp({ now: () => 0, budget: new WakeBudget(0, 0, 60_000) });
    const client = pod.client();
    await pod.send(client, notifyOf("news"));
    await settle();
    expect(pod.runs).toBe(0);
    await pod.send(client, runOf("hi"));
    const run = await pod.nextRun();
    expect(run.take()).toEqual(["[Notification] news"]);
    await run.end(finished);
    await pod.send(client, { method: "status" });
    expect(client.received.at(-1)).toMatchObject({ data: { state: "idle", pending: 0 } });
  });
});
