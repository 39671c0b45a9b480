/**
 * How other programs reach a Pod: connect within a limit, or exchange one method for one answer.
 * An answer is recognised by the request's `id` (W19), never by its kind alone; no answer within the
 * limit is an error.
 */
import { errnoCode, isPodError, messageOf, PodError } from "../base/errors.ts";
import { assertSocketPath } from "../base/paths.ts";
import type { Event } from "../protocol/event.ts";
import type { Method } from "../protocol/method.ts";
import { ClientConnection, type PodClient } from "./client-connection.ts";
import { startTimer } from "./timer.ts";

export type { PodClient } from "./client-connection.ts";

/** Limits of a connection. */
interface ConnectOptions {
  /** For connecting, and for each `send` that does not say otherwise. Milliseconds. */
  readonly timeoutMs: number;
  /** Withdraws the attempt (`cancelled`); an established connection is not affected. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects to the Pod at `path`. Throws `unreachable` (`connect timed out`, `connect: <io error>`,
 * with `errno` in the data), `cancelled`, or `path_too_long`.
 */
export async function connectPod(path: string, options: ConnectOptions): Promise<PodClient> {
  assertSocketPath(path);
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const cancel = () => reject(new PodError("cancelled", "connect cancelled"));
  if (options.signal?.aborted === true) cancel();
  options.signal?.addEventListener("abort", cancel, { once: true });
  const timer = startTimer(options.timeoutMs, () =>
    reject(new PodError("unreachable", "connect timed out")),
  );
  const client = new ClientConnection(options.timeoutMs);
  const socket = dial(path, client);
  try {
    await Promise.race([socket, stopped]);
    return client;
  } catch (error) {
    void socket.then(
      (late) => late.terminate(),
      () => undefined,
    );
    throw error instanceof PodError ? error : await connectError(error);
  } finally {
    timer.stop();
    options.signal?.removeEventListener("abort", cancel);
  }
}

async function dial(path: string, client: ClientConnection): Promise<Bun.Socket<undefined>> {
  return await Bun.connect<undefined>({
    unix: path,
    allowHalfOpen: true,
    socket: {
      open: (socket) => client.opened(socket),
      data: (_socket, chunk) => client.received(chunk),
      drain: () => client.drained(),
      end: () => client.inputEnded(),
      close: () => client.socketClosed(),
      error: () => client.terminate(),
    },
  });
}

async function connectError(error: unknown): Promise<PodError> {
  const code = errnoCode(error);
  const number = error instanceof Error && "errno" in error ? error.errno : undefined;
  // Bun's own text is "Failed to connect" whatever happened.
  const known = typeof number === "number" && code !== undefined;
  // Loaded only here: `node:crypto` and `node:util` cost 2 ms and 3 MiB each.
  const text = known
    ? `${(await import("node:util")).getSystemErrorMessage(number)} (${code})`
    : messageOf(error);
  return new PodError("unreachable", `connect: ${text}`, {
    cause: error,
    ...(code === undefined ? {} : { data: { errno: code } }),
  });
}

/** Limits of one exchange. */
interface RequestOptions {
  /** For the whole exchange: connect, write and answer. Milliseconds. */
  readonly timeoutMs: number;
  /** An event that answers the request besides `ack` and `error`, for example `history`. */
  readonly until?: (event: Event) => boolean;
  /** Withdraws the request (`cancelled`). The Pod may have heard it all the same. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends `method` (with its own `id`, or a fresh one) on an open connection, which stays open, and
 * resolves with the event that answers it: the `ack` of that id, or the first event for which `until`
 * holds. Other events before it are passed over. `signal` is looked at with every event; to withdraw
 * sooner, end the connection. Throws what `send` throws, `timed_out` (`read timed out`), `unreachable`
 * (`connection closed before response`), `cancelled`, and `invalid_argument` with the wire code in
 * `data.wire` (and whether it may be asked again in `data.retry`) when the Pod answers with an error
 * of that id.
 */
export async function exchange(
  client: PodClient,
  method: Method,
  options: RequestOptions,
): Promise<Event> {
  const id = method.id ?? crypto.randomUUID();
  const deadline = performance.now() + options.timeoutMs;
  const left = (): number => Math.max(0, deadline - performance.now());
  const { signal, until } = options;
  let unsent: PodError | undefined;
  try {
    await client.send({ ...method, id }, left());
  } catch (error) {
    // A Pod that refuses the connection closes it, but says why before: read on.
    if (!isPodError(error, "unreachable")) throw error;
    unsent = error;
  }
  let complaint: string | undefined;
  for (;;) {
    // Checked here too: a stream of other events must not outlive the limit.
    if (left() === 0) throw new PodError("timed_out", "read timed out");
    const event = await client.next(left());
    if (signal?.aborted === true) throw new PodError("cancelled", "request cancelled");
    if (event === undefined) {
      if (unsent !== undefined && complaint === undefined) throw unsent;
      const why = complaint === undefined ? "" : `: ${complaint}`;
      throw new PodError("unreachable", `connection closed before response${why}`);
    }
    if (event.event === "ack" && event.data.id === id) return event;
    if (event.event === "error") {
      const { code, message, retry = false } = event.data;
      if (event.data.id === id) {
        throw new PodError("invalid_argument", message, { data: { wire: code, retry } });
      }
      if (event.data.id === undefined && code === "internal") complaint = message;
    }
    if (until?.(event) === true) return event;
  }
}

/** An `exchange` with the Pod at `path` on a connection of its own; throws as that and `connectPod`. */
export async function request(
  path: string,
  method: Method,
  options: RequestOptions,
): Promise<Event> {
  const { timeoutMs, signal } = options;
  const deadline = performance.now() + timeoutMs;
  const client = await connectPod(path, { timeoutMs, signal });
  const stop = (): void => client.terminate();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const left = Math.max(0, deadline - performance.now());
    return await exchange(client, method, { ...options, timeoutMs: left });
  } finally {
    signal?.removeEventListener("abort", stop);
    client.terminate();
  }
}

/** Limits of a one-shot message. */
type DeliverOptions = Pick<RequestOptions, "timeoutMs" | "signal">;

/**
 * Sends `method` and resolves when the Pod has acknowledged it. Keep the same `id` in the method
 * when delivering again after a failure, so that the receiver can recognise it. Throws as `request`.
 */
export async function deliver(
  path: string,
  method: Method,
  options: DeliverOptions,
): Promise<void> {
  await request(path, method, options);
}
