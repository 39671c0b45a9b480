/**
 * A real HTTP server on 127.0.0.1 that plays a model host of any wire format and can misbehave:
 * delay, stall, cut the connection, drip single bytes, answer errors or any bytes at all.
 * `await using server = await wireServer(FORMATS.gemini, (request, n) => ({ text: "hi" }))`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { within } from "./temp.ts";

/** A request as it came. */
export interface WireRequest {
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly path: string;
  /** Number of the connection it came over, from 1. */
  readonly connection: number;
  /** The body. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** What is special about one wire format. */
export interface WireFormat<Request extends WireRequest = WireRequest> {
  /** The request with whatever tests of this format look at. */
  read(request: WireRequest): Request;
  /** The events of a well-formed answer, as the vendor sends them. */
  encode(answer: BlockAnswer): string[];
  /** Body of a refusal. */
  encodeError(status: number, error: WireError): string;
}

/** An error in the vendor's words. */
export interface WireError {
  readonly type: string;
  readonly message: string;
}

/** How the bytes of an answer travel. Events are counted from 1; `ping` events do not exist unless raw. */
export interface Delivery {
  /** Wait before the status line. */
  readonly delayMs?: number;
  /** After this many events (0: after the headers) send nothing more, but keep the connection. */
  readonly stallAfter?: number;
  /** After this many events (0: after the headers) destroy the connection. */
  readonly cutAfter?: number;
  /** The cut waits for this; without it the client may lose what was sent before the cut. */
  readonly cutWhen?: Promise<unknown>;
  /** Write single bytes, each in its own turn of the event loop. */
  readonly byteByByte?: boolean;
  /** Between two events. */
  readonly eventDelayMs?: number;
}

/** A tool call; `json` is the argument text as it is, else `input` is encoded. */
export interface AnswerCall {
  readonly name: string;
  readonly input?: unknown;
  readonly json?: string;
  readonly id?: string;
  /** Gemini's signature of the call. */
  readonly signature?: string;
}

/** An answer in blocks: thinking, text (an array is one delta per entry), tool calls. */
export interface BlockAnswer extends Delivery {
  readonly thinking?: { readonly text: string; readonly signature: string };
  readonly redacted?: string;
  readonly text?: string | readonly string[];
  readonly calls?: readonly AnswerCall[];
  readonly stopReason?: string;
  readonly usage?: {
    readonly input?: number;
    readonly output?: number;
    readonly cacheRead?: number;
    readonly cacheWrite?: number;
    readonly reasoning?: number;
  };
  /** Ends the stream with this error event instead of the vendor's end mark. */
  readonly streamError?: WireError;
}

/** A refusal; `body` is sent as it is, else the vendor's error JSON. */
export interface ErrorAnswer extends Delivery {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly error?: WireError;
  readonly body?: string;
}

/** Any bytes as an event stream; each entry counts as one event. */
export interface RawAnswer extends Delivery {
  readonly raw: string | readonly (string | Uint8Array)[];
  readonly contentType?: string;
}

export type Answer = BlockAnswer | ErrorAnswer | RawAnswer;
/** Answers request number `n`, counted from 1; may wait for whatever the test wants. */
export type AnswerHandler<Request extends WireRequest = WireRequest> = (
  request: Request,
  n: number,
) => Answer | Promise<Answer>;

export interface WireServer<Request extends WireRequest = WireRequest> extends AsyncDisposable {
  /** Base URL without a version segment and without a trailing slash. */
  readonly url: string;
  /** Host with port. */
  readonly host: string;
  readonly requests: readonly Request[];
  /** Resolves when `count` requests have arrived. */
  arrived(count: number, ms?: number): Promise<void>;
  /** Resolves when `count` answers were given up by the client or by `cutAfter`. */
  disconnected(count: number, ms?: number): Promise<void>;
}

const DEADLINE_MS = 10_000;

/** Starts the server. */
export async function wireServer<Request extends WireRequest>(
  format: WireFormat<Request>,
  handler: AnswerHandler<Request>,
): Promise<WireServer<Request>> {
  const requests: Request[] = [];
  const arrivals = counter();
  const losses = counter();
  let connections = 0;
  const numbers = new WeakMap<object, number>();

  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = format.read({
      headers: message.headers as Record<string, string | undefined>,
      path: message.url ?? "",
      connection: numbers.get(message.socket) ?? 0,
      raw: JSON.parse(await readBody(message)) as Record<string, unknown>,
    });
    requests.push(request);
    const n = requests.length;
    response.on("close", () => {
      if (!response.writableFinished) losses.add();
    });
    arrivals.add();
    await deliver(format, await handler(request, n), response);
  };
  const server = createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      // A handler that throws must not look like a silent host.
      if (!response.headersSent) response.writeHead(500);
      response.end(String(error));
    });
  });
  server.on("connection", (socket) => numbers.set(socket, ++connections));
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");

  return {
    url: `http://127.0.0.1:${address.port}`,
    host: `127.0.0.1:${address.port}`,
    requests,
    arrived: (count, ms = DEADLINE_MS) => within(arrivals.reached(count), ms, "requests"),
    disconnected: (count, ms = DEADLINE_MS) => within(losses.reached(count), ms, "disconnects"),
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
}

function counter(): { add(): void; reached(count: number): Promise<void> } {
  let value = 0;
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  return {
    add: () => {
      value++;
      for (const { count, resolve } of waiting) if (value >= count) resolve();
    },
    reached: (count) => {
      if (value >= count) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push({ count, resolve });
      return promise;
    },
  };
}

async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString("utf8");
}

async function deliver(
  format: Pick<WireFormat, "encode" | "encodeError">,
  answer: Answer,
  response: ServerResponse,
): Promise<void> {
  if (answer.delayMs !== undefined) await Bun.sleep(answer.delayMs);
  if ("status" in answer) {
    const error = answer.error ?? { type: "api_error", message: "Internal server error" };
    response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
    const body = answer.body ?? format.encodeError(answer.status, error);
    return await send(answer, [body], response);
  }
  const contentType = ("raw" in answer ? answer.contentType : undefined) ?? "text/event-stream";
  response.writeHead(200, { "content-type": contentType });
  response.flushHeaders();
  const events = "raw" in answer ? [answer.raw].flat() : format.encode(answer);
  await send(answer, events, response);
}

async function send(
  delivery: Delivery,
  events: readonly (string | Uint8Array)[],
  response: ServerResponse,
): Promise<void> {
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  for (const [index, event] of events.entries()) {
    if (response.destroyed || (await interrupt(delivery, index, response))) return;
    if (index > 0 && delivery.eventDelayMs !== undefined) await Bun.sleep(delivery.eventDelayMs);
    const bytes = Buffer.from(event as string);
    const pieces = delivery.byteByByte === true ? [...bytes].map((b) => Buffer.of(b)) : [bytes];
    for (const piece of pieces) {
      if (response.destroyed) return;
      if (!response.write(piece)) await drained(response);
      if (pieces.length > 1) await turn();
    }
  }
  if (!(await interrupt(delivery, events.length, response))) response.end();
}

/** True when the answer stops here, by stalling (until the client leaves) or by a cut. */
async function interrupt(
  delivery: Delivery,
  sent: number,
  response: ServerResponse,
): Promise<boolean> {
  if (delivery.stallAfter === sent) return true;
  if (delivery.cutAfter !== sent) return false;
  await delivery.cutWhen;
  response.destroy();
  return true;
}

async function drained(response: ServerResponse): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => resolve();
  response.once("drain", done).once("close", done);
  await promise;
  response.off("drain", done).off("close", done);
}
