/**
 * An input on its way into the record, and the answer to whoever sent it: "taken" is said when the
 * input is on the disk and not before, so what was acknowledged is never lost. Who sends the same key
 * again meanwhile shares the outcome. One answer each, once.
 */
import type { Segment } from "../protocol/segment.ts";
import type { Answer } from "./answer.ts";

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
