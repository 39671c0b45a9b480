/** The recorder between a history and its session log: order, failures, moves to a new session. */
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { messageOf, PodError } from "../../src/base/errors.ts";
import { INTERRUPTED_BY_END, Recorder } from "../../src/controller/recorder.ts";
import { textMessage, type Item } from "../../src/protocol/history.ts";
import { listSessions } from "../../src/session/catalog.ts";
import { forkSession } from "../../src/session/fork.ts";
import { createLog } from "../../src/session/log.ts";
import { logPath } from "../../src/session/log-names.ts";
import { openSession } from "../../src/session/open.ts";
import { History } from "../../src/worker/history.ts";
import { temp } from "../support/temp.ts";

const SESSION = "0198c0de-0000-7000-8000-000000000001";
const user = (text: string): Item => textMessage("user", text);
const call = (id: string): Item => ({ type: "tool_call", call_id: id, name: "T", arguments: "{}" });

interface Entry {
  readonly kind: string;
  readonly domain?: string;
  readonly [key: string]: unknown;
}

function setUp(store: string, options: { moved?: () => Promise<void>; session?: string } = {}) {
  const told: string[] = [];
  const alerts: string[] = [];
  const moves: string[] = [];
  const session = options.session ?? SESSION;
  const opened = existsSync(logPath(store, session)) ? openSession(store, session) : undefined;
  const recorder = new Recorder(
    {
      store,
      config: {
        max_tokens: null,
        temperature: null,
        top_p: null,
        top_k: null,
        stop_sequences: [],
        reasoning: null,
      },
      turns: { current: 3 },
      setup: () => ({
        name: "pod",
        instance: "i",
        program: "0",
        cwd: "/",
        manifest: {},
        prompts: {},
        scope: { allow: [], deny: [] },
        parent: null,
      }),
      systemPrompt: () => "be brief",
      moved: async (next) => {
        await options.moved?.();
        moves.push(next);
      },
      alert: (_level, message) => alerts.push(message),
      tellModel: (text) => told.push(text),
    },
    session,
    opened,
  );
  const history = new History(recorder.append, opened?.state.items);
  const entries = (id = recorder.session): Entry[] =>
    readFileSync(logPath(store, id), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Entry);
  const kinds = (id?: string): string[] =>
    entries(id).map(({ kind, domain }) => (domain === undefined ? kind : domain));
  return { recorder, history, told, alerts, moves, entries, kinds, opened };
}

test("the log begins with the first input: prompt, setup and input in one write", async () => {
  await using dir = temp();
  const { recorder, history, kinds, entries } = setUp(dir.path);
  await recorder.begin(history);
  await recorder.settle();
  expect(readdirSync(dir.path)).toEqual([]);
  recorder.input([{ kind: "paste", id: 1, chars: 4, lines: 2, content: "one\ntwo" }]);
  history.append(user("one\ntwo"));
  expect(kinds()).toEqual(["session_start", "pod.setup", "user_input"]);
  expect(entries()[0]).toMatchObject({ system_prompt: "be brief", prev_hash: null });
  expect(entries()[1]).toMatchObject({ payload: { lineage: SESSION, title: "one" } });
  await recorder.close("signal");
});

test("an item is in the log before it is in the history, and never in the history alone", async () => {
  await using dir = temp();
  const { recorder, history, told, kinds } = setUp(dir.path);
  history.append(user("first"));
  // From here on nothing can be written.
  await recorder.close("signal");
  expect(() => history.append(user("lost"))).toThrow("cannot be written");
  expect(history.items).toHaveLength(1);
  expect(kinds().slice(-1)).toEqual(["pod.closed"]);
  await recorder.begin(history).catch(() => undefined);
  expect(told).toHaveLength(1);
  expect(told[0]).toContain("The session log could not be written");
});

test.skipIf(process.geteuid?.() === 0)(
  "a directory that takes no file is said and harms nothing",
  async () => {
    await using dir = temp();
    chmodSync(dir.path, 0o500);
    const { history } = setUp(dir.path);
    expect(() => history.append(user("x"))).toThrow("cannot be made");
    chmodSync(dir.path, 0o700);
    history.append(user("x"));
    expect(history.items).toHaveLength(1);
  },
);

test("a run's end is recorded with its turns, however it ended", async () => {
  await using dir = temp();
  const { recorder, history, entries } = setUp(dir.path);
  history.append(user("x"));
  await recorder.end({ outcome: "finished" }, "none");
  await recorder.end({ outcome: "cancelled" }, "cancel");
  await recorder.end({ outcome: "cancelled" }, "pause");
  await recorder.end({ outcome: "cancelled" }, "shutdown");
  await recorder.end({ outcome: "error", code: "internal", message: "why" }, "none");
  expect(entries().slice(3)).toMatchObject([
    { kind: "turn_end", turn_count: 3 },
    { kind: "run_completed", interrupted: false, result: "finished" },
    { kind: "turn_end" },
    { kind: "run_errored", interrupted: true, message: "Cancelled" },
    { kind: "turn_end" },
    { kind: "run_completed", interrupted: true, result: "paused" },
    { kind: "turn_end" },
    { kind: "run_errored", interrupted: true, message: "the Pod was stopped during this run" },
    { kind: "turn_end" },
    { kind: "run_errored", interrupted: true, message: "why" },
  ]);
  await recorder.close("signal");
});

test("calls that were under way are closed once, with the results that had come early", async () => {
  await using dir = temp();
  const first = setUp(dir.path);
  first.history.append(user("x"), call("a"), call("b"), call("c"));
  first.recorder.early({ type: "tool_result", call_id: "b", summary: "done b" });
  // The process ends here: only the lock goes.
  const bytes = readFileSync(logPath(dir.path, SESSION));
  await first.recorder.close("signal");
  const copy = "0198c0de-0000-7000-8000-000000000002";
  await Bun.write(logPath(dir.path, copy), bytes);

  const second = setUp(dir.path, { session: copy });
  if (second.opened === undefined) throw new Error("not restored");
  await second.recorder.resume(second.history, second.opened);
  const results = second.history.items.filter(({ type }) => type === "tool_result");
  expect(
    results.map((item) => (item.type === "tool_result" ? [item.call_id, item.summary] : [])),
  ).toEqual([
    ["b", "done b"],
    ["a", INTERRUPTED_BY_END],
    ["c", INTERRUPTED_BY_END],
  ]);
  expect(second.kinds().slice(-4)).toEqual([
    "tool_results",
    "tool_results",
    "run_errored",
    "pod.setup",
  ]);
  const known = [...second.history.items];
  await second.recorder.close("signal");

  const third = setUp(dir.path, { session: copy });
  if (third.opened === undefined) throw new Error("not restored");
  await third.recorder.resume(third.history, third.opened);
  expect([...third.history.items]).toEqual(known);
  expect(third.opened.state.closed).toBe("signal");
  await third.recorder.close("signal");
});

test("a compaction moves to a new session, and one that fails leaves nothing behind", async () => {
  await using dir = temp();
  let refuse = true;
  const { recorder, history, moves, kinds, entries } = setUp(dir.path, {
    moved: () =>
      refuse ? Promise.reject(new PodError("registry_locked", "busy")) : Promise.resolve(),
  });
  history.append(user("x"), textMessage("assistant", "y"));
  recorder.childEnded({ name: "kid", instance: "k", end: "stopped", at: 1 });
  const items = [...history.items];
  const failed = await recorder.compact(items).catch(messageOf);
  expect(failed).toBe("busy");
  expect([recorder.session, readdirSync(dir.path)]).toEqual([SESSION, [`${SESSION}.jsonl`]]);
  refuse = false;
  await recorder.compact(items);
  expect(moves).toEqual([recorder.session]);
  expect(kinds()).toEqual(["session_start", "pod.setup", "pod.child_ended"]);
  const old = entries(SESSION).at(-1);
  expect(entries()[0]).toMatchObject({
    compacted_from: { session_id: SESSION, at_hash: old?.hash },
  });
  expect(entries()[1]).toMatchObject({ payload: { lineage: SESSION } });
  history.append(user("z"));
  expect(kinds().at(-1)).toBe("hook_injected_items");
  // The old one is free for others.
  openSession(dir.path, SESSION).log.close();
  await recorder.close("signal");
});

test("the new session is locked before the old one is let go", async () => {
  await using dir = temp();
  const { recorder, history } = setUp(dir.path, {
    moved: () => {
      expect(() => openSession(dir.path, SESSION)).toThrow("is being written");
      return Promise.resolve();
    },
  });
  history.append(user("x"));
  await recorder.compact([...history.items]);
  expect(() => openSession(dir.path, recorder.session)).toThrow("is being written");
  await recorder.close("signal");
  expect(() => createLog(dir.path, recorder.session)).toThrow("cannot be made");
});

test("starts and ends of children go along to a new session, those of the moment of the move too", async () => {
  await using dir = temp();
  const scope = [{ target: "/w", permission: "write", recursive: true }] as const;
  const start = (name: string, at: number) => ({
    name,
    instance: `i-${name}`,
    scope: [...scope],
    task: "t",
    at,
  });
  const end = { name: "b", instance: "i-b", end: "died", at: 9 } as const;
  const { recorder, history } = setUp(dir.path, {
    moved: async () => {
      recorder.childEnded(end);
      recorder.childStarted(start("c", 3));
    },
  });
  history.append(user("x"));
  recorder.childStarted(start("a", 1));
  recorder.childStarted(start("b", 2));
  await recorder.compact(history.items);
  await recorder.close("signal");
  const { state, log } = openSession(dir.path, recorder.session);
  log.close();
  expect(state.childStarts.map(({ name }) => name)).toEqual(["a", "c"]);
  expect(state.childEnds).toEqual([end]);
});

test("the key of a run is recorded in one write with its input, and with nothing else", async () => {
  await using dir = temp();
  const { recorder, history, kinds } = setUp(dir.path);
  recorder.input([{ kind: "text", content: "x" }], "run:k1");
  history.append(textMessage("system", "before"), user("x"), textMessage("system", "after"));
  history.append(textMessage("assistant", "y"));
  recorder.input([{ kind: "text", content: "z" }]);
  history.append(user("z"));
  const inputs = ["hook_injected_items", "user_input", "hook_injected_items", "pod.run_key"];
  expect(kinds().slice(2)).toEqual([...inputs, "assistant_items", "user_input"]);
  await recorder.close("signal");
  const { state, log } = openSession(dir.path, recorder.session);
  log.close();
  expect(state.runKeys).toEqual(["run:k1"]);
});

test("a new session whose history does not fit in one line is found by lists and is no run cut off", async () => {
  await using dir = temp();
  const { recorder, history, kinds } = setUp(dir.path);
  for (let n = 0; n < 20; n += 1) {
    history.append(user("x".repeat(300_000)), textMessage("assistant", `${n}`));
  }
  recorder.childEnded({ name: "kid", instance: "k", end: "stopped", at: 1 });
  await recorder.compact([...history.items]);
  expect(kinds().slice(0, 3)).toEqual(["session_start", "pod.setup", "pod.child_ended"]);
  expect(kinds().at(-1)).toBe("pod.carried");
  expect(listSessions(dir.path)[0]).toMatchObject({
    session: recorder.session,
    setup: { lineage: SESSION },
    rest: "idle",
  });
  const known = [...history.items];
  await recorder.close("signal");
  const { log, state } = openSession(dir.path, recorder.session);
  log.close();
  expect(state.items).toEqual(known);
  expect(state).toMatchObject({ cutOff: false, interrupted: false, mayGoOn: false });
  // A copy of it is as good.
  const copy = forkSession(dir.path, recorder.session, log.head ?? "");
  expect(listSessions(dir.path)[0]).toMatchObject({
    session: copy,
    setup: { lineage: copy },
    isCopy: true,
  });
});

test("while a new session is filled no list shows it, and what a crash left of one goes", async () => {
  await using dir = temp();
  const left = dir.join(`${Bun.randomUUIDv7()}.jsonl.part`);
  writeFileSync(left, "half a line");
  utimesSync(left, 1, 1);
  const { recorder, history } = setUp(dir.path);
  history.append(user("x"));
  const taken = createLog(dir.path, Bun.randomUUIDv7(), { unlisted: true });
  taken.append([{ kind: "turn_end", ts: 1, turn_count: 1 }]);
  const seen = listSessions(dir.path).map(({ session }) => session);
  expect(seen).toEqual([SESSION]);
  expect(readdirSync(dir.path).sort()).toEqual([`${SESSION}.jsonl`, `${taken.id}.jsonl.part`]);
  taken.publish();
  expect(readdirSync(dir.path).sort()).toEqual([`${SESSION}.jsonl`, `${taken.id}.jsonl`]);
  taken.discard();
  expect(readdirSync(dir.path)).toEqual([`${SESSION}.jsonl`]);
  await recorder.close("signal");
});

test("an end of a child that is learnt of during a move stands in the new log", async () => {
  await using dir = temp();
  const { recorder, history, kinds } = setUp(dir.path, {
    moved: async () => {
      recorder.childEnded({ name: "kid", instance: "k", end: "stopped", at: 2 });
    },
  });
  history.append(user("x"));
  await recorder.compact([...history.items]);
  expect(kinds()).toEqual(["session_start", "pod.setup", "pod.child_ended"]);
  await recorder.close("signal");
});
