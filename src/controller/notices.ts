/**
 * Texts that wait for the model's next request: notes from clients and reports about children. They
 * are bounded; when too many wait, the oldest is dropped and the loss is said (W7, W59).
 */

/** Most notices that wait (spec protocol 7.7). */
export const MAX_NOTICES = 128;

/** The queue of one Pod. */
export class Notices {
  #waiting: { readonly text: string; readonly wake: boolean }[] = [];

  /** Queues a text; returns true when an older one had to go. */
  add(text: string, wake: boolean): boolean {
    this.#waiting.push({ text, wake });
    if (this.#waiting.length <= MAX_NOTICES) return false;
    this.#waiting.shift();
    return true;
  }

  /** Takes all, oldest first. */
  take(): string[] {
    const texts = this.#waiting.map((notice) => notice.text);
    this.#waiting = [];
    return texts;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** True when one of those that wait is worth a model call of its own. */
  get waking(): boolean {
    return this.#waiting.some((notice) => notice.wake);
  }
}
