/**
 * The socket server of one Pod: private Unix socket, JSON Lines, every client independent of the
 * others. It knows what a valid line is and nothing of what methods mean. It must not block on, or
 * be ended by, anything that a client or a handler does.
 */
import { messageOf } from "../base/errors.ts";
import { type Peer, peerOf } from "../base/libc.ts";
import { log as writeLog } from "../base/log.ts";
import { hasNoNewPrivileges, settlesWithin } from "../base/process.ts";
import type { Event } from "../protocol/event.ts";
import type { Method } from "../protocol/method.ts";
import {
  type Connection,
  type ConnectionHost,
  type ConnectionSocket,
  LINGER_MS,
  ServerConnection,
} from "./connection.ts";
import { encodeEvent, MAX_LINE_BYTES } from "./jsonl.ts";
import { bindPrivately } from "./private-socket.ts";

export type { Connection } from "./connection.ts";

/** Clients of one Pod at a time. */
const MAX_CONNECTIONS = 512;
/** Bytes that wait for one client before it is dropped; more than the largest single event. */
export const MAX_QUEUE_BYTES = 32 * 1024 * 1024;
/** Bytes of incomplete lines and of large answers that all clients together may make a Pod hold. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
/** How long a client that is not served has to read why, and how many may be at that. */
const REFUSAL_MS = 1000;
const MAX_REFUSED = 64;
/** How long `close` writes to clients that do not read. */
const CLOSE_FLUSH_MS = 1000;

/** What a server does with its clients. An exception is logged and answered, never fatal. */
interface ServerHandlers {
  /** A client is there; what is sent now precedes everything else that it gets. */
  onOpen?(connection: Connection): void;
  /**
   * A valid method, in the order in which this client sent them. A promise keeps the connection of
   * a client that has ended its input open until it settles; it does not hold back other methods.
   */
  onMethod(connection: Connection, method: Method): void | Promise<void>;
  /** The client is gone; called once for every `onOpen`. */
  onClose?(connection: Connection): void;
}

/** A listening server. */
export interface PodServer {
  readonly path: string;
  readonly connectionCount: number;
  /** Sends an event to every client; all see all broadcasts in the same order. */
  broadcast(event: Event): void;
  /**
   * Removes the socket file, stops accepting and reading, writes what is queued within `flushMs`
   * (default 1000) and closes every connection. Never rejects; a second call waits for the first.
   */
  close(options?: { readonly flushMs?: number }): Promise<void>;
}

/** Where to listen and, mostly for tests, other limits than the defaults. */
export interface ListenOptions {
  readonly path: string;
  readonly handlers: ServerHandlers;
  readonly maxConnections?: number;
  readonly maxQueueBytes?: number;
  readonly maxLineBytes?: number;
  readonly maxHeldBytes?: number;
  /** How long a client that is being closed may take nothing of what is queued for it. */
  readonly lingerMs?: number;
  /** The process at the other end of a descriptor; undefined when the platform cannot say. */
  readonly peer?: (fd: number) => Peer | undefined;
  /**
   * Asked about a client whose process is gone before it can be looked at: true when it cannot have
   * been a confined command. Absent: it is refused.
   */
  readonly hearsGone?: () => boolean;
  readonly log?: typeof writeLog;
}

/**
 * Listens at `options.path` (mode 0600, put in place by rename, so the file is never there without
 * a listener behind it). Only our own user and root are served (W15). Throws `path_too_long`, `io`.
 */
export function listenPrivately(options: ListenOptions): PodServer {
  return new Server(options);
}

interface AcceptedSocket extends ConnectionSocket {
  data: ServerConnection | undefined;
  /** Ends the sending side alone. */
  shutdown(): void;
}

class Server implements PodServer, ConnectionHost {
  readonly path: string;
  readonly maxLineBytes: number;
  readonly maxQueueBytes: number;
  readonly lingerMs: number;
  readonly log: typeof writeLog;
  readonly #handlers: ServerHandlers;
  readonly #maxConnections: number;
  readonly #maxHeldBytes: number;
  readonly #peer: (fd: number) => Peer | undefined;
  readonly #hearsGone: () => boolean;
  /** Whether this process is restricted itself; asked once. */
  #restricted: boolean | undefined;
  readonly #connections = new Set<ServerConnection>();
  readonly #refused = new Map<AcceptedSocket, ReturnType<typeof setTimeout>>();
  readonly #stop: () => void;
  readonly #allGone = Promise.withResolvers<void>();
  #closing: Promise<void> | undefined;
  #accepted = 0;

  constructor(options: ListenOptions) {
    this.path = options.path;
    this.maxLineBytes = options.maxLineBytes ?? MAX_LINE_BYTES;
    this.maxQueueBytes = options.maxQueueBytes ?? MAX_QUEUE_BYTES;
    this.lingerMs = options.lingerMs ?? LINGER_MS;
    this.log = options.log ?? writeLog;
    this.#handlers = options.handlers;
    this.#maxHeldBytes = options.maxHeldBytes ?? MAX_HELD_BYTES;
    this.#maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
    this.#peer = options.peer ?? peerOf;
    this.#hearsGone = options.hearsGone ?? (() => false);
    const bound = bindPrivately(options.path, (unix) => this.#listen(unix));
    this.#stop = () => bound.stop();
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get isFull(): boolean {
    let held = 0;
    for (const connection of this.#connections) held += connection.heldBytes;
    return held > this.#maxHeldBytes;
  }

  broadcast(event: Event): void {
    if (this.#connections.size === 0) return;
    const line = encodeEvent(event);
    for (const connection of this.#connections) connection.forward(line);
  }

  close(options: { readonly flushMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.flushMs ?? CLOSE_FLUSH_MS);
    return this.#closing;
  }

  onMethod(connection: Connection, method: Method): void | Promise<void> {
    return this.#handlers.onMethod(connection, method);
  }

  onGone(connection: ServerConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.#guard("onClose", () => this.#handlers.onClose?.(connection));
    if (this.#connections.size === 0 && this.#closing !== undefined) this.#allGone.resolve();
  }

  #listen(unix: string): Bun.UnixSocketListener<ServerConnection | undefined> {
    return Bun.listen<ServerConnection | undefined>({
      unix,
      allowHalfOpen: true, // else a half-close discards the replies (spec protocol 1.4)
      data: undefined,
      socket: {
        open: (socket) => this.#accept(socket),
        data: (socket, chunk) => socket.data?.receive(chunk),
        drain: (socket) => socket.data?.drained(),
        end: (socket) => {
          if (socket.data === undefined) socket.end();
          else socket.data.inputEnded();
        },
        close: (socket) => {
          this.#forgetRefused(socket);
          socket.data?.closed();
        },
        // Resets arrive at `close`; here only what our own code threw in a callback above.
        error: (_socket, error) => this.log("error", "internal error of a connection", error),
      },
    });
  }

  #accept(socket: AcceptedSocket): void {
    const refusal = this.#refusal(socket);
    if (refusal !== undefined) {
      this.log("warn", `connection refused: ${refusal}`);
      this.#refuse(socket, refusal);
      return;
    }
    this.#accepted += 1;
    const connection = new ServerConnection(this.#accepted, socket, this);
    socket.data = connection;
    this.#connections.add(connection);
    this.#guard("onOpen", () => this.#handlers.onOpen?.(connection));
  }

  /**
   * Says why and lets the client close: one whose peer is gone before it looks takes the connection
   * for failed and reads nothing. What it sends is not heard.
   */
  #refuse(socket: AcceptedSocket, message: string): void {
    // A fresh socket takes a short line whole.
    const event: Event = { event: "error", data: { code: "internal", message } };
    socket.write(encodeEvent(event));
    if (this.#refused.size >= MAX_REFUSED) return socket.terminate();
    const timer = setTimeout(() => socket.terminate(), REFUSAL_MS);
    this.#refused.set(socket, timer);
    socket.shutdown();
  }

  #forgetRefused(socket: AcceptedSocket): void {
    clearTimeout(this.#refused.get(socket));
    this.#refused.delete(socket);
  }

  #refusal(socket: AcceptedSocket): string | undefined {
    if (this.#closing !== undefined) return "pod is shutting down";
    if (this.#connections.size >= this.#maxConnections) {
      return `too many connections (limit ${this.#maxConnections})`;
    }
    // `fd` is not in Bun's types. Where it is missing, the file mode alone keeps others out.
    const fd = "fd" in socket && typeof socket.fd === "number" ? socket.fd : undefined;
    const peer = fd === undefined ? undefined : this.#peer(fd);
    if (peer === undefined) return undefined;
    if (peer.user !== 0 && peer.user !== process.geteuid?.()) {
      return `user ${peer.user} is not the owner of this pod`;
    }
    return this.#confined(peer.pid);
  }

  /**
   * Confined shell commands of agents run as the same user, and most kernels cannot keep them from a
   * socket file. But they carry a mark that no process can lose (docs/sandbox.md). One that is gone
   * already cannot be told from them, where they may have local sockets at all. Pid 0 is a process
   * outside our namespace, which they never are.
   */
  #confined(pid: number): string | undefined {
    this.#restricted ??= hasNoNewPrivileges("self") ?? true;
    if (this.#restricted || pid <= 0 || pid === process.pid) return undefined;
    switch (hasNoNewPrivileges(pid)) {
      case false:
        return undefined;
      case true:
        return "confined processes (no_new_privs), such as commands of Bash, cannot connect to a pod";
      case undefined:
        return this.#hearsGone()
          ? undefined
          : "the process that connected is gone, so it cannot be told who it was";
    }
  }

  async #close(flushMs: number): Promise<void> {
    try {
      this.#stop();
    } catch (error) {
      this.log("warn", `cannot remove ${this.path}`, error);
    }
    for (const socket of [...this.#refused.keys()]) socket.terminate();
    for (const connection of [...this.#connections]) connection.finish();
    if (this.#connections.size === 0) return;
    await settlesWithin(this.#allGone.promise, flushMs);
    for (const connection of [...this.#connections]) connection.terminate();
  }

  #guard(name: string, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.log("error", `${name} failed: ${messageOf(error)}`);
    }
  }
}
