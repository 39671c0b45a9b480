/**
 * One connection to a Pod, seen from the client: methods out, events in, all within limits. What is
 * received and not yet read is bounded by pausing the socket. It ends politely (half-close, drain:
 * W1), never reconnects, and skips what it does not understand (W36).
 */
import { PodError } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import { decodeEvent, type Event } from "../protocol/event.ts";
import type { Method } from "../protocol/method.ts";
import { type DecodedLine, encodeLine, LineDecoder, MAX_LINE_BYTES } from "./jsonl.ts";
import { type FlushResult, OutputQueue, type Writable } from "./output-queue.ts";
import { startTimer, type Timer } from "./timer.ts";

/** Characters of unread events above which the socket is paused; below half of it, it goes on. */
const MAX_UNREAD_CHARACTERS = 1024 * 1024;
/** Bytes of methods that may wait to be written. */
const MAX_UNSENT_BYTES = 2 * MAX_LINE_BYTES;
/** How long `close` waits for what it sent to be taken, and again for the Pod to end its side. */
const CLOSE_MS = 1000;

/** A connection to a Pod. */
export interface PodClient extends AsyncDisposable {
  /**
   * Resolves when the connection is over, by either side. Events received before may still be
   * unread. The end is noticed only while events are read (`next`): an unread megabyte pauses.
   */
  readonly closed: Promise<void>;
  /**
   * Sends one method; resolves when the kernel has all of it, which is no proof that it was heard.
   * The limit is that of connecting unless given. Throws `timed_out` (`write timed out`; the
   * connection is closed then, because half a line may be out), `unreachable` (`write: …`), or
   * `limit_reached` for a line that no Pod would take.
   */
  send(method: Method, timeoutMs?: number): Promise<void>;
  /**
   * The next event, in order; undefined when the connection is over and everything was read. Waits
   * at most `timeoutMs` (`Infinity`: until the end), then throws `timed_out` (`read timed out`).
   * Throws `limit_reached` when the Pod sent a line over the limit, which ends the connection.
   */
  next(timeoutMs: number): Promise<Event | undefined>;
  /** Lets the process end although this connection is open. Limits of pending calls still count. */
  unref(): void;
  /** Closes at once. What was sent before is heard by a Pod of ours; what is unread is kept. */
  terminate(): void;
  /**
   * Ends politely: writes what is queued, half-closes, discards what still comes until the Pod has
   * closed, each for at most a second, then closes anyway. Never rejects. Waiting readers get
   * undefined.
   */
  close(): Promise<void>;
}

/** The part of a Bun socket that a client uses; `end` and `terminate` close it, `shutdown` half. */
export interface ClientSocket extends Writable {
  end(): void;
  terminate(): void;
  shutdown(): void;
  pause(): void;
  resume(): void;
  unref(): void;
}

interface Waiter extends PromiseWithResolvers<Event | undefined> {
  readonly timer: Timer;
}

/** The client behind `connectPod`, which forwards the events of the socket to it. */
export class ClientConnection implements PodClient {
  readonly #writeMs: number;
  readonly #decoder = new LineDecoder();
  readonly #closed = Promise.withResolvers<void>();
  #socket: ClientSocket | undefined;
  #queue: OutputQueue | undefined;
  #events: { readonly event: Event; readonly size: number }[] = [];
  #unread = 0;
  #waiters: Waiter[] = [];
  /** Senders that wait for the queue to be written. */
  #flushed: PromiseWithResolvers<FlushResult> | undefined;
  #paused = false;
  #inputOver = false;
  #failure: PodError | undefined;
  #closing: Promise<void> | undefined;

  constructor(writeMs: number) {
    this.#writeMs = writeMs;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  async send(method: Method, timeoutMs: number = this.#writeMs): Promise<void> {
    const line = encodeLine(method);
    if (line.length - 1 > MAX_LINE_BYTES) {
      const text = `write: message of ${line.length - 1} bytes, limit is ${MAX_LINE_BYTES}`;
      throw new PodError("limit_reached", text);
    }
    if (this.#queue === undefined || this.#closing !== undefined) throw brokenPipe();
    if (!this.#queue.push(line)) throw new PodError("limit_reached", "write: too much unsent");
    let result = this.#flush();
    if (result === "blocked") {
      const { promise: limit, resolve } = Promise.withResolvers<"late">();
      const timer = startTimer(timeoutMs, () => resolve("late"));
      this.#flushed ??= Promise.withResolvers<FlushResult>();
      const outcome = await Promise.race([this.#flushed.promise, limit]);
      timer.stop();
      if (outcome === "late") {
        this.terminate();
        throw new PodError("timed_out", "write timed out");
      }
      result = outcome;
    }
    if (result === "broken") throw brokenPipe();
  }

  next(timeoutMs: number): Promise<Event | undefined> {
    const first = this.#events.shift();
    if (first !== undefined) {
      this.#unread -= first.size;
      if (this.#paused && this.#unread < MAX_UNREAD_CHARACTERS / 2) this.#resume();
      return Promise.resolve(first.event);
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#inputOver) return Promise.resolve(undefined);
    const waiter: Waiter = {
      ...Promise.withResolvers<Event | undefined>(),
      timer: startTimer(timeoutMs, () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        waiter.reject(new PodError("timed_out", "read timed out"));
      }),
    };
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  unref(): void {
    this.#socket?.unref();
  }

  terminate(): void {
    this.#socket?.terminate();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Socket event: connected. */
  opened(socket: ClientSocket): void {
    this.#socket = socket;
    this.#queue = new OutputQueue(socket, MAX_UNSENT_BYTES);
  }

  /** Socket event: bytes from the Pod. */
  received(chunk: Uint8Array): void {
    if (!this.#inputOver) for (const line of this.#decoder.push(chunk)) this.#take(line);
  }

  /** Socket event: the kernel takes bytes again. */
  drained(): void {
    this.#flush();
  }

  /** Socket event: the Pod sends no more. */
  inputEnded(): void {
    if (!this.#inputOver) for (const line of this.#decoder.finish()) this.#take(line);
    this.#endInput();
    this.#socket?.end();
  }

  /** Socket event: the connection is gone, by whatever cause. */
  socketClosed(): void {
    if (!this.#inputOver) for (const line of this.#decoder.finish()) this.#take(line);
    this.#endInput();
    this.#queue?.clear();
    this.#queue = undefined;
    this.#settleSenders("broken");
    this.#closed.resolve();
  }

  #take(line: DecodedLine): void {
    if (this.#inputOver) return;
    if (line.kind === "bad") {
      if (line.reason === "invalid_utf8") return;
      const text = `read: line longer than ${MAX_LINE_BYTES} bytes`;
      this.#failure = new PodError("limit_reached", text);
      this.#endInput();
      this.terminate();
      return;
    }
    const event = decodeEvent(line.text);
    if (event === undefined) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.timer.stop();
      waiter.resolve(event);
      return;
    }
    this.#events.push({ event, size: line.text.length });
    this.#unread += line.text.length;
    if (this.#unread > MAX_UNREAD_CHARACTERS && !this.#paused) {
      this.#paused = true;
      this.#socket?.pause();
    }
  }

  #endInput(): void {
    this.#inputOver = true;
    for (const waiter of this.#waiters.splice(0)) {
      waiter.timer.stop();
      if (this.#failure === undefined) waiter.resolve(undefined);
      else waiter.reject(this.#failure);
    }
  }

  #resume(): void {
    this.#paused = false;
    this.#socket?.resume();
  }

  #flush(): FlushResult {
    const result = this.#queue?.flush() ?? "broken";
    if (result !== "blocked") this.#settleSenders(result);
    return result;
  }

  #settleSenders(result: FlushResult): void {
    this.#flushed?.resolve(result);
    this.#flushed = undefined;
  }

  async #close(): Promise<void> {
    this.#events = [];
    this.#unread = 0;
    this.#endInput();
    if (this.#queue !== undefined) {
      if (this.#paused) this.#resume();
      if (!this.#queue.empty) {
        this.#flushed ??= Promise.withResolvers<FlushResult>();
        await settlesWithin(this.#flushed.promise, CLOSE_MS);
      }
      this.#socket?.shutdown();
      await settlesWithin(this.#closed.promise, CLOSE_MS);
      this.terminate();
    }
    await this.#closed.promise;
  }
}

function brokenPipe(): PodError {
  return new PodError("unreachable", "write: connection closed");
}
