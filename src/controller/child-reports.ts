/**
 * Reports of children, each handled once: a child that had no answer in time delivers the same
 * report again under the same id, and must not be heard twice. What was refused is looked at again.
 */
import type { PodEvent } from "../protocol/method.ts";

/** Ids that are remembered; a child waits for one answer at a time, so this is generous. */
const MAX_REMEMBERED = 256;

/** The reports one Pod gets. */
export class ChildReports {
  readonly #handle: (event: PodEvent) => Promise<boolean>;
  readonly #outcomes = new Map<string, Promise<boolean>>();

  /** `handle` says whether a report is believed. */
  constructor(handle: (event: PodEvent) => Promise<boolean>) {
    this.#handle = handle;
  }

  /** Handles a report, or shares the outcome of the delivery before. Rejects as `handle` does. */
  async take(id: string | undefined, event: PodEvent): Promise<boolean> {
    if (id === undefined) return await this.#handle(event);
    const key = `${event.instance ?? ""} ${id}`;
    const outcome = this.#outcomes.get(key) ?? this.#handle(event);
    this.#remember(key, outcome);
    let believed = false;
    try {
      return (believed = await outcome);
    } finally {
      if (!believed && this.#outcomes.get(key) === outcome) this.#outcomes.delete(key);
    }
  }

  #remember(key: string, outcome: Promise<boolean>): void {
    this.#outcomes.set(key, outcome);
    const [oldest] = this.#outcomes.keys();
    if (this.#outcomes.size > MAX_REMEMBERED && oldest !== undefined) this.#outcomes.delete(oldest);
  }
}
