/**
 * One client of a Pod, from accept to close. Reading and writing are independent: input is handled
 * to its end whatever happens to output (W1), a partial line survives everything (W4), and a client
 * that does not read is dropped alone. Replies to a bad line go to its sender only (W2).
 */
import { messageOf } from "../base/errors.ts";
import { type log as writeLog } from "../base/log.ts";
import type { Event } from "../protocol/event.ts";
import { decodeMethod, type Method } from "../protocol/method.ts";
import { type DecodedLine, encodeEvent, LineDecoder } from "./jsonl.ts";
import { OutputQueue, type Writable } from "./output-queue.ts";

/** How long a client whose connection is ending may take nothing of what is still queued for it. */
export const LINGER_MS = 10_000;

/** Lines and answers of at least this size count towards what all connections may hold. */
const LARGE_BYTES = 64 * 1024;

/** A client as the handlers of a server see it. */
export interface Connection {
  /** Unique within one server. */
  readonly id: number;
  /** Sends an event to this client alone; does nothing when the client is gone. */
  send(event: Event): void;
}

/** What a connection asks of its server. */
export interface ConnectionHost {
  readonly maxLineBytes: number;
  readonly maxQueueBytes: number;
  readonly lingerMs: number;
  /** True when all connections together hold more memory than they may (W14). */
  readonly isFull: boolean;
  readonly log: typeof writeLog;
  onMethod(connection: Connection, method: Method): void | Promise<void>;
  /** Called once, when the socket is closed. */
  onGone(connection: ServerConnection): void;
}

/** The part of a Bun socket that a connection uses. `end` closes it; both call `closed` at once. */
export interface ConnectionSocket extends Writable {
  end(): void;
  terminate(): void;
}

/** Server side of one connection; the socket's events are its public methods. */
export class ServerConnection implements Connection {
  readonly id: number;
  readonly #socket: ConnectionSocket;
  readonly #host: ConnectionHost;
  readonly #queue: OutputQueue;
  /** Undefined when no more input is taken. */
  #decoder: LineDecoder | undefined;
  #state: "open" | "ending" | "closed" = "open";
  /** Handlers that have not settled yet; their replies belong to this connection. */
  #working = 0;
  #flushing: "no" | "soon" | "on_drain" = "no";
  #linger: ReturnType<typeof setTimeout> | undefined;
  /** It did not read, and is only told so any more. */
  #dropped = false;
  /** Bytes of large replies that may still be queued: unlike broadcasts nobody shares them. */
  #replyBytes = 0;

  constructor(id: number, socket: ConnectionSocket, host: ConnectionHost) {
    this.id = id;
    this.#socket = socket;
    this.#host = host;
    this.#queue = new OutputQueue(socket, host.maxQueueBytes);
    this.#decoder = new LineDecoder(host.maxLineBytes);
  }

  /** Memory that only this connection uses: a long incomplete line, large replies. */
  get heldBytes(): number {
    const partial = this.#decoder?.heldBytes ?? 0;
    return (partial < LARGE_BYTES ? 0 : partial) + this.#replyBytes;
  }

  send(event: Event): void {
    if (this.#state === "closed") return;
    const line = encodeEvent(event);
    if (line.length >= LARGE_BYTES) {
      this.#replyBytes += line.length;
      if (this.#host.isFull) return this.#drop("too many large answers are waiting");
    }
    this.#write(line);
  }

  /** Queues an encoded broadcast; a client that has ended its input gets replies only. */
  forward(line: Uint8Array): void {
    if (this.#state === "open") this.#write(line);
  }

  /** Bytes from the client. */
  receive(chunk: Uint8Array): void {
    for (const line of this.#decoder?.push(chunk) ?? []) {
      if (this.#decoder !== undefined) this.#handle(line);
    }
    if ((this.#decoder?.heldBytes ?? 0) < LARGE_BYTES || !this.#host.isFull) return;
    this.#refuse("too many long lines are under way; send it again later");
    this.finish();
  }

  /** The client has sent everything: handle the rest, flush the replies, close. */
  inputEnded(): void {
    this.#handleRest();
    this.finish();
  }

  /** The kernel takes bytes again. */
  drained(): void {
    this.#flushing = "no";
    if (this.#state === "ending") this.#startLinger();
    this.#flush();
  }

  /** The socket is closed, by either side; a reset counts as the end of the input. */
  closed(): void {
    if (this.#state === "closed") return;
    this.#handleRest();
    this.#state = "closed";
    clearTimeout(this.#linger);
    this.#queue.clear();
    this.#host.onGone(this);
  }

  /** Takes no more input, writes what is queued and closes, within a limit. */
  finish(): void {
    this.#decoder = undefined;
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#startLinger();
    this.#flush();
  }

  /** Closes at once; what is queued is lost. */
  terminate(): void {
    this.#decoder = undefined;
    this.#queue.clear();
    if (this.#state !== "closed") this.#socket.terminate();
  }

  #handle(line: DecodedLine): void {
    if (line.kind === "line") {
      const decoded = decodeMethod(line.text);
      if (decoded.ok) this.#call(decoded.method);
      else this.#refuse(decoded.reason, decoded.id);
    } else if (line.reason === "invalid_utf8") {
      this.#refuse("not valid UTF-8");
    } else {
      this.#refuse(`line longer than ${this.#host.maxLineBytes} bytes`);
      this.finish();
    }
  }

  #handleRest(): void {
    const rest = this.#decoder?.finish() ?? [];
    for (const line of rest) this.#handle(line);
    this.#decoder = undefined;
  }

  #call(method: Method): void {
    try {
      const result = this.#host.onMethod(this, method);
      if (!(result instanceof Promise)) return;
      this.#working += 1;
      void result
        .catch((error: unknown) => this.#failed(method, error))
        .finally(() => {
          this.#working -= 1;
          this.#closeIfDone();
        });
    } catch (error) {
      this.#failed(method, error);
    }
  }

  #failed(method: Method, error: unknown): void {
    this.#host.log("error", `method ${method.method} failed`, error);
    this.#answerError(messageOf(error), method.id);
  }

  #refuse(reason: string, id?: string): void {
    this.#answerError(`invalid method: ${reason}`, id);
  }

  #answerError(message: string, id?: string): void {
    const data = { code: "internal" as const, message, ...(id === undefined ? {} : { id }) };
    this.send({ event: "error", data });
  }

  #write(line: Uint8Array): void {
    if (!this.#queue.push(line)) {
      this.#drop(`more than ${this.#host.maxQueueBytes} bytes of events were not read`);
    } else if (this.#flushing === "no") {
      // One write for everything that this turn of the event loop produces.
      this.#flushing = "soon";
      queueMicrotask(() => {
        if (this.#flushing !== "soon") return;
        this.#flushing = "no";
        this.#flush();
      });
    }
  }

  /**
   * The client has fallen too far behind. Should it read on, it gets whole lines, then the reason,
   * then the end, instead of a stream with a hole (W11); it can connect again and ask for the history.
   */
  #drop(why: string): void {
    if (this.#dropped) return this.terminate();
    this.#dropped = true;
    this.#host.log("warn", `client ${this.id} does not read its events and is disconnected`);
    this.#queue.dropUnwritten();
    this.#replyBytes = 0;
    this.#answerError(`disconnected: ${why}; connect again and ask for the history`);
    this.finish();
  }

  #flush(): void {
    if (this.#state === "closed" || this.#flushing === "on_drain") return;
    // A broken write side is not the end: the client may still be heard until it closes.
    this.#flushing = this.#queue.flush() === "blocked" ? "on_drain" : "no";
    if (this.#queue.empty) this.#replyBytes = 0;
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#state === "ending" && this.#working === 0 && this.#queue.empty) this.#socket.end();
  }

  #startLinger(): void {
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => this.terminate(), this.#host.lingerMs);
  }
}
