/**
 * When a failed request is tried again (manifest FIX 11, worker W25): only before the first byte of
 * an answer, a bounded number of times within a bounded time, with full jitter so that many Pods
 * that failed together do not return together. The decision is pure; the runner only waits.
 */
import type { Failure } from "./failure.ts";
import type { ModelEvent } from "./model.ts";

/** Bounds of the retries of one request. */
export interface RetryPolicy {
  readonly maxAttempts: number;
  /** No wait may end later than this after the first attempt began. */
  readonly totalMs: number;
  /** The n-th wait is drawn from zero to `min(capMs, baseMs * 2^(n-1))`. */
  readonly baseMs: number;
  readonly capMs: number;
}

/** The policy of real requests (manifest FIX 11). */
export const RETRY_POLICY: RetryPolicy = {
  maxAttempts: 4,
  totalMs: 60_000,
  baseMs: 1000,
  capMs: 16_000,
};

/** Time and chance, replaced in tests. `sleep` resolves when the time is over or the signal aborts. */
export interface Clock {
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  random(): number;
}

/** The real clock; `now` is monotonic. */
export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) => {
    if (signal.aborted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const stop = (): void => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener("abort", stop, { once: true });
    return promise.finally(() => signal.removeEventListener("abort", stop));
  },
};

/**
 * Milliseconds to wait before the next attempt, or undefined to give up. `attempt` counts from 1,
 * `random` is in [0, 1). A `Retry-After` wins over the jitter; one that does not fit the total ends
 * the request, because waiting less would only be refused again.
 */
export function nextDelay(
  policy: RetryPolicy,
  attempt: number,
  elapsedMs: number,
  failure: Failure,
  random: number,
): number | undefined {
  if (!failure.retryable || attempt >= policy.maxAttempts) return undefined;
  const jitter = random * Math.min(policy.capMs, policy.baseMs * 2 ** (attempt - 1));
  const delay = failure.retryAfterMs ?? jitter;
  return elapsedMs + delay <= policy.totalMs ? delay : undefined;
}

/** One try: yields the events of the answer; returns the failure, or undefined when it is over. */
type Attempt = () => AsyncGenerator<ModelEvent, Failure | undefined>;

/**
 * Runs `attempt` until it is over, the policy gives up, or the signal aborts. Yields its events, a
 * `warning` before each further try and `failed` at the end of the last; after an abort nothing. A
 * failure that follows events must be marked as not retryable by the attempt.
 */
export async function* withRetries(
  attempt: Attempt,
  policy: RetryPolicy,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<ModelEvent, void> {
  const start = clock.now();
  for (let count = 1; !signal.aborted; count++) {
    const failure = yield* attempt();
    if (failure === undefined || signal.aborted) return;
    const elapsed = clock.now() - start;
    const delay = nextDelay(policy, count, elapsed, failure, clock.random());
    if (delay === undefined) {
      const { retryable, retryAfterMs } = failure;
      const asked =
        retryable && retryAfterMs !== undefined
          ? ` (the host asks to wait ${Math.ceil(retryAfterMs / 1000)} s)`
          : "";
      yield { type: "failed", message: failure.message + asked };
      return;
    }
    yield {
      type: "warning",
      message:
        `model request failed (${failure.message}); ` +
        `attempt ${count + 1} of ${policy.maxAttempts} in ${(delay / 1000).toFixed(1)} s`,
    };
    await clock.sleep(delay, signal);
  }
}
