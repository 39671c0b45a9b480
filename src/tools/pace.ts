/**
 * Long work on the event loop in short slices. A Pod must answer its socket while a search runs, so
 * every loop of unknown length asks `due` and awaits `rest` when it is; a rest also notices a cancel.
 */
import { PodError } from "../base/errors.ts";

/** Longest stretch of work between two rests; the project's limit for a blocked loop is 50 ms (I7). */
const SLICE_MS = 10;

/** Slices one piece of work; `limitMs` bounds its total time. */
export class Pace {
  readonly #signal: AbortSignal;
  readonly #end: number;
  #sliceEnd: number;

  constructor(signal: AbortSignal, limitMs = Number.POSITIVE_INFINITY) {
    const now = performance.now();
    this.#signal = signal;
    this.#end = now + limitMs;
    this.#sliceEnd = now + SLICE_MS;
  }

  /** True when the slice is used up; the caller then awaits `rest`. */
  get due(): boolean {
    return performance.now() >= this.#sliceEnd;
  }

  /** True when the total time is used up; the caller then stops with what it has. */
  get expired(): boolean {
    return performance.now() >= this.#end;
  }

  /** Lets everything else run once; throws `cancelled` when the run was withdrawn. */
  async rest(): Promise<void> {
    assertNotCancelled(this.#signal);
    await new Promise<void>((resolve) => setImmediate(resolve));
    assertNotCancelled(this.#signal);
    this.#sliceEnd = performance.now() + SLICE_MS;
  }
}

/** Throws `cancelled` when the signal is aborted. */
export function assertNotCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new PodError("cancelled", "cancelled");
}
