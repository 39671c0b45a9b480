/**
 * How often notices may start a run of an idle Pod: a bucket of model calls that refills with time
 * (W59). What comes meanwhile waits and goes into one run together; nothing is lost, and a chatty
 * family costs a bounded number of requests. Pure: the clock is an argument.
 */

/** Runs that may be started in a row. */
const WAKE_BURST = 60;
/** Time until one more may be. Milliseconds. */
const WAKE_REFILL_MS = 1000;

/** The budget of one Pod. */
export class WakeBudget {
  readonly #burst: number;
  readonly #refillMs: number;
  #left: number;
  #since: number;

  constructor(now: number, burst: number = WAKE_BURST, refillMs: number = WAKE_REFILL_MS) {
    this.#burst = burst;
    this.#refillMs = refillMs;
    this.#left = burst;
    this.#since = now;
  }

  /** Milliseconds until a run may be started; 0 when one may be now. */
  waitMs(now: number): number {
    this.#refill(now);
    return this.#left > 0 ? 0 : Math.max(1, this.#since + this.#refillMs - now);
  }

  /** A run was started. */
  spend(now: number): void {
    this.#refill(now);
    this.#left = Math.max(0, this.#left - 1);
  }

  #refill(now: number): void {
    const steps = Math.max(0, Math.floor((now - this.#since) / this.#refillMs));
    if (steps === 0) return;
    this.#left = Math.min(this.#burst, this.#left + steps);
    this.#since = this.#left === this.#burst ? now : this.#since + steps * this.#refillMs;
  }
}
