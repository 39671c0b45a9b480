/** A limit in milliseconds that may be infinite or longer than the runtime's timers can count. */

/** A running limit. */
export interface Timer {
  /** Ends it; harmless when it has fired. */
  stop(): void;
}

/** Longest delay of `setTimeout`; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Calls `expired` after `ms` milliseconds; never for `Infinity` and for more than 24 days. */
export function startTimer(ms: number, expired: () => void): Timer {
  if (ms > MAX_DELAY_MS) return { stop: () => undefined };
  const timer = setTimeout(expired, ms);
  return { stop: () => clearTimeout(timer) };
}
