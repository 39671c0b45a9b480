/**
 * Standard output and error of the commands for people. Not `process.stdout`: touching that costs
 * 8 ms and 7 MiB, more than all else a short command does. A reader that goes away (`pod ls | head`)
 * is not a failure: the rest is dropped, and `onClosed` may end what nobody watches any more.
 */
import { errnoCode, messageOf } from "../base/errors.ts";
import { isTerminal } from "../base/libc.ts";

/** One stream to the person or program in front. */
export class Output {
  readonly isTTY: boolean;
  /** Called once when the reader has gone. */
  onClosed: () => void = () => undefined;
  readonly #sink: Bun.FileSink;
  #closed = false;
  #failure: string | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(fd: 1 | 2) {
    this.isTTY = isTerminal(fd);
    this.#sink = (fd === 1 ? Bun.stdout : Bun.stderr).writer();
  }

  /** Writes text; order is kept, nothing blocks, failures are not thrown. */
  write(text: string): void {
    if (this.#closed) return;
    try {
      this.#sink.write(text);
      const flushed = this.#sink.flush();
      if (flushed instanceof Promise) {
        this.#last = flushed.catch((error: unknown) => this.#failed(error));
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Why text was lost, other than by a reader that went away; undefined when none was. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Resolves when everything written has left this process, or nobody reads it. */
  async drain(): Promise<void> {
    await this.#last;
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    if (errnoCode(error) !== "EPIPE") this.#failure = `cannot write output: ${messageOf(error)}`;
    this.onClosed();
  }
}

/** The two streams of a command. */
export interface Streams {
  readonly out: Output;
  readonly err: Output;
}

/** The process's own streams; make them once. */
export function openStreams(): Streams {
  return { out: new Output(1), err: new Output(2) };
}
