/**
 * An input on its way into the record, and the answer to whoever sent it: "taken" is said when the
 * input is on the disk and not before, so what was acknowledged is never lost. Who sends the same key
 * again meanwhile shares the outcome. One answer each, once.
 */
import { messageOf } from "../base/errors.ts";
import type { WireErrorCode } from "../protocol/event.ts";
import type { Segment } from "../protocol/segment.ts";
import type { Connection } from "../transport/server.ts";

/** How one request is answered. */
export interface Answer {
  accept(): unknown;
  /** `retry`: the same request may be taken later. */
  reject(code: WireErrorCode, message: string, retry?: boolean): unknown;
}

/** The answer to what nobody waits for. */
export const SILENT: Answer = { accept: () => undefined, reject: () => undefined };

/** The answer to a request with this id; without one only a refusal is heard. */
export function answerOn(connection: Connection, id: string | undefined): Answer {
  return {
    accept: () => id !== undefined && connection.send({ event: "ack", data: { id } }),
    reject: (code, message, retry = false) =>
      connection.send({
        event: "error",
        data: { code, message, ...(id === undefined ? {} : { id }), ...(retry ? { retry } : {}) },
      }),
  };
}

/** Answers when `act` is done, with what went wrong if so. */
export async function answerWith(
  answer: Answer,
  act: () => Promise<string | undefined>,
): Promise<void> {
  const problem = await act().catch(messageOf);
  if (problem === undefined) answer.accept();
  else answer.reject("internal", problem);
}

/** The input of one run. */
export class Intake {
  readonly segments: readonly Segment[];
  /** Under what the mailbox remembers the key of the run, if it has one. */
  readonly mark: string | undefined;
  /** Resolves when everybody has their answer; never rejects. */
  readonly settled: Promise<void>;
  readonly #answers: Answer[];
  readonly #settle: () => void;
  #outcome: "open" | "accepted" | "rejected" = "open";

  constructor(segments: readonly Segment[], mark: string | undefined, answer: Answer) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.segments = segments;
    this.mark = mark;
    this.settled = promise;
    this.#settle = resolve;
    this.#answers = [answer];
  }

  /** True until the outcome is known. */
  get isOpen(): boolean {
    return this.#outcome === "open";
  }

  /** True when the input was not taken: nobody but its sender needs to hear of it. */
  get isRejected(): boolean {
    return this.#outcome === "rejected";
  }

  /** Somebody else waits for the same. */
  join(answer: Answer): Promise<void> {
    this.#answers.push(answer);
    return this.settled;
  }

  /** It is on the disk. */
  accept(): void {
    this.#end("accepted", (answer) => answer.accept());
  }

  /** It could not be recorded; without effect when it was taken before. */
  reject(message: string): void {
    this.#end("rejected", (answer) => answer.reject("internal", message));
  }

  #end(outcome: "accepted" | "rejected", tell: (answer: Answer) => void): void {
    if (!this.isOpen) return;
    this.#outcome = outcome;
    for (const answer of this.#answers) tell(answer);
    this.#settle();
  }
}
