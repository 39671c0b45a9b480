/** A Pod that is only a socket in the test process, and its record in a spawner's list. */
import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import { identityOf, type ProcessIdentity } from "../../src/base/process.ts";
import type { Event } from "../../src/protocol/event.ts";
import { type Item, textMessage } from "../../src/protocol/history.ts";
import type { Method } from "../../src/protocol/method.ts";
import type { ChildRecord } from "../../src/spawn/children.ts";
import { type Connection, listenPrivately } from "../../src/transport/server.ts";
import { within } from "../support/temp.ts";
import type { TestSpawner } from "./spawner.ts";

type Answer = (connection: Connection, method: Method) => void;

export interface FakePod extends AsyncDisposable {
  readonly record: ChildRecord;
  readonly heard: readonly Method[];
  /** Resolves when this many methods were heard. */
  hears(count: number): Promise<void>;
}

/** Puts a Pod on the spawner's list. Its process is the test's own unless `owner` says otherwise. */
export function listed(
  spawner: TestSpawner,
  name: string,
  more: Partial<ChildRecord> = {},
): ChildRecord {
  const record: ChildRecord = {
    name,
    instance: `${name}-1`,
    socket: podPaths(spawner.world.runtime, name).socket,
    scope: [{ target: "/x", permission: "write", recursive: true }],
    callback: spawner.context.self.socket,
    direct: true,
    owner: identityOf(process.pid),
    exited: undefined,
    phase: "running",
    stopping: false,
    cursor: { item: undefined, offset: 0 },
    ...more,
  };
  spawner.context.children.add(record);
  return record;
}

/** A process that is proven dead. */
export function deadOwner(): ProcessIdentity {
  return { ...identityOf(process.pid), start: "1" };
}

/** Puts a Pod on the list and listens at its socket; without `answer` it never answers. */
export function fakePod(
  spawner: TestSpawner,
  name: string,
  answer: Answer = () => undefined,
  more: Partial<ChildRecord> = {},
): FakePod {
  const record = listed(spawner, name, more);
  mkdirSync(dirname(record.socket), { recursive: true, mode: 0o700 });
  const heard: Method[] = [];
  let changed = Promise.withResolvers<void>();
  const server = listenPrivately({
    path: record.socket,
    handlers: {
      onMethod: (connection, method) => {
        heard.push(method);
        answer(connection, method);
        changed.resolve();
        changed = Promise.withResolvers();
      },
    },
  });
  return {
    record,
    heard,
    async hears(count) {
      while (heard.length < count) await within(changed.promise, 5000, `method ${count}`);
    },
    async [Symbol.asyncDispose]() {
      await server.close({ flushMs: 50 });
      spawner.context.children.remove(record);
      rmSync(dirname(record.socket), { recursive: true, force: true });
    },
  };
}

/** Acknowledges everything. */
export const acknowledges: Answer = (connection, { id = "" }) =>
  connection.send({ event: "ack", data: { id } });

/** Answers everything with an error of this code. */
export const refuses =
  (code: "already_running" | "provider_error" | "internal", message: string): Answer =>
  (connection, { id = "" }) =>
    connection.send({ event: "error", data: { code, message, id } });

/** The `history` event of a Pod with these items. */
export function historyOf(
  instance: string,
  items: readonly Item[],
  status: "idle" | "running" | "paused" = "running",
): Event {
  const greeting = {
    pod_name: "x",
    cwd: "/w",
    provider: "script",
    model: "m",
    scope_summary: "",
    tools: [],
    instance,
  };
  return { event: "history", data: { items: [...items], greeting, status } };
}

/** Answers `get_history` as a Pod does: the history, then the acknowledgement. */
export const shows =
  (
    record: () => { instance: string; items: readonly Item[]; status?: "idle" | "running" },
  ): Answer =>
  (connection, { id = "" }) => {
    const { instance, items, status } = record();
    connection.send(historyOf(instance, items, status));
    connection.send({ event: "ack", data: { id } });
  };

/** Assistant messages with ids, as a history holds them. */
export function said(...texts: readonly (readonly [id: string, text: string])[]): Item[] {
  return texts.map(([id, text]) => ({ ...textMessage("assistant", text), id }));
}
