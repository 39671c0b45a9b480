/**
 * Events to the parent, in order, delivered until they are acknowledged or refused, every time under
 * the same id. When the parent is gone the registry says who is the parent now; a Pod without one has
 * nobody to report to. Bounded; a report never delays a run.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { settlesWithin } from "../base/process.ts";
import type { Method, PodEvent } from "../protocol/method.ts";
import { type Allocations, findByName } from "../registry/operations.ts";
import type { PodId, Registry } from "../registry/registry.ts";
import { deliver } from "../transport/client.ts";

/** Reports that may wait; more than this means a parent that answers nothing for minutes. */
const MAX_WAITING = 256;

/** Limits of one delivery, and of the pauses between two. Milliseconds. */
export interface UplinkLimits {
  readonly deliveryMs: number;
  /** First pause before another attempt at a parent that lives but does not answer; it doubles. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
}

const LIMITS: UplinkLimits = { deliveryMs: 5000, retryMs: 100, maxRetryMs: 30_000 };

/** The way up from one Pod. */
export class Uplink {
  readonly #self: PodId;
  readonly #registry: Registry;
  readonly #limits: UplinkLimits;
  /** Where the parent listens; undefined for a root. */
  #parent: string | undefined;
  #waiting = 0;
  #full = false;
  #queue: Promise<void> = Promise.resolve();
  readonly #over = new AbortController();

  constructor(
    self: PodId,
    registry: Registry,
    parent: string | undefined,
    limits: UplinkLimits = LIMITS,
  ) {
    this.#self = self;
    this.#registry = registry;
    this.#parent = parent;
    this.#limits = limits;
  }

  /** Events that the parent has not taken yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Queues an event; never throws. A root has no one to tell; one that became a root when its parent
   * died may have got a parent again, under whose name that one runs now (W52).
   */
  report(event: PodEvent): void {
    this.#parent ??= this.#newParent();
    if (this.#parent === undefined) return;
    if (this.#waiting >= MAX_WAITING) {
      // Said once for each time that it gets full.
      if (!this.#full) log("warn", `reports dropped: ${MAX_WAITING} are waiting for the parent`);
      this.#full = true;
      return;
    }
    this.#full = false;
    this.#waiting += 1;
    this.#queue = this.#queue.then(async () => {
      await this.#deliver(event);
      this.#waiting -= 1;
    });
  }

  /** Resolves when everything queued so far was delivered, refused or given up; has no limit. */
  idle(): Promise<void> {
    return this.#queue;
  }

  /** Waits as `idle`, at most `ms` milliseconds; what was not delivered by then is given up. */
  async flush(ms: number): Promise<void> {
    if (await settlesWithin(this.#queue, ms)) return;
    log("warn", `${this.#waiting} report(s) to the parent were not delivered`);
    this.#over.abort();
  }

  async #deliver(event: PodEvent): Promise<void> {
    const method: Method = { method: "pod_event", id: crypto.randomUUID(), params: event };
    const { signal } = this.#over;
    const { deliveryMs, retryMs, maxRetryMs } = this.#limits;
    let pause = retryMs;
    let complained = false;
    while (this.#parent !== undefined && !signal.aborted) {
      const parent = this.#parent;
      try {
        return await deliver(parent, method, { timeoutMs: deliveryMs, signal });
      } catch (error) {
        if (signal.aborted) return;
        // Gone, busy, or a stranger under the old name: the registry knows whose child we are.
        await this.#findParent();
        if (this.#parent !== parent) continue;
        if (!isPodError(error, "unreachable", "timed_out")) {
          return log("warn", `parent did not take report \`${event.kind}\``, error);
        }
        if (!complained) log("warn", `parent at ${parent} does not answer; trying on`, error);
        complained = true;
        await pauseFor(pause, signal);
        pause = Math.min(pause * 2, maxRetryMs);
      }
    }
  }

  #newParent(): string | undefined {
    try {
      return this.#parentIn(this.#registry.peek());
    } catch (error) {
      log("warn", `could not look for a parent: ${messageOf(error)}`);
      return undefined;
    }
  }

  #parentIn(table: Allocations): string | undefined {
    const own = findByName(table, this.#self.name);
    return findByName(table, own?.delegated_from ?? "")?.socket;
  }

  /** Asks the registry who the parent is now, after it has removed the dead. */
  async #findParent(): Promise<void> {
    try {
      this.#parent = this.#parentIn((await this.#registry.reclaim()).table);
    } catch (error) {
      log("warn", `could not ask the registry for the parent: ${messageOf(error)}`);
    }
  }
}

/** A pause that ends with the signal and keeps no process alive. */
async function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  const timer = setTimeout(stop, ms);
  timer.unref();
  signal.addEventListener("abort", stop, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
