/**
 * Events to the parent, in order, delivered until they are acknowledged or refused, every time under
 * the same id, and on disk before they are sent: they outlast this process, its parent and a change
 * of parents. When the parent is gone the registry says who is the parent now; without one they
 * wait until there is. Bounded; a report never delays a run.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { settlesWithin } from "../base/process.ts";
import type { Method, PodEvent } from "../protocol/method.ts";
import { type Allocations, findByName } from "../registry/kinship.ts";
import type { PodId, Registry } from "../registry/registry.ts";
import { deliver } from "../transport/client.ts";
import type { Mailbox, Outgoing } from "./mailbox.ts";

/** Reports that may wait; more than this means a parent that answers nothing for minutes. */
const MAX_WAITING = 256;

/** Limits of one delivery, and of the pauses between two. Milliseconds. */
interface UplinkLimits {
  readonly deliveryMs: number;
  /** First pause before another attempt at a parent that lives but does not answer; it doubles. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
}

const LIMITS: UplinkLimits = { deliveryMs: 5000, retryMs: 100, maxRetryMs: 30_000 };

/** Reports are kept in a mailbox and sent from there. */
type Outbox = Pick<Mailbox, "outgoing" | "report" | "hasReported" | "sent" | "synced">;

/** The way up from one Pod. */
export class Uplink {
  readonly #self: PodId;
  readonly #registry: Registry;
  readonly #outbox: Outbox;
  readonly #limits: UplinkLimits;
  /** Where the parent listens; undefined when there is none now. */
  #parent: string | undefined;
  /** False for a Pod that never had a parent: it has nobody to tell. */
  #hasParents: boolean;
  #waiting: Outgoing[];
  #full = false;
  #pump: Promise<void> | undefined;
  #asking: Promise<void> | undefined;
  #askAgain = false;
  /** Ends the pause before the next attempt. */
  #hurry: (() => void) | undefined;
  readonly #over = new AbortController();

  constructor(
    self: PodId,
    registry: Registry,
    parent: string | undefined,
    outbox: Outbox,
    limits: UplinkLimits = LIMITS,
    /** An earlier process of the session had one: reports wait until there is one again. */
    hadParent: boolean = false,
  ) {
    this.#self = self;
    this.#registry = registry;
    this.#parent = parent;
    this.#outbox = outbox;
    this.#limits = limits;
    this.#waiting = outbox.outgoing;
    this.#hasParents = parent !== undefined || hadParent || this.#waiting.length > 0;
  }

  /**
   * Sends what an earlier process of this session could not; call it when the Pod is in the registry.
   * `logged` is the report of its last run that its log knows of: a crash may have come before the outbox.
   */
  start(logged?: Outgoing): void {
    if (logged !== undefined && !this.#outbox.hasReported(logged.id)) {
      this.report(logged.event, logged.id);
    }
    if (this.#waiting.length === 0) return;
    if (this.#parent === undefined) void this.parentChanged();
    else this.#deliverAll();
  }

  /** False when there is nobody to report to, nor ever was. */
  get hasParents(): boolean {
    return this.#hasParents;
  }

  /** Events on their way to a parent; those that wait for there to be one are not counted. */
  get waiting(): number {
    return this.#parent === undefined ? 0 : this.#waiting.length;
  }

  /**
   * Queues an event; never throws. A root has no one to tell; one that became a root when its parent
   * died may have got a parent again, under whose name that one runs now (W52).
   */
  report(event: PodEvent, id: string = crypto.randomUUID()): void {
    if (!this.#hasParents || this.#over.signal.aborted) return;
    this.#parent ??= this.#newParent();
    const outgoing = { id, event };
    // The end of the process says the same; a later process of this session must not say it.
    if (event.kind !== "shut_down") this.#outbox.report(outgoing);
    this.#waiting.push(outgoing);
    if (this.#waiting.length > MAX_WAITING) this.#makeRoom();
    this.#deliverAll();
  }

  /** The registry has another parent for this Pod, perhaps: what waits goes to that one. */
  async parentChanged(): Promise<void> {
    // However many say so: one question at a time, and one more for those that came meanwhile.
    this.#askAgain = true;
    this.#asking ??= this.#ask();
    await this.#asking;
  }

  async #ask(): Promise<void> {
    while (this.#askAgain) {
      this.#askAgain = false;
      await this.#findParent();
    }
    this.#asking = undefined;
    if (this.#parent === undefined) return;
    this.#hasParents = true;
    this.#hurry?.();
    this.#deliverAll();
  }

  /** Resolves when everything queued so far was delivered, refused, or has nobody to go to. */
  async idle(): Promise<void> {
    await this.#pump;
  }

  /** Waits as `idle`, at most `ms` milliseconds; what was not delivered by then stays on disk. */
  async flush(ms: number): Promise<void> {
    if (await settlesWithin(this.idle(), ms)) return;
    log("warn", `${this.#waiting.length} report(s) to the parent were not delivered`);
    this.#over.abort();
    this.#hurry?.();
  }

  /** Lets the oldest outcome go that a newer one makes old news; the one under way is left. */
  #makeRoom(): void {
    const index = this.#waiting.findIndex(
      ({ event }, at) => at > 0 && event.kind !== "scope_sub_delegated",
    );
    const [old] = this.#waiting.splice(index === -1 ? 1 : index, 1);
    if (old === undefined) return;
    // Said once for each time that it gets full.
    if (!this.#full) log("warn", `old reports are given up: ${MAX_WAITING} wait for the parent`);
    this.#full = true;
    this.#outbox.sent(old.id);
  }

  #deliverAll(): void {
    if (this.#pump !== undefined || this.#parent === undefined || this.#waiting.length === 0) {
      return;
    }
    this.#pump = this.#run();
  }

  async #run(): Promise<void> {
    try {
      for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
        await this.#outbox.synced();
        if (!(await this.#deliver(next))) return;
        this.#waiting.shift();
        this.#full = false;
        this.#outbox.sent(next.id);
      }
    } finally {
      // In the same step as the last look at the queue: a report in between would wait for ever.
      this.#pump = undefined;
    }
  }

  /** True when the report is done with; false when there is nobody to take it, or no time. */
  async #deliver({ id, event }: Outgoing): Promise<boolean> {
    // An earlier process of this session may have written it: a parent knows the present one.
    const params: PodEvent = { ...event, instance: this.#self.instance };
    const method: Method = { method: "pod_event", id, params };
    const { signal } = this.#over;
    const { deliveryMs, retryMs, maxRetryMs } = this.#limits;
    let pause = retryMs;
    let complained = false;
    while (this.#parent !== undefined && !signal.aborted) {
      const parent = this.#parent;
      try {
        await deliver(parent, method, { timeoutMs: deliveryMs, signal });
        return true;
      } catch (error) {
        if (signal.aborted) return false;
        // Gone, busy, or a stranger under the old name: the registry knows whose child we are.
        await this.#findParent();
        if (this.#parent !== parent) continue;
        const again = isPodError(error, "unreachable", "timed_out") || mayRetry(error);
        if (!again) {
          log("warn", `parent did not take report \`${event.kind}\``, error);
          return true;
        }
        if (!complained) log("warn", `parent at ${parent} does not answer; trying on`, error);
        complained = true;
        await this.#pauseFor(pause);
        pause = Math.min(pause * 2, maxRetryMs);
      }
    }
    return false;
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

  /** A pause that ends early when there is news, and keeps no process alive. */
  async #pauseFor(ms: number): Promise<void> {
    if (this.#over.signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    timer.unref();
    this.#hurry = resolve;
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#hurry = undefined;
    }
  }
}

/** True for a refusal that says it may not be the last word. */
function mayRetry(error: unknown): boolean {
  return isPodError(error) && error.data.retry === true;
}
