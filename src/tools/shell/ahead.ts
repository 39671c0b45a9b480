/**
 * The trampoline for the next command, started ahead of it when one is announced or while commands come
 * one after the other; one that nothing came for is let go after a while. At most one waits.
 */
import { discard, isWaiting, type ShellPlace, startTrampoline, type Starting } from "./starter.ts";

/** How long it waits; after that a Pod is as it was before. */
const AHEAD_MS = 15_000;

/** Keeps it. */
export class Ahead {
  readonly #waitMs: number;
  #next: { readonly starting: Starting; readonly timer: NodeJS.Timeout } | undefined;

  /** `waitMs` 0: none is ever started. */
  constructor(waitMs = AHEAD_MS) {
    this.#waitMs = waitMs;
  }

  /** Starts one, unless one waits, in the place that `placeOf` gives. Throws what that and `startTrampoline` throw. */
  start(placeOf: () => ShellPlace): void {
    if (this.#next !== undefined || this.#waitMs === 0) return;
    const place = placeOf();
    if (place.trampoline === undefined) return;
    const starting = startTrampoline(place, place.trampoline);
    starting.child.unref();
    const timer = setTimeout(() => {
      const unused = this.take();
      if (unused !== undefined) discard(unused);
    }, this.#waitMs);
    timer.unref();
    this.#next = { starting, timer };
  }

  /** The one that waits, if it can still take an order. */
  take(): Starting | undefined {
    if (this.#next === undefined) return undefined;
    const { starting, timer } = this.#next;
    this.#next = undefined;
    clearTimeout(timer);
    if (isWaiting(starting)) return starting;
    discard(starting);
    return undefined;
  }

  /** Lets it go and waits for its end. */
  async close(): Promise<void> {
    const next = this.take();
    if (next === undefined) return;
    discard(next);
    await next.child.exited;
  }
}
