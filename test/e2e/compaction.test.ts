/**
 * Compaction in a real Pod: by itself, on demand, when it fails, and what comes back afterwards.
 * Numbers are those of spec worker-and-tools 7.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Event } from "../../src/protocol/event.ts";
import type { RootPod, World } from "../support/pod.ts";
import { startWorld } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";

const SUMMARY: ScenarioRule = {
  match: "^Now mark the files",
  calls: [{ tool: "write_summary", input: { text: "The password is 42." } }],
};
const recorded: ScenarioRule = { match: "^Summary recorded", text: "done" };

/** A Pod whose manifest has these keys of `[compaction]`. */
async function start(
  world: World,
  rules: readonly ScenarioRule[],
  compaction: Readonly<Record<string, number>> | undefined,
): Promise<RootPod> {
  const lines = Object.entries(compaction ?? {}).map(([key, value]) => `${key} = ${value}`);
  const project = join(world.work, ".insomnia");
  if (compaction !== undefined) {
    await Bun.write(join(project, "manifest.toml"), `[compaction]\n${lines.join("\n")}\n`);
  }
  return await world.start({ rules });
}

const namesOf = (events: readonly Event[]): string[] => events.map(({ event }) => event);

function published(world: World): { status: { session_id: string }; texts: string[] } {
  const read = (name: string): unknown =>
    JSON.parse(readFileSync(join(world.runtime, "root", name), "utf8"));
  const items = read("history.json") as { content?: { text: string }[]; summary?: string }[];
  return {
    status: read("status.json") as { session_id: string },
    texts: items.map((item) => item.content?.[0]?.text ?? item.summary ?? ""),
  };
}

const entries = (world: World, session: string): Record<string, unknown>[] =>
  readFileSync(join(world.home, ".insomnia/sessions", `${session}.jsonl`), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("above the threshold the next run begins with a compaction into a new session (worker 87, W70)", async () => {
  await using world = startWorld();
  const root = await start(world, [SUMMARY, recorded, { text: "ok" }], {
    compact_threshold: 1,
    compact_retained_tokens: 0,
  });
  await root.runToEnd("the password is 42");
  const before = published(world).status.session_id;
  const old = entries(world, before);
  await root.runToEnd("what was it?");
  const done = root.events.find(({ event }) => event === "compact_done");
  if (done?.event !== "compact_done") throw new Error("no compact_done");
  const session = done.data.new_session_id;
  expect(session).not.toBe(before);
  expect(published(world).status.session_id).toBe(session);
  expect(world.allocation("root")?.session_id).toBe(session);
  expect(entries(world, before)).toEqual([
    ...old,
    expect.objectContaining({ kind: "user_input" }) as Record<string, unknown>,
  ]);
  const [first] = entries(world, session);
  expect(first).toMatchObject({ kind: "session_start", compacted_from: { session_id: before } });
  expect(published(world).texts).toEqual([
    "[Compacted context summary]\n\nThe password is 42.",
    "what was it?",
    "ok",
  ]);
  const order = namesOf(root.events).filter((name) => /compact|user_message|run_end/.test(name));
  expect(order).toEqual([
    "user_message",
    "run_end",
    "user_message",
    "compact_start",
    "compact_done",
    "run_end",
  ]);
  // It comes back from the new session alone.
  await root.kill();
  const again = await world.start({ rules: [{ text: "ok" }], args: ["--session", session] });
  await again.runToEnd("still there?");
  expect(published(world).texts[0]).toContain("The password is 42.");
});

test("above the request threshold a run yields to a compaction and goes on (worker 88)", async () => {
  await using world = startWorld();
  const file = join(world.work, "big.txt");
  writeFileSync(file, "word ".repeat(4000));
  const read = { tool: "Read", input: { file_path: file } };
  const root = await start(
    world,
    [
      SUMMARY,
      recorded,
      { match: "^No file is marked", text: "none needed" },
      { match: "^go$", times: 1, calls: [read] },
      { text: "finished" },
    ],
    { compact_request_threshold: 3000, compact_retained_tokens: 100 },
  );
  const end = await root.runToEnd("go");
  expect(end).toMatchObject({ data: { outcome: "finished" } });
  expect(namesOf(root.events)).toContain("compact_done");
  expect(published(world).texts).toEqual([
    "[Compacted context summary]\n\nThe password is 42.",
    "go",
    "finished",
  ]);
});

test("without a summary nothing changes, and after three failures it is left alone for a while (worker 89, 90)", async () => {
  await using world = startWorld();
  const root = await start(world, [{ text: "ok" }], {
    compact_threshold: 1,
    compact_retained_tokens: 0,
  });
  for (let run = 0; run < 6; run += 1) {
    expect(await root.runToEnd("hello")).toMatchObject({ data: { outcome: "finished" } });
  }
  const failures = root.events.filter(({ event }) => event === "compact_failed");
  expect(failures).toHaveLength(3);
  expect(failures[0]).toEqual({
    event: "compact_failed",
    data: {
      error: "compact worker did not produce a summary (write_summary was never called)",
    },
  });
  const alerts = root.events.flatMap((event) =>
    event.event === "alert" ? [event.data.message] : [],
  );
  expect(alerts.at(-1)).toContain("failed");
  expect(alerts.join("\n")).toContain("3 times in a row");
  expect(published(world).texts).toHaveLength(12);
});

test("a compaction that leaves too much ends the run instead of going round (worker 92)", async () => {
  await using world = startWorld();
  const root = await start(world, [SUMMARY, recorded, { text: "ok" }], {
    compact_request_threshold: 1,
    compact_retained_tokens: 0,
  });
  // Of the first message there is nothing to summarise: it is sent as it is.
  expect(await root.runToEnd("one")).toMatchObject({ data: { outcome: "finished" } });
  await root.run("two");
  const second = await root.waitFor("error");
  expect(second.data.message).toContain("compaction thrash: context still exceeds threshold");
});

test("on demand a Pod compacts at once, says when there is nothing, and takes runs afterwards", async () => {
  await using world = startWorld();
  const long = "x".repeat(60_000);
  const root = await start(world, [SUMMARY, recorded, { text: "ok" }], undefined);
  await expect(root.request({ method: "compact" })).rejects.toThrow("nothing to compact");
  await root.runToEnd(long);
  await root.runToEnd("second");
  const before = published(world).status.session_id;
  await root.request({ method: "compact" });
  expect(published(world).status.session_id).not.toBe(before);
  await root.runToEnd("third");
  expect(published(world).texts).toEqual([
    "[Compacted context summary]\n\nThe password is 42.",
    "ok",
    "second",
    "ok",
    "third",
    "ok",
  ]);
});

test("what is asked for during the last request of a run is done when the run has ended", async () => {
  await using world = startWorld();
  const slow = { match: "^third", text: "ok", delay_ms: 700 };
  const root = await start(world, [SUMMARY, recorded, slow, { text: "ok" }], undefined);
  await root.runToEnd("x".repeat(60_000));
  await root.runToEnd("second");
  await root.run("third");
  await root.waitFor("turn_start");
  await root.request({ method: "compact" });
  await root.waitFor("run_end");
  await root.waitFor("compact_done");
  expect(namesOf(root.events).filter((name) => name === "run_end")).toHaveLength(3);
  await root.runToEnd("fourth");
  expect(published(world).texts[0]).toContain("The password is 42.");
  expect(published(world).texts).toContain("fourth");
});

test.each(["cancel", "pause", "shutdown"] as const)(
  "a run that comes during a slow compaction is taken at once, and %s ends it at once",
  async (method) => {
    await using world = startWorld();
    const slow = { ...SUMMARY, delay_ms: 60_000 };
    const root = await start(world, [slow, recorded, { text: "ok" }], undefined);
    await root.runToEnd("x".repeat(60_000));
    await root.runToEnd("second");
    const asked = root.request({ method: "compact" });
    await root.waitFor("compact_start");
    await root.run("third");
    // What was asked for is done before the run's first request; the summary is as slow again.
    await asked;
    await root.waitFor("compact_failed");
    await root.waitFor("compact_start");
    await root.request({ method });
    const end = await root.waitFor("run_end");
    expect(end.data.outcome).toBe(method === "pause" ? "paused" : "cancelled");
    // What a Pod publishes goes with it.
    if (method === "shutdown") expect(await root.exited).toBe(0);
    else expect(published(world).texts.at(-1)).toBe("third");
  },
);
