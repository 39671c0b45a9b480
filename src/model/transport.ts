/**
 * One HTTP exchange with a model host: the `fetch` that the vendor's library is given. It bounds
 * every wait and the size of the answer, keeps the key at its host (no redirects), and remembers the
 * first thing that went wrong, because the library's own errors are less exact.
 */
import { messageOf } from "../base/errors.ts";
import {
  apiFailure,
  connectFailure,
  describeNetworkError,
  type Failure,
  failureInBody,
  isRetryableStatus,
} from "./failure.ts";
import type { Reach } from "./reach.ts";

/** The part of `fetch` that is used; tests give their own. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** Limits of one exchange. */
export interface TransportLimits {
  /** After so long without an answer it is asked whether the host can be reached at all. */
  readonly connectMs: number;
  /** From the start of the attempt to the first byte of the answer's body. */
  readonly firstByteMs: number;
  /** Between two pieces of a streaming answer; the vendor's keep-alive pings count. */
  readonly idleMs: number;
  /** From the start of the attempt to the end of the answer. */
  readonly totalMs: number;
  /** Size of a whole answer. */
  readonly maxBytes: number;
}

/** Limits for hosts elsewhere. */
export const REMOTE_LIMITS: TransportLimits = {
  connectMs: 10_000,
  firstByteMs: 60_000,
  idleMs: 120_000,
  totalMs: 30 * 60_000,
  maxBytes: 64 * 1024 * 1024,
};
/** A server on this machine may first load a model and answers nothing until it has read the prompt. */
export const LOCAL_LIMITS: TransportLimits = { ...REMOTE_LIMITS, firstByteMs: 300_000 };
/** A host elsewhere whose models may think long before they say the first thing. */
export const PATIENT_LIMITS: TransportLimits = { ...LOCAL_LIMITS, idleMs: 300_000 };

/** Kind of the error event that is added to an answer that ended without its end mark. */
export const ENDED_EARLY_KIND = "pod_ended_early";
const ENDED_EARLY = new TextEncoder().encode(
  `\n\ndata: {"error":{"message":"ended early","type":"${ENDED_EARLY_KIND}",` +
    `"status":"${ENDED_EARLY_KIND}","code":500}}\n\n`,
);
/** As much of the end of an answer is shown to `isComplete`. */
const TAIL_BYTES = 64 * 1024;
/** Of an error answer no more than this is read. */
const MAX_ERROR_BODY_BYTES = 64 * 1024;

/** One exchange. `close` ends it, whatever state it is in, and may be called again. */
export interface Transport {
  readonly fetch: Fetch;
  /** Aborted by the caller's signal, by a limit, and by `close`. */
  readonly signal: AbortSignal;
  /** What went wrong, if anything did; not set by an abort of the caller. */
  failure(): Failure | undefined;
  /** True once a byte of a successful answer has arrived. */
  streaming(): boolean;
  /** The first bytes of a successful answer, as they came. */
  opening(): string;
  close(): void;
}

/** How to open a transport. `host` is for messages. */
interface TransportOptions {
  readonly fetch: Fetch;
  readonly host: string;
  /** Host of the proxy in between, for messages. */
  readonly proxy?: string | undefined;
  readonly limits: TransportLimits;
  readonly signal: AbortSignal;
  /** Absent where it cannot be known (behind a proxy). */
  readonly reach?: Reach | undefined;
  /** Last word on the headers. */
  readonly adjustHeaders: (headers: Headers) => void;
  /** Judges by the last bytes of a body that ended whether it was whole; absent: it was. */
  readonly isComplete?: ((tail: string) => boolean) | undefined;
  /** Rewrites the body of an answer. */
  readonly mend?: (() => TransformStream<Uint8Array, Uint8Array>) | undefined;
  readonly now: () => number;
}

/** Opens a transport; its first-byte limit runs from now. */
export function openTransport(options: TransportOptions): Transport {
  const { host, limits } = options;
  const ended = new AbortController();
  const signal = AbortSignal.any([options.signal, ended.signal]);
  let failure: Failure | undefined;
  let streaming = false;
  let opening: Uint8Array = new Uint8Array();

  const fail = (reason: Failure): void => {
    // What follows from the first failure or from the caller's abort is only an echo.
    if (failure === undefined && !signal.aborted) failure = reason;
    ended.abort();
  };
  const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;
  const firstByte = setTimeout(() => {
    const message = `HTTP error: no answer from ${host} within ${seconds(limits.firstByteMs)}`;
    fail({ message, retryable: true });
  }, limits.firstByteMs);

  const total = setTimeout(() => {
    const message = `HTTP error: the answer of ${host} took longer than ${seconds(limits.totalMs)}`;
    fail({ message, retryable: false });
  }, limits.totalMs);

  let answered = false;
  const assertReach = async (): Promise<void> => {
    if (options.reach === undefined || (await options.reach(signal)) || answered) return;
    const message = `HTTP error: cannot connect to ${host} within ${seconds(2 * limits.connectMs)}`;
    fail({ message, retryable: true });
  };

  const fetchGuarded: Fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    options.adjustHeaders(headers);
    let response: Response;
    const doubt = setTimeout(() => void assertReach(), limits.connectMs);
    try {
      // `timeout: false` is Bun's: our own limits hold. A redirect would carry the key elsewhere.
      const request = { ...init, headers, signal, redirect: "manual" as const, timeout: false };
      response = await options.fetch(input, request);
      answered = true;
    } catch (error) {
      fail(connectFailure(host, error, options.proxy));
      throw error;
    } finally {
      clearTimeout(doubt);
    }
    if (response.ok && isEventStream(response) && response.body !== null) {
      const body = watch(response.body);
      return new Response(options.mend === undefined ? body : body.pipeThrough(options.mend()), {
        status: response.status,
        headers: response.headers,
      });
    }
    const body = await readBounded(response, MAX_ERROR_BODY_BYTES);
    fail(refusal(response, body, host, options.now()));
    throw new Error("the request was refused");
  };

  const watch = (body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> => {
    const reader = body.getReader();
    let received = 0;
    const tail = createTail(TAIL_BYTES);
    const next = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      // Armed only while we wait for the network: a slow consumer is not a silent host.
      const idle = setTimeout(() => {
        const message = `HTTP error: ${host} sent nothing for ${seconds(limits.idleMs)}`;
        fail({ message, retryable: false });
      }, limits.idleMs);
      try {
        const { done, value } = await reader.read();
        if (done) {
          // Said in the stream, behind all that came: an error would overtake what is still on its
          // way through the library.
          if (options.isComplete?.(tail.text()) === false) controller.enqueue(ENDED_EARLY);
          controller.close();
          return;
        }
        clearTimeout(firstByte);
        if (!streaming) opening = value;
        streaming = true;
        received += value.byteLength;
        if (received > limits.maxBytes) {
          const message = `HTTP error: the answer of ${host} exceeds ${limits.maxBytes} bytes`;
          fail({ message, retryable: false });
          throw new Error("answer too large");
        }
        if (options.isComplete !== undefined) tail.add(value);
        controller.enqueue(value);
      } catch (error) {
        const message = `HTTP error: ${host}: ${describeNetworkError(error)}`;
        fail({ message, retryable: !streaming });
        controller.error(error);
      } finally {
        clearTimeout(idle);
      }
    };
    return new ReadableStream(
      { pull: next, cancel: (reason) => reader.cancel(reason) },
      { highWaterMark: 0 },
    );
  };

  return {
    fetch: fetchGuarded,
    signal,
    failure: () => failure,
    streaming: () => streaming,
    opening: () => new TextDecoder().decode(opening.subarray(0, MAX_ERROR_BODY_BYTES)),
    close: () => {
      clearTimeout(firstByte);
      clearTimeout(total);
      ended.abort();
    },
  };
}

/** The body ended, politely, before the answer did. */
export function endedEarly(host: string, streaming: boolean): Failure {
  return {
    message: `HTTP error: ${host} ended the connection before the answer was complete`,
    retryable: !streaming,
  };
}

/** Keeps at least the last `limit` bytes of what is added, without copying. */
function createTail(limit: number): { add(bytes: Uint8Array): void; text(): string } {
  const pieces: Uint8Array[] = [];
  let size = 0;
  return {
    add: (bytes) => {
      pieces.push(bytes);
      size += bytes.byteLength;
      while (size - (pieces[0]?.byteLength ?? size) >= limit)
        size -= pieces.shift()?.byteLength ?? 0;
    },
    text: () => Buffer.concat(pieces).toString("utf8"),
  };
}

function isEventStream(response: Response): boolean {
  const type = response.headers.get("content-type");
  return type === null || type.includes("event-stream");
}

function refusal(response: Response, body: string, host: string, now: number): Failure {
  const { status } = response;
  if (response.ok) {
    const reported = failureInBody(body);
    if (reported !== undefined) return reported;
    const type = response.headers.get("content-type") ?? "nothing";
    return {
      message: `HTTP error: expected an event stream from ${host}, got ${type}: ${body.trim()}`,
      retryable: false,
    };
  }
  if (status >= 300 && status < 400) {
    const target = URL.parse(response.headers.get("location") ?? "", `http://${host}`)?.host;
    return {
      message:
        `API error (status: ${status}): ${host} redirects to ${target ?? "nowhere"}; ` +
        "redirects are not followed, set model.base_url to the final address",
      retryable: isRetryableStatus(status),
    };
  }
  return apiFailure(status, body, response.headers.get("retry-after"), now);
}

/** Text of a body, at most `limit` bytes of it; a body that breaks off counts as far as it came. */
async function readBounded(response: Response, limit: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let received = 0;
  try {
    for await (const chunk of response.body) {
      const rest = chunk.subarray(0, limit - received);
      received += rest.byteLength;
      text += decoder.decode(rest, { stream: true });
      if (received >= limit) break;
    }
  } catch (error) {
    if (text === "") return messageOf(error);
  }
  return text;
}
