import { expect, test } from "bun:test";
import { delta, serve } from "./harness.ts";
import type { RawClient } from "./raw-client.ts";

test("of 200 clients three never read: the others get every event in order, and those are dropped", async () => {
  const maxQueueBytes = 128 * 1024;
  await using pod = serve({ maxQueueBytes, lingerMs: 500 });
  const readers: RawClient[] = [];
  const mute: RawClient[] = [];
  for (let n = 0; n < 200; n += 1) {
    const isMute = n % 70 === 10;
    (isMute ? mute : readers).push(await pod.connect(isMute));
  }
  expect([readers.length, mute.length]).toEqual([197, 3]);
  const text = "y".repeat(1000);
  const [first] = readers;
  for (let n = 0; n < 600; n += 1) {
    pod.server.broadcast(delta(`${n} ${text}`));
    // The test's own clients live in this process: they must get their turn, as others would.
    if (n % 20 === 19) {
      for (let seen = n - 19; seen <= n; seen += 1) {
        for (const reader of readers) {
          expect(
            (await reader.line())?.startsWith(`{"event":"text_delta","data":{"text":"${seen} `),
          ).toBe(true);
        }
      }
    }
  }
  expect(first).toBeDefined();
  await pod.until(() => pod.closed.length === 3, "the mute clients to be dropped");
  expect(pod.closed.toSorted((a, b) => a - b)).toEqual([11, 81, 151]);
  expect(pod.server.connectionCount).toBe(197);
  pod.server.broadcast({ event: "shutdown" });
  for (const reader of readers) expect(await reader.line()).toBe('{"event":"shutdown"}');
});
