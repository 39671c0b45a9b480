import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Failure } from "../../src/model/failure.ts";
import type { ModelEvent } from "../../src/model/model.ts";
import { nextDelay, RETRY_POLICY, SYSTEM_CLOCK, withRetries } from "../../src/model/retry.ts";
import { within } from "../support/temp.ts";
import { virtualClock } from "./support.ts";

const failure: Failure = { message: "busy", retryable: true };

describe("the delay", () => {
  test("grows up to the cap", () => {
    const delays = [1, 2, 3].map((n) => nextDelay(RETRY_POLICY, n, 0, failure, 0.5));
    expect(delays).toEqual([500, 1000, 2000]);
    const many = { ...RETRY_POLICY, maxAttempts: 99 };
    expect(nextDelay(many, 20, 0, failure, 0.5)).toBe(8000);
  });

  test("is what the server asks for", () => {
    const asked = { ...failure, retryAfterMs: 7000 };
    expect(nextDelay(RETRY_POLICY, 1, 0, asked, 0.5)).toBe(7000);
    expect(nextDelay(RETRY_POLICY, 1, 53_001, asked, 0.5)).toBeUndefined();
    expect(nextDelay(RETRY_POLICY, 1, 0, { ...asked, retryAfterMs: 61_000 }, 0)).toBeUndefined();
  });

  test("never breaks the bounds", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 0, max: 120_000 }),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        (attempt, elapsed, random) => {
          const delay = nextDelay(RETRY_POLICY, attempt, elapsed, failure, random);
          if (delay === undefined) return attempt >= 4 || elapsed > 60_000 - 16_000;
          return attempt < 4 && delay >= 0 && elapsed + delay <= 60_000;
        },
      ),
    );
  });
});

/** Attempts that fail until `successAt`. */
function attempts(successAt: number, given: Failure = failure) {
  let count = 0;
  return {
    count: () => count,
    run: async function* (): AsyncGenerator<ModelEvent, Failure | undefined> {
      count++;
      if (count < successAt) return given;
      yield { type: "finish", reason: "stop" };
      return undefined;
    },
  };
}
const never = new AbortController().signal;

test("a warning names each further attempt", async () => {
  const clock = virtualClock(0.5);
  const tries = attempts(3);
  const events = await Array.fromAsync(withRetries(tries.run, RETRY_POLICY, clock, never));
  expect(events).toEqual([
    { type: "warning", message: "model request failed (busy); attempt 2 of 4 in 0.5 s" },
    { type: "warning", message: "model request failed (busy); attempt 3 of 4 in 1.0 s" },
    { type: "finish", reason: "stop" },
  ]);
  expect(clock.slept).toEqual([500, 1000]);
});

test("four attempts are the most", async () => {
  const tries = attempts(99);
  const clock = virtualClock();
  const events = await Array.fromAsync(withRetries(tries.run, RETRY_POLICY, clock, never));
  expect(tries.count()).toBe(4);
  expect(events.at(-1)).toEqual({ type: "failed", message: "busy" });
});

test("a Retry-After that is too long is told", async () => {
  const tries = attempts(99, { ...failure, retryAfterMs: 3_600_000 });
  const events = await Array.fromAsync(withRetries(tries.run, RETRY_POLICY, virtualClock(), never));
  expect(events).toEqual([{ type: "failed", message: "busy (the host asks to wait 3600 s)" }]);
});

test("what cannot help is not tried again", async () => {
  const tries = attempts(99, { message: "bad key", retryable: false });
  const events = await Array.fromAsync(withRetries(tries.run, RETRY_POLICY, virtualClock(), never));
  expect(events).toEqual([{ type: "failed", message: "bad key" }]);
});

test("an abort ends the wait between attempts at once and says nothing", async () => {
  const abort = new AbortController();
  const tries = attempts(99, { ...failure, retryAfterMs: 50_000 });
  const stream = withRetries(tries.run, RETRY_POLICY, SYSTEM_CLOCK, abort.signal);
  expect((await stream.next()).value).toMatchObject({ type: "warning" });
  const end = stream.next();
  abort.abort();
  expect(await within(end, 1000, "end after the abort")).toEqual({ done: true, value: undefined });
  expect(tries.count()).toBe(1);
});
