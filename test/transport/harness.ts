/** A server in a directory of its own whose handlers record what they are told. */
import type { Event } from "../../src/protocol/event.ts";
import type { Method } from "../../src/protocol/method.ts";
import {
  type Connection,
  listenPrivately,
  type ListenOptions,
  type PodServer,
} from "../../src/transport/server.ts";
import { temp, within } from "../support/temp.ts";
import { connectRaw, type RawClient } from "./raw-client.ts";

const DEADLINE_MS = 10_000;
/** A valid line without an id. */
export const STATUS = '{"method":"status"}\n';

/** A broadcast with a text of choice. */
export const delta = (text: string): Event => ({ event: "text_delta", data: { text } });
/** A `notify` line. */
export const note = (message: string): string =>
  `${JSON.stringify({ method: "notify", params: { message } })}\n`;
/** What a Pod sends first to every client. */
export const alert: Event = {
  event: "alert",
  data: { level: "warn", source: "pod", message: "m".repeat(200), timestamp_ms: 1 },
};
/** A server under test. */
export interface Harness extends AsyncDisposable {
  readonly path: string;
  readonly server: PodServer;
  readonly methods: Method[];
  readonly opened: Connection[];
  readonly closed: number[];
  readonly logged: string[];
  connect(paused?: boolean): Promise<RawClient>;
  /** Resolves when `check` holds; looked at after every call of a handler. */
  until(check: () => boolean, what: string): Promise<void>;
}

/** Listens; `answer` handles methods, `prelude` is sent to each new client. */
export function serve(
  options: Partial<Omit<ListenOptions, "path" | "handlers">> = {},
  answer: (connection: Connection, method: Method) => void | Promise<void> = () => undefined,
  prelude: readonly Event[] = [],
): Harness {
  const dir = temp();
  const path = dir.join("sock");
  const methods: Method[] = [];
  const opened: Connection[] = [];
  const closed: number[] = [];
  const logged: string[] = [];
  const clients: RawClient[] = [];
  let changed = Promise.withResolvers<void>();
  const change = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const server = listenPrivately({
    path,
    log: (_level, message) => logged.push(message),
    ...options,
    handlers: {
      onOpen: (connection) => {
        opened.push(connection);
        for (const event of prelude) connection.send(event);
        change();
      },
      onMethod: (connection, method) => {
        methods.push(method);
        change();
        return answer(connection, method);
      },
      onClose: (connection) => {
        closed.push(connection.id);
        change();
      },
    },
  });
  return {
    path,
    server,
    methods,
    opened,
    closed,
    logged,
    connect: async (paused = false) => {
      const before = opened.length;
      const client = await connectRaw(path, paused);
      clients.push(client);
      await within(
        (async () => {
          while (opened.length === before && logged.length === 0) await changed.promise;
        })(),
        DEADLINE_MS,
        "the server to accept",
      );
      return client;
    },
    until: async (check, what) => {
      const deadline = performance.now() + DEADLINE_MS;
      while (!check()) await within(changed.promise, deadline - performance.now(), what);
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.terminate();
      await server.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}
