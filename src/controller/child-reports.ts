/**
 * Reports of children, each handled once: a child that had no answer in time, or comes back after a
 * crash of either side, delivers the same report again under the same id, and must not be heard
 * twice. What was taken is on disk before it is acknowledged. What was refused is looked at again.
 */
import { log } from "../base/log.ts";
import type { PodEvent } from "../protocol/method.ts";
import type { Answer } from "./answer.ts";
import type { Mailbox } from "./mailbox.ts";

/** The part of a mailbox that remembers reports. */
type Inbox = Pick<Mailbox, "hasSeen" | "see" | "synced">;

/** The reports one Pod gets. */
export class ChildReports {
  readonly #handle: (event: PodEvent, id: string | undefined) => Promise<boolean>;
  readonly #inbox: Inbox;
  /** Reports that are being handled. */
  readonly #open = new Map<string, Promise<boolean>>();

  /** `handle` says whether a report is believed; a notice that it leads to is kept under its id. */
  constructor(handle: (event: PodEvent, id: string | undefined) => Promise<boolean>, inbox: Inbox) {
    this.#handle = handle;
    this.#inbox = inbox;
  }

  /** Takes a report and answers its sender, who is asked to come again when there is no room. */
  async answer(
    id: string | undefined,
    event: PodEvent,
    answer: Answer,
    isFull: boolean,
  ): Promise<void> {
    if (isFull) {
      return void answer.reject("internal", "too many reports are waiting; send it again", true);
    }
    try {
      if (await this.take(id, event)) answer.accept();
      else answer.reject("internal", "pod_event refused: not from a known child of this pod");
    } catch (error) {
      log("error", "a child's report could not be handled", error);
      answer.reject("internal", "pod_event could not be handled", true);
    }
  }

  /** Handles a report, or shares the outcome of an earlier delivery. Rejects as `handle` does. */
  async take(id: string | undefined, event: PodEvent): Promise<boolean> {
    if (id === undefined) return await this.#handle(event, id);
    if (this.#inbox.hasSeen(id)) {
      // Acknowledged before, or to be by the delivery that waits for the disk.
      await this.#inbox.synced();
      return true;
    }
    const running = this.#open.get(id);
    if (running !== undefined) return await running;
    const outcome = this.#takeOnce(id, event);
    this.#open.set(id, outcome);
    try {
      return await outcome;
    } finally {
      this.#open.delete(id);
    }
  }

  async #takeOnce(id: string, event: PodEvent): Promise<boolean> {
    const believed = await this.#handle(event, id);
    if (!believed) return false;
    this.#inbox.see(id);
    await this.#inbox.synced();
    return true;
  }
}
