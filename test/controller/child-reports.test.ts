/** Reports of children: whom they are believed, and that each is handled once. */
import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/protocol/event.ts";
import type { PodEvent } from "../../src/protocol/method.ts";
import { errorOf, setUp, settle } from "./harness.ts";

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
