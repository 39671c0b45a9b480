/**
 * What has happened in a demonstration: one list for all Pods, in the order in which we heard of it,
 * and bounded waits for something to be in it. Judges nothing and shows nothing; `follow.ts`
 * fills it.
 */
import { PodError } from "../../base/errors.ts";
import type { RunOutcome } from "../../protocol/event.ts";

/** Limit of every wait. Generous: only a failure meets it. */
export const WAIT_LIMIT_MS = 45_000;

/** Result of a tool call; `tookMs` from the call to the result, unknown when we came too late. */
export interface ToolResult {
  readonly kind: "result";
  readonly tool: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly summary: string;
  readonly content: string | undefined;
  readonly isError: boolean;
  readonly tookMs: number | undefined;
}

/** Something that a Pod did or was told. `at` is in milliseconds of `performance.now()`. */
export type Happening = { readonly pod: string; readonly at: number } & (
  | { readonly kind: "task" | "said" | "told" | "trouble"; readonly text: string }
  | { readonly kind: "ended"; readonly outcome: RunOutcome }
  | ToolResult
);

/** The list, and those who wait for something in it. */
export class Story {
  readonly happenings: Happening[] = [];
  readonly #show: (happening: Happening) => void;
  readonly #checks = new Set<() => void>();
  readonly #rejects = new Set<(error: unknown) => void>();
  readonly #running = new Map<string, boolean>();
  readonly #closers: (() => void)[] = [];
  #failure: unknown;
  #over = false;

  /** `show` hears of everything in order; an abort ends every wait. */
  constructor(show: (happening: Happening) => void, signal: AbortSignal) {
    this.#show = show;
    const onAbort = (): void => this.fail(new PodError("cancelled", "the demo was interrupted"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  }

  /** Adds what happened; nothing is heard of any more once the story is over. */
  add(happening: Happening): void {
    if (this.#over) return;
    this.happenings.push(happening);
    this.#show(happening);
    this.#changed();
  }

  /** Notes whether a Pod is in a run. */
  setRunning(pod: string, running: boolean): void {
    this.#running.set(pod, running);
    this.#changed();
  }

  /** True once the Pod's past is known. */
  isKnown(pod: string): boolean {
    return this.#running.has(pod);
  }

  /** True when the Pod was heard of and is not in a run. */
  isIdle(pod: string): boolean {
    return this.#running.get(pod) === false;
  }

  #changed(): void {
    for (const check of this.#checks) check();
  }

  /** Ends every wait with `error`, also later ones; the first one counts. */
  fail(error: unknown): void {
    if (this.#over || this.#failure !== undefined) return;
    this.#failure = error;
    for (const reject of this.#rejects) reject(error);
  }

  /** The first defined value of `look`, asked again after every happening. `timed_out` names `what`. */
  async until<Value>(look: () => Value | undefined, what: string): Promise<Value> {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    const check = (): void => {
      const value = look();
      if (value !== undefined) resolve(value);
    };
    const timer = setTimeout(
      () => reject(new PodError("timed_out", `waited ${WAIT_LIMIT_MS / 1000} s for ${what}`)),
      WAIT_LIMIT_MS,
    );
    this.#checks.add(check);
    this.#rejects.add(reject);
    check();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#checks.delete(check);
      this.#rejects.delete(reject);
    }
  }

  /** The first tool result that fits, of those so far. */
  result(fits: (result: ToolResult & Happening) => boolean): (ToolResult & Happening) | undefined {
    return this.results(fits)[0];
  }

  /** All tool results that fit, in order. */
  results(fits: (result: ToolResult & Happening) => boolean): (ToolResult & Happening)[] {
    return this.happenings.filter(
      (happening): happening is ToolResult & Happening =>
        happening.kind === "result" && fits(happening),
    );
  }

  /** Calls `close` when the story is over, which may be now. */
  onEnd(close: () => void): void {
    if (this.#over) close();
    else this.#closers.push(close);
  }

  /** Ends the story: nothing is followed any more, and what still comes is no part of it. */
  end(): void {
    this.#over = true;
    for (const close of this.#closers.splice(0)) close();
  }
}
