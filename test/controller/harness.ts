/** A controller whose runs end when the test says so, and a record of everything it does, in order. */
import { mkdirSync, readFileSync } from "node:fs";
import { podPaths } from "../../src/base/paths.ts";
import { Controller } from "../../src/controller/controller.ts";
import type { ControllerDependencies } from "../../src/controller/dependencies.ts";
import { Mailbox } from "../../src/controller/mailbox.ts";
import { RuntimeFiles } from "../../src/controller/runtime-files.ts";
import { INTERRUPT_NOTE } from "../../src/prompts/notices.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { type Item, messageText } from "../../src/protocol/history.ts";
import type { Method, PodEvent } from "../../src/protocol/method.ts";
import type { Connection } from "../../src/transport/server.ts";
import { History, INTERRUPTED_BY_USER } from "../../src/worker/history.ts";
import type { RunEnd } from "../../src/worker/loop.ts";
import { temp, within } from "../support/temp.ts";

export const SELF = { name: "root", instance: "instance-of-root" };
export const SESSION = "0196f3a2-7c1e-7b43-9f0a-5d1c2e3f4a5b";

/** One run that waits for its end. */
export interface FakeRun {
  readonly signal: AbortSignal;
  /** Takes the notices, as a model request does. */
  take(): string[];
  end(end: RunEnd): Promise<void>;
}

/** A client that notes what it alone is sent. */
export interface FakeClient extends Connection {
  readonly received: Event[];
}

export interface Harness extends AsyncDisposable {
  readonly controller: Controller;
  readonly history: History;
  readonly broadcasts: Event[];
  readonly reports: PodEvent[];
  /** Calls of `finish`. */
  readonly finished: number;
  /** Everything, in order: `ack c1`, `user_message`, `run`, `report turn_ended`, `finish`. */
  readonly log: string[];
  client(): FakeClient;
  send(client: FakeClient, method: Method): Promise<void>;
  /** The next run that has started; fails when none starts. */
  nextRun(): Promise<FakeRun>;
  /** Runs that have started so far. */
  readonly runs: number;
  readonly mailbox: Mailbox;
  /** Directory of the mailbox. */
  readonly path: string;
  names(): EventName[];
  published(file: "status" | "history"): unknown;
  userTexts(): string[];
}

/** Settles everything that needs no more input. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

export function setUp(overrides: Partial<ControllerDependencies> = {}): Harness {
  const dir = temp();
  const paths = podPaths(dir.path, SELF.name);
  mkdirSync(paths.directory);
  const log: string[] = [];
  const broadcasts: Event[] = [];
  const reports: PodEvent[] = [];
  const started: FakeRun[] = [];
  let waiting = Promise.withResolvers<void>();
  let runs = 0;
  let taken = 0;
  let finished = 0;
  let clients = 0;
  const history = overrides.history ?? new History();
  const mailbox =
    overrides.mailbox ?? new Mailbox(dir.path, SESSION, (trouble) => log.push(trouble));

  const runTurns = (signal: AbortSignal): Promise<RunEnd> => {
    log.push("run");
    runs += 1;
    const ended = Promise.withResolvers<RunEnd>();
    started.push({
      signal,
      take: () => textsOf(controller),
      end: async (end) => {
        ended.resolve(end);
        await settle();
      },
    });
    waiting.resolve();
    waiting = Promise.withResolvers();
    return ended.promise;
  };
  const controller = new Controller({
    self: SELF,
    record: {
      begin: () => Promise.resolve(),
      settle: () => Promise.resolve(),
      end: () => Promise.resolve(),
    },
    session: () => SESSION,
    mailbox,
    history,
    files: new RuntimeFiles(paths, SELF.name, SELF.instance),
    greeting: () => ({
      pod_name: SELF.name,
      cwd: "/w",
      provider: "script",
      model: "m",
      scope_summary: "",
      tools: [],
    }),
    broadcast: (event) => {
      log.push(event.event);
      broadcasts.push(event);
    },
    runTurns,
    attach: async () => [],
    complete: async () => [],
    parentChanged: () => log.push("parent changed"),
    childEvent: async () => true,
    report: ({ event }) => {
      log.push(`report ${event.kind}`);
      reports.push(event);
    },
    unreported: () => 0,
    compact: () => Promise.resolve(undefined),
    revive: () => Promise.resolve(undefined),
    finish: () => {
      log.push("finish");
      finished += 1;
    },
    interruption: () => ({ note: INTERRUPT_NOTE, result: INTERRUPTED_BY_USER }),
    wrapNotice: (text) => `[Notification] ${text}`,
    ...overrides,
  });
  return {
    controller,
    history,
    broadcasts,
    reports,
    log,
    get finished() {
      return finished;
    },
    get runs() {
      return runs;
    },
    client() {
      clients += 1;
      const id = clients;
      const received: Event[] = [];
      const send = (event: Event): void => {
        log.push(`${event.event} c${id}`);
        received.push(event);
      };
      return { id, received, send };
    },
    async send(client, method) {
      await controller.handle(client, method);
    },
    async nextRun() {
      if (started.length === taken) await within(waiting.promise, 2000, "the start of a run");
      const run = started[taken];
      taken += 1;
      if (run === undefined) throw new Error("no run has started");
      return run;
    },
    mailbox,
    path: dir.path,
    names: () => broadcasts.map(({ event }) => event),
    published: (file) => JSON.parse(readFileSync(paths[file], "utf8")) as unknown,
    userTexts: () =>
      history.items.flatMap((item) =>
        item.type === "message" && item.role === "user" ? [messageText(item)] : [],
      ),
    [Symbol.asyncDispose]: async () => {
      await mailbox.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Takes the notices that wait, as a model request does. */
export function textsOf(controller: Controller, kept: Item[] = []): string[] {
  controller.takeNotices((items) => kept.push(...items));
  return kept.flatMap((item) => (item.type === "message" ? [messageText(item)] : []));
}

/** `run` with one text segment. */
export function runOf(text: string, id?: string): Method {
  return {
    method: "run",
    ...(id === undefined ? {} : { id }),
    params: { input: [{ kind: "text", content: text }] },
  };
}

/** `notify`. */
export function notifyOf(message: string, id?: string): Method {
  return { method: "notify", ...(id === undefined ? {} : { id }), params: { message } };
}

/** A run that ended as runs do. */
export const finished: RunEnd = { outcome: "finished" };

/** The refusal of a request, or what all are told of a failure. */
export function errorOf(code: string, message: string, id?: string) {
  return { event: "error", data: { code, message, ...(id === undefined ? {} : { id }) } };
}
