/**
 * The Pod's answers to what was sent on a connection that others read as well: who has sent something
 * waits here for its answer, by its id, within a limit. Nobody waits any more once it is closed.
 */
import type { Event, WireErrorCode } from "../protocol/event.ts";
import { startTimer } from "../transport/timer.ts";

/** What became of a request. */
export type Outcome =
  | { readonly kind: "taken" }
  | { readonly kind: "refused"; readonly code: WireErrorCode; readonly message: string }
  /** No answer within the limit, or the connection ended. */
  | { readonly kind: "unanswered" };

const UNANSWERED: Outcome = { kind: "unanswered" };

/** Answers on one connection. */
export class Answers {
  readonly #waiting = new Map<string, (outcome: Outcome) => void>();
  #closed = false;

  /** The answer to the request `id`; call it before the request is sent. */
  async to(id: string, ms: number): Promise<Outcome> {
    if (this.#closed) return UNANSWERED;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#waiting.set(id, resolve);
    const timer = startTimer(ms, () => resolve(UNANSWERED));
    try {
      return await promise;
    } finally {
      timer.stop();
      this.#waiting.delete(id);
    }
  }

  /** True when the event is an answer that somebody waits for, who has it now. */
  take(event: Event): boolean {
    if (event.event !== "ack" && event.event !== "error") return false;
    const give = this.#waiting.get(event.data.id ?? "");
    if (give === undefined) return false;
    if (event.event === "ack") give({ kind: "taken" });
    else give({ kind: "refused", code: event.data.code, message: event.data.message });
    return true;
  }

  /** The connection has ended: all who wait hear so, and all who come. */
  close(): void {
    this.#closed = true;
    for (const give of this.#waiting.values()) give(UNANSWERED);
  }
}
