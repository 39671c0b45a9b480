/**
 * Events to the parent, in order, acknowledged. When the parent is gone the registry says who is the
 * parent now; a Pod without one has nobody to report to. Bounded; a report never delays a run.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { settlesWithin } from "../base/process.ts";
import type { PodEvent } from "../protocol/method.ts";
import { findByName } from "../registry/operations.ts";
import type { PodId, Registry } from "../registry/registry.ts";
import { deliver } from "../transport/client.ts";

/** Reports that may wait; more than this means a parent that answers nothing for minutes. */
const MAX_WAITING = 256;
const DELIVERY_TIMEOUT_MS = 5000;
/** Parents that may die one after the other during one delivery. */
const MAX_PARENTS = 8;

/** The way up from one Pod. */
export class Uplink {
  readonly #self: PodId;
  readonly #registry: Registry;
  /** Where the parent listens; undefined for a root. */
  #parent: string | undefined;
  #waiting = 0;
  #queue: Promise<void> = Promise.resolve();

  constructor(self: PodId, registry: Registry, parent: string | undefined) {
    this.#self = self;
    this.#registry = registry;
    this.#parent = parent;
  }

  /** Events that the parent has not taken yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Queues an event; never throws. A root has no one to tell. */
  report(event: PodEvent): void {
    if (this.#parent === undefined) return;
    if (this.#waiting >= MAX_WAITING) {
      log("warn", `report \`${event.kind}\` dropped: ${MAX_WAITING} are waiting for the parent`);
      return;
    }
    this.#waiting += 1;
    this.#queue = this.#queue.then(async () => {
      await this.#deliver(event);
      this.#waiting -= 1;
    });
  }

  /** Waits until everything queued was delivered or given up, at most `ms` milliseconds. */
  async flush(ms: number): Promise<void> {
    if (!(await settlesWithin(this.#queue, ms)))
      log("warn", "reports to the parent were not delivered");
  }

  async #deliver(event: PodEvent): Promise<void> {
    for (let tries = 0; tries < MAX_PARENTS && this.#parent !== undefined; tries += 1) {
      const parent = this.#parent;
      try {
        await deliver(
          parent,
          { method: "pod_event", params: event },
          { timeoutMs: DELIVERY_TIMEOUT_MS },
        );
        return;
      } catch (error) {
        if (!isPodError(error, "unreachable")) {
          log("warn", `parent did not take report \`${event.kind}\``, error);
          return;
        }
        await this.#findParent();
        if (this.#parent === parent) {
          log("warn", `parent at ${parent} is alive but cannot be reached`, error);
          return;
        }
      }
    }
  }

  /** Asks the registry who the parent is now, after it has removed the dead. */
  async #findParent(): Promise<void> {
    try {
      const { table } = await this.#registry.reclaim();
      const own = findByName(table, this.#self.name);
      const parent = findByName(table, own?.delegated_from ?? "");
      this.#parent = parent?.socket;
    } catch (error) {
      log("warn", `could not ask the registry for the parent: ${messageOf(error)}`);
    }
  }
}
