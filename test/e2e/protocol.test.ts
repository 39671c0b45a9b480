/**
 * The conformance checks of the protocol's specification (Appendix C, by their numbers), with the compiled
 * binary and a server in the Anthropic format that notes what the model is shown. The checks of framing
 * (11, 14) are in `raw-peer.test.ts`, those of children's events (12, 13) in `test/spawn`, `test/transport`.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Event } from "../../src/protocol/event.ts";
import type { Segment } from "../../src/protocol/segment.ts";
import {
  type Answer,
  type AnthropicRequest,
  type AnthropicServer,
  anthropicServer,
} from "../support/anthropic-server.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, type RootPod, startWorld, type World } from "../support/pod.ts";
import { connectRaw } from "../transport/raw-client.ts";

const command = [podBinary()];

/** A root Pod whose model is this server. */
async function rootAt(world: World, server: AnthropicServer): Promise<RootPod> {
  const auth = { kind: "none" };
  const model = { scheme: "anthropic", base_url: server.url, model_id: "test-model", auth };
  return await world.start({ command, model });
}

/** All that the model is shown besides the system prompt and the tools. */
const shown = (request: AnthropicRequest | undefined): string =>
  JSON.stringify(request?.messages ?? []);

const names = (events: readonly Event[]): string[] => events.map(({ event }) => event);
const runOf = (...input: Segment[]) => ({ method: "run", params: { input } }) as const;

async function historyOf(root: RootPod) {
  const answer = await root.request({ method: "get_history" }, "history");
  if (answer.event !== "history") throw new Error("no history");
  return answer.data;
}

test("alerts come first, in order, once, to whoever connects later; then live (2, 3)", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "ok" }] });
  const broken = (n: number): Segment => ({ kind: "knowledge_ref", slug: `k${n}` });
  const future = JSON.parse('{"kind":"future_thing","x":1}') as Segment;
  await root.request(runOf(broken(1), future));
  await root.waitFor("run_end");
  expect(root.events.find(({ event }) => event === "user_message")).toEqual({
    event: "user_message",
    data: { segments: [broken(1), { kind: "unknown" }] },
  });
  using late = await connectRaw(root.socket);
  await late.write('{"method":"status","id":"s"}\n');
  const before: string[] = [];
  for (let line = await late.line(); line !== undefined; line = await late.line()) {
    if (line.includes('"status"')) break;
    before.push(line);
  }
  expect(before.map((line) => (JSON.parse(line) as { data: object }).data)).toMatchObject([
    { level: "warn", source: "pod", message: expect.stringContaining("knowledge ref #k1") },
    { level: "warn", source: "pod", message: expect.stringContaining("unknown segment kind") },
  ]);
  await root.request(runOf(broken(2)));
  await root.waitFor("run_end");
  const rest: string[] = [];
  for (let line = await late.line(); line !== undefined; line = await late.line()) {
    rest.push(line);
    if (line.includes('"run_end"')) break;
  }
  expect(rest.filter((line) => line.startsWith('{"event":"alert"'))).toHaveLength(1);
});

test("a run on an idle pod is told in order and is in the history afterwards (4)", async () => {
  await using world = startWorld();
  await using server = await anthropicServer((): Answer => ({ text: ["Hel", "lo"] }));
  const root = await rootAt(world, server);
  const from = root.events.length;
  await root.runToEnd("hi");
  const told = names(root.events.slice(from)).filter((name) => name !== "usage");
  expect(told).toEqual([
    "user_message",
    "turn_start",
    "text_delta",
    "text_delta",
    "text_done",
    "turn_end",
    "run_end",
  ]);
  const { items, status } = await historyOf(root);
  expect([items.length, status]).toEqual([2, "idle"]);
});

test("what cannot be now is refused by its code, and a note is always taken (5)", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "slow", delay_ms: 60_000 }] });
  const refusal = async (method: "resume" | "cancel" | "pause"): Promise<unknown> =>
    await root
      .request({ method })
      .catch((error: { data?: { wire?: unknown } }) => error.data?.wire);
  expect([await refusal("resume"), await refusal("cancel"), await refusal("pause")]).toEqual([
    "not_paused",
    "not_running",
    "not_running",
  ]);
  await root.run("go");
  const second = await root
    .run("again")
    .catch((error: { data?: { wire?: unknown } }) => error.data);
  expect(second).toMatchObject({ wire: "already_running" });
  expect(await refusal("resume")).toBe("already_running");
  await root.request({ method: "notify", params: { message: "by the way" } });
  expect(names(root.events)).not.toContain("error");
});

test("a pasted text goes to the model as it is, and is shown as it was typed (6)", async () => {
  await using world = startWorld();
  await using server = await anthropicServer((): Answer => ({ text: "ok" }));
  const root = await rootAt(world, server);
  const input: Segment[] = [
    { kind: "text", content: "see " },
    { kind: "paste", id: 7, chars: 11, lines: 2, content: "line1\nline2" },
    { kind: "text", content: " please" },
  ];
  await root.request(runOf(...input));
  await root.waitFor("run_end");
  expect(shown(server.requests[0])).toContain("see line1\\nline2 please");
  expect(shown(server.requests[0])).not.toContain("Clipboard");
  const { items } = await historyOf(root);
  expect(items[0]).toMatchObject({ segments: input });
});

test("a file that is named comes along, one that cannot be read is an alert and stays a name (7)", async () => {
  await using world = startWorld();
  writeFileSync(join(world.work, "notes.md"), "alpha\n");
  await using server = await anthropicServer((): Answer => ({ text: "ok" }));
  const root = await rootAt(world, server);
  const ref = (path: string): Segment => ({ kind: "file_ref", path });
  await root.request(runOf(ref("notes.md"), ref("src/lib.rs")));
  await root.waitFor("run_end");
  const { items } = await historyOf(root);
  expect(JSON.stringify(items[0])).toContain("@notes.md@src/lib.rs");
  expect(JSON.stringify(items[1])).toContain("[File: notes.md]\\nalpha");
  const alerts = root.events.flatMap((event) => (event.event === "alert" ? [event.data] : []));
  expect(alerts.map(({ message }) => message).join()).toContain("file ref @src/lib.rs");
});

test("a note wakes an idle pod: one request, with the note as a note, nothing typed (8, 29)", async () => {
  await using world = startWorld();
  await using server = await anthropicServer((): Answer => ({ text: "noted" }));
  const root = await rootAt(world, server);
  await root.request({ method: "notify", params: { message: "turn done" } });
  await root.waitFor("run_end");
  expect(server.requests).toHaveLength(1);
  for (const part of ["[Notification]", "turn done", "not a blocking request"]) {
    expect(shown(server.requests[0])).toContain(part);
  }
  expect(names(root.events)).not.toContain("user_message");
});

test("a pause in the middle of an answer discards it; resume asks anew (9)", async () => {
  await using world = startWorld();
  await using server = await anthropicServer((_request, n): Answer =>
    n === 1 ? { text: ["par", "tial"], stallAfter: 3 } : { text: "done" },
  );
  const root = await rootAt(world, server);
  await root.run("hi");
  await root.waitFor("text_delta");
  await root.request({ method: "pause" });
  const paused = await root.waitFor("run_end");
  expect(paused.data).toEqual({ result: "paused", outcome: "paused" });
  expect((await historyOf(root)).status).toBe("paused");
  await root.request({ method: "resume" });
  expect((await root.waitFor("run_end")).data.result).toBe("finished");
  const { items } = await historyOf(root);
  expect(items).toMatchObject([
    { role: "user", content: [{ text: "hi" }] },
    { role: "assistant", content: [{ text: "done" }] },
  ]);
  expect(names(root.events)).not.toContain("error");
});

test("a run after a pause in a tool: the call is closed, then the note, then the input (10)", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  await using server = await anthropicServer((request): Answer => {
    const text = shown(request);
    if (text.includes("something else")) return { text: "done" };
    const scope = [{ target: area, permission: "write" }];
    return { calls: [{ name: "SpawnPod", input: { name: "kid", task: "task of kid", scope } }] };
  });
  // The child's program never becomes ready, so the tool hangs until it is told to stop.
  const auth = { kind: "none" };
  const model = { scheme: "anthropic", base_url: server.url, model_id: "test-model", auth };
  const hanging = join(world.home, "hanging");
  writeFileSync(hanging, '#!/bin/sh\ntouch "$0.started"\nexec sleep 60\n', { mode: 0o755 });
  const root = await world.start({ command, model, env: { INSOMNIA_POD_COMMAND: hanging } });
  await root.run("go");
  await root.waitFor("turn_end");
  await eventually(() => existsSync(`${hanging}.started`), "the child's program to start");
  await root.request({ method: "pause" });
  expect((await root.waitFor("run_end")).data.result).toBe("paused");
  await root.request(runOf({ kind: "text", content: "something else" }));
  await root.waitFor("run_end");
  const last = shown(server.requests.at(-1));
  const places = ["[Interrupted by user]", "interrupted by the user", "something else"].map(
    (text) => last.indexOf(text),
  );
  expect(places.every((place) => place >= 0)).toBe(true);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(world.allocation("kid")).toBeUndefined();
}, 30_000);
