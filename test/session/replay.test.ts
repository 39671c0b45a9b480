/** From entries to the state of a session (spec worker-and-tools 5.3, 5.4). */
import { expect, test } from "bun:test";
import type { Item } from "../../src/protocol/history.ts";
import type { Segment } from "../../src/protocol/segment.ts";
import type { Entry } from "../../src/session/entry.ts";
import { Replay, type SessionState } from "../../src/session/replay.ts";
import { CUT_OFF, DOMAIN } from "../../src/session/setup.ts";
import { itemEntries, startEntries } from "../../src/session/write.ts";
import { History } from "../../src/worker/history.ts";

const CONFIG = {
  max_tokens: null,
  temperature: null,
  top_p: null,
  top_k: null,
  stop_sequences: [],
  reasoning: null,
};
const SETUP = {
  name: "kid",
  instance: "i-1",
  program: "0",
  lineage: "L",
  title: "first line",
  cwd: "/w",
  manifest: { pod: { name: "kid" } },
  prompts: {},
  scope: { allow: [], deny: [] },
  parent: { name: "root", lineage: "R" },
};
const start = startEntries({ systemPrompt: "be brief", config: CONFIG, items: [] }, 1);
const extension = (domain: string, payload: unknown): Entry => ({
  kind: "extension",
  ts: 1,
  domain,
  payload,
});
const input = (content: string): Entry => ({
  kind: "user_input",
  ts: 1,
  segments: [{ kind: "text", content }],
});

function replay(...entries: Entry[]): SessionState {
  const fold = new Replay();
  // As a file would give them: parsed from text.
  for (const entry of entries) fold.add(JSON.parse(JSON.stringify(entry)) as Entry);
  return fold.state();
}

const call = (id: string): Item => ({ type: "tool_call", call_id: id, name: "T", arguments: "{}" });
const result = (id: string): Item & { type: "tool_result" } => ({
  type: "tool_result",
  call_id: id,
  summary: `did ${id}`,
});

test("a report counts when the end of its run stands behind it, and a cut-off run has none", () => {
  const event = { kind: "turn_ended", pod_name: "kid", instance: "i-1" };
  const report = (id: string): Entry => extension(DOMAIN.report, { id, event });
  const done: Entry = { kind: "run_completed", ts: 1, interrupted: false, result: "finished" };
  const cut: Entry = { kind: "run_errored", ts: 1, interrupted: true, message: CUT_OFF };
  const setup = extension(DOMAIN.setup, SETUP);
  const first = [...start, setup, input("x"), report("end:1")];
  expect(replay(...first).endReport).toBeUndefined();
  expect(replay(...first, done).endReport).toMatchObject({ id: "end:1", event });
  expect(replay(...first, cut, input("y"), done).endReport).toBeUndefined();
  // One that its parent does not hear of leaves the one before.
  expect(replay(...first, done, input("y"), done).endReport?.id).toBe("end:1");
  expect(replay(...first, done, report("end:2"), cut).endReport?.id).toBe("end:1");
});

test("typed segments come back as the text the model got and as they were typed (97)", () => {
  const segments: Segment[] = [
    { kind: "text", content: "see " },
    { kind: "paste", id: 1, chars: 11, lines: 2, content: "line1\nline2" },
    { kind: "file_ref", path: "src/main.rs" },
  ];
  const { items, typed } = replay(...start, { kind: "user_input", ts: 1, segments });
  expect(items).toMatchObject([
    { role: "user", content: [{ type: "text", text: "see line1\nline2@src/main.rs" }] },
  ]);
  expect(typed.get(items[0]?.id ?? "")).toEqual(segments);
});

test("what a history appends comes back with the same ids, whatever was mixed", () => {
  const entries: Entry[] = [];
  const history = new History((items) => entries.push(...itemEntries(items, undefined, 1)));
  history.append({ type: "message", role: "user", content: [{ type: "text", text: "q" }] });
  // A gap in the numbers, as a refused append leaves it.
  expect(() => history.append(result("nothing"))).toThrow();
  history.append({ type: "reasoning", text: "hm", provider: { v: 1 } }, call("a"), call("b"));
  history.append(result("a"), { ...result("b"), is_error: true });
  history.append(
    { type: "message", role: "system", content: [{ type: "text", text: "note" }] },
    { type: "message", role: "system", content: [{ type: "text", text: "note 2" }] },
    { type: "message", role: "assistant", content: [{ type: "text", text: "done" }] },
  );
  expect(replay(...start, ...entries).items).toEqual([...history.items]);
  expect(entries.map(({ kind }) => kind)).toEqual([
    "hook_injected_items",
    "assistant_items",
    "tool_results",
    "hook_injected_items",
    "hook_injected_items",
    "assistant_items",
  ]);
});

test("a run without an end was cut off; one with an end says how it ended", () => {
  const setup = extension(DOMAIN.setup, SETUP);
  expect(replay(...start, setup)).toMatchObject({ cutOff: false, interrupted: false });
  expect(replay(...start, setup, input("x"))).toMatchObject({ cutOff: true, interrupted: true });
  const completed: Entry = { kind: "run_completed", ts: 1, interrupted: false, result: "finished" };
  expect(replay(...start, setup, input("x"), completed)).toMatchObject({
    cutOff: false,
    interrupted: false,
  });
  const cancelled: Entry = { kind: "run_errored", ts: 1, interrupted: true, message: "Cancelled" };
  expect(replay(...start, input("x"), cancelled)).toMatchObject({
    cutOff: false,
    interrupted: true,
  });
});

test("an orderly end counts until the Pod is brought back or works again", () => {
  const setup = extension(DOMAIN.setup, SETUP);
  const closed = extension(DOMAIN.closed, { reason: "signal" });
  expect(replay(...start, setup, closed).closed).toBe("signal");
  expect(replay(...start, setup, closed, setup).closed).toBeUndefined();
  expect(replay(...start, setup, closed, input("x")).closed).toBeUndefined();
  expect(replay(...start, setup).setup).toEqual(SETUP);
});

test("results recorded before their batch ended count only while the batch has not", () => {
  const items = itemEntries(
    [
      { ...call("a"), id: "i000002" },
      { ...call("b"), id: "i000003" },
    ],
    undefined,
    1,
  );
  const early = extension(DOMAIN.result, { item: result("b") });
  expect(replay(...start, input("x"), ...items, early).earlyResults).toEqual([result("b")]);
  const both = itemEntries(
    [
      { ...result("a"), id: "i000004" },
      { ...result("b"), id: "i000005" },
    ],
    undefined,
    1,
  );
  expect(replay(...start, input("x"), ...items, early, ...both).earlyResults).toEqual([]);
});

test("an extension entry of another program, or with other content, is passed over", () => {
  const state = replay(
    ...start,
    extension("memory.extract", { processed_through_entry: 7 }),
    extension(DOMAIN.setup, { name: 1 }),
    extension(DOMAIN.closed, { reason: "?" }),
  );
  expect(state).toMatchObject({ setup: undefined, closed: undefined, entries: 4 });
});
