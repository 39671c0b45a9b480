/** Session logs as files: what is promised after cuts, damage, second writers and failures. */
import { expect, spyOn, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import * as files from "../../src/base/files.ts";
import type { Entry } from "../../src/session/entry.ts";
import { forkSession, salvage } from "../../src/session/fork.ts";
import { createLog } from "../../src/session/log.ts";
import { keptCuts, logPath } from "../../src/session/log-names.ts";
import { openSession, salvageSession } from "../../src/session/open.ts";
import { scanLog, withLog } from "../../src/session/scan.ts";
import { DOMAIN } from "../../src/session/setup.ts";
import { itemEntries, startEntries } from "../../src/session/write.ts";
import { temp } from "../support/temp.ts";
import { VECTOR_ENTRIES, VECTORS } from "./vectors.ts";

const ID = "0198c0de-0000-7000-8000-000000000001";

/** A log with the vector entries and a tool round; returns its bytes. */
function fill(directory: string): Buffer {
  const log = createLog(directory, ID);
  log.append(VECTOR_ENTRIES);
  log.append([
    { kind: "user_input", ts: 1, segments: [{ kind: "text", content: "ü".repeat(40) }] },
    ...itemEntries(
      [
        { type: "tool_call", id: "i000004", call_id: "c", name: "Read", arguments: "{}" },
        { type: "tool_result", id: "i000005", call_id: "c", summary: "s", content: "x\n" },
      ],
      undefined,
      2,
    ),
    { kind: "run_completed", ts: 3, interrupted: false, result: "finished" },
  ]);
  log.close();
  return readFileSync(log.path);
}

const errorOf = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
};

test("a log is private, appended to, and read back as it was written (96)", async () => {
  await using dir = temp();
  fill(dir.path);
  expect(statSync(logPath(dir.path, ID)).mode & 0o777).toBe(0o600);
  const { state, log, repairs } = openSession(dir.path, ID);
  log.close();
  expect(repairs).toEqual([]);
  expect(state.items.map((item) => [item.id, item.type])).toEqual([
    ["i000001", "message"],
    ["i000002", "message"],
    ["i000003", "message"],
    ["i000004", "tool_call"],
    ["i000005", "tool_result"],
  ]);
  expect(state).toMatchObject({ turns: 1, interrupted: false, cutOff: false });
});

test("a log of the reference is read (94)", async () => {
  await using dir = temp();
  writeFileSync(logPath(dir.path, ID), `${VECTORS.join("\n")}\n\n`);
  const { state, log } = openSession(dir.path, ID);
  log.append([{ kind: "turn_end", ts: 1, turn_count: 2 }]);
  log.close();
  expect(state.items).toHaveLength(2);
  const again = openSession(dir.path, ID);
  again.log.close();
  expect(again.state.turns).toBe(2);
});

test("cut at every byte, a log comes back to its last whole line and the cut is kept (101)", async () => {
  await using dir = temp();
  const whole = fill(dir.path);
  const path = logPath(dir.path, ID);
  const ends = [...whole.entries()].filter(([, byte]) => byte === 10).map(([at]) => at + 1);
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length));
    const lines = ends.filter((end) => end <= length).length;
    const good = lines === 0 ? 0 : (ends[lines - 1] ?? 0);
    if (lines === 0) {
      expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({ code: "unknown_session" });
      expect(readFileSync(path).equals(whole.subarray(0, length))).toBe(true); // nothing was changed
      continue;
    }
    const { state, log, repairs } = openSession(dir.path, ID);
    log.close();
    expect(state.entries).toBe(lines);
    expect(readFileSync(path).equals(whole.subarray(0, good))).toBe(true);
    const aside = readdirSync(dir.path).filter((name) => name.endsWith(".corrupt"));
    expect([aside.length, repairs.length]).toEqual(good === length ? [0, 0] : [1, 1]);
    for (const name of aside) {
      expect(readFileSync(dir.join(name)).equals(whole.subarray(good, length))).toBe(true);
      expect(repairs[0]).toContain(name);
      expect(repairs[0]).toContain(`line ${lines + 1}`);
      expect(keptCuts(dir.path)).toEqual([dir.join(name)]);
      rmSync(dir.join(name));
    }
  }
});

test("a changed byte is never accepted: in the middle it is refused with file and line (102)", async () => {
  await using dir = temp();
  const whole = fill(dir.path);
  const path = logPath(dir.path, ID);
  const lastLine = whole.lastIndexOf(10, whole.length - 2) + 1;
  for (let at = 0; at < whole.length; at += 1) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 0x15;
    writeFileSync(path, changed);
    const line = whole.subarray(0, at).filter((byte) => byte === 10).length + 1;
    // The end of the last line but one joins it to the last: then both are an unfinished end.
    if (at >= lastLine - 1) {
      const { log, repairs, state } = openSession(dir.path, ID);
      log.close();
      expect(repairs).toHaveLength(1);
      expect(state.entries).toBeLessThan(9);
      continue;
    }
    const error = errorOf(() => openSession(dir.path, ID));
    expect(error).toMatchObject({ code: "session_corrupt", data: { path, line } });
    expect(String(error)).toContain(`${path}:${line} `);
    expect(readFileSync(path).equals(changed)).toBe(true);
  }
});

test("a removed, doubled or exchanged line is found", async () => {
  await using dir = temp();
  const lines = fill(dir.path).toString().trimEnd().split("\n");
  const path = logPath(dir.path, ID);
  const [a = "", b = "", c = "", ...rest] = lines;
  for (const damaged of [
    [a, c, ...rest],
    [a, b, b, c, ...rest],
    [a, c, b, ...rest],
    [b, c, ...rest],
  ]) {
    writeFileSync(path, `${damaged.join("\n")}\n`);
    expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({ code: "session_corrupt" });
  }
});

test("a damaged log is salvaged up to its last good line and set aside, whole", async () => {
  await using dir = temp();
  const changed = fill(dir.path);
  const path = logPath(dir.path, ID);
  const third = VECTORS.slice(0, 2).join("\n").length + 200;
  changed[third] = (changed[third] ?? 0) ^ 1;
  writeFileSync(path, changed);
  const saved = salvageSession(dir.path, ID);
  expect(saved).toMatchObject({ line: 3, at: JSON.parse(VECTORS[1] ?? "").hash });
  expect(saved.state.items).toHaveLength(1);
  const aside = saved.setAside();
  expect(readFileSync(aside).equals(changed)).toBe(true);
  expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({ code: "unknown_session" });
});

test("a log damaged before anything that a Pod could go on with is not salvaged, and nobody is told to", async () => {
  await using dir = temp();
  const path = logPath(dir.path, ID);
  const [start = "", ...rest] = VECTORS;
  for (const before of [[start], []]) {
    const damaged = [...before, "{}", ...rest, ""].join("\n");
    writeFileSync(path, damaged);
    const line = before.length + 1;
    for (const act of [openSession, salvageSession, salvage]) {
      const error = errorOf(() => act(dir.path, ID));
      expect(error).toMatchObject({ code: "session_corrupt", data: { path, line } });
      expect(String(error)).toContain(
        `${path}:${line} is not a line of a session log; nothing was`,
      );
      expect(String(error)).not.toContain("--salvage");
    }
    expect(readdirSync(dir.path)).toEqual([`${ID}.jsonl`]);
    expect(readFileSync(path, "utf8")).toBe(damaged);
  }
});

test("what a Pod may not have reported yet goes along with what is saved, and not with a copy", async () => {
  await using dir = temp();
  fill(dir.path);
  const event = { kind: "turn_ended", pod_name: "kid", instance: "k" };
  const { log } = openSession(dir.path, ID);
  log.append([
    { kind: "extension", ts: 4, domain: DOMAIN.report, payload: { id: "end:1", event } },
    { kind: "run_completed", ts: 4, interrupted: false, result: "finished" },
  ]);
  const head = log.head ?? "";
  log.close();
  const reportOf = (session: string): unknown => {
    const opened = openSession(dir.path, session);
    opened.log.close();
    return opened.state.endReport;
  };
  expect(reportOf(forkSession(dir.path, ID, head))).toBeUndefined();
  appendFileSync(log.path, "{}\n{}\n");
  expect(reportOf(salvage(dir.path, ID).session)).toEqual({ id: "end:1", event });
});

test("a fork holds a session up to an entry, says where it comes from, and changes nothing (99)", async () => {
  await using dir = temp();
  const before = fill(dir.path);
  const heads = VECTORS.map((line) => (JSON.parse(line) as { hash: string }).hash);
  const fork = forkSession(dir.path, ID, heads[1] ?? "");
  expect(readFileSync(logPath(dir.path, ID)).equals(before)).toBe(true);
  const { log, state } = openSession(dir.path, fork);
  log.close();
  expect(state.forkedFrom).toEqual({ session_id: ID, at_hash: heads[1] ?? "" });
  expect(state.items.map(({ id }) => id)).toEqual(["i000001"]);
  const lines = readFileSync(log.path, "utf8").split("\n");
  expect(lines.filter((line) => line.includes('"kind":"session_start"'))).toHaveLength(1);
  const unknown = "ab".repeat(32);
  expect(errorOf(() => forkSession(dir.path, ID, unknown))).toMatchObject({
    message: `entry not found: ${unknown}`,
  });
});

test("an unknown id and an empty log are told apart, and neither is touched (100, 105)", async () => {
  await using dir = temp();
  expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({
    message: `session not found: ${ID}`,
  });
  writeFileSync(logPath(dir.path, ID), "");
  expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({
    message: `session ${ID} has no entries to restore`,
  });
  expect(errorOf(() => logPath(dir.path, "../x"))).toMatchObject({ code: "invalid_argument" });
});

test("two writers never meet: the second is refused before it has read anything (W13)", async () => {
  await using dir = temp();
  fill(dir.path);
  const first = openSession(dir.path, ID);
  expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({ code: "session_conflict" });
  first.log.close();
  openSession(dir.path, ID).log.close();
});

test("a log that is closed while a flush waits keeps its file, and its lock, until all who wait have been served", async () => {
  await using dir = temp();
  const real = files.syncDataAsync;
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const flush = spyOn(files, "syncDataAsync").mockImplementation(async (fd) => {
    begun.resolve();
    await gate.promise;
    await real(fd);
  });
  try {
    const log = createLog(dir.path, ID);
    log.append(VECTOR_ENTRIES);
    const first = log.sync();
    await begun.promise;
    log.append([{ kind: "run_completed", ts: 3, interrupted: false, result: "finished" }]);
    const second = log.sync();
    log.close();
    log.close();
    expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({ code: "session_conflict" });
    expect(errorOf(() => log.append(VECTOR_ENTRIES))).toMatchObject({ code: "session_store" });
    gate.resolve();
    await Promise.all([first, second]);
    expect(flush).toHaveBeenCalledTimes(2);
    expect(log.lost).toBeUndefined();
    openSession(dir.path, ID).log.close();
  } finally {
    flush.mockRestore();
  }
});

test("what somebody else does to the file is noticed (98)", async () => {
  await using dir = temp();
  fill(dir.path);
  const path = logPath(dir.path, ID);
  const { log } = openSession(dir.path, ID);
  expect(log.isUntouched()).toBe(true);
  log.append([{ kind: "turn_end", ts: 1, turn_count: 2 }]);
  expect(log.isUntouched()).toBe(true);
  appendFileSync(path, "x\n");
  expect(log.isUntouched()).toBe(false);
  truncateSync(path, 10);
  expect(log.isUntouched()).toBe(false);
  rmSync(path);
  expect(log.isUntouched()).toBe(false);
  log.close();
});

test("a log that was moved aside is not the copy that stands in its place (98)", async () => {
  await using dir = temp();
  fill(dir.path);
  const path = logPath(dir.path, ID);
  const { log } = openSession(dir.path, ID);
  renameSync(path, `${path}.old`);
  copyFileSync(`${path}.old`, path);
  expect(log.isUntouched()).toBe(false);
  log.close();
});

test("an unknown kind keeps its place in the chain (103)", async () => {
  await using dir = temp();
  const log = createLog(dir.path, ID);
  log.append(VECTOR_ENTRIES.slice(0, 2));
  log.append([{ kind: "future_thing", ts: 1 } as unknown as Entry]);
  log.append(VECTOR_ENTRIES.slice(2, 3));
  log.close();
  const opened = openSession(dir.path, ID);
  opened.log.close();
  expect(opened.state).toMatchObject({ entries: 4, items: [{}, {}] });
});

test("lines longer and shorter than what is read at once come out the same", async () => {
  await using dir = temp();
  fill(dir.path);
  const read = (chunk: number | undefined): string[] =>
    withLog(logPath(dir.path, ID), ID, (fd) => {
      const heads: string[] = [];
      const end = scanLog(fd, ({ head, end }) => void heads.push(`${head} ${end}`), chunk);
      return [...heads, JSON.stringify(end)];
    });
  const whole = read(undefined);
  for (const chunk of [1, 2, 7, 64, 333, 1000]) expect(read(chunk)).toEqual(whole);
});

test("what was never published goes with the next one, also beside what cannot go", async () => {
  await using dir = temp();
  const left = `${logPath(dir.path, ID)}.part`;
  mkdirSync(left.replace("0198", "0197"));
  writeFileSync(left, "x");
  utimesSync(left, 1, 1);
  createLog(dir.path, Bun.randomUUIDv7(), { unlisted: true }).discard();
  expect(readdirSync(dir.path)).toEqual([expect.stringMatching(/^0197/)]);
});

test("a line too long to be read is damage when lines follow, and a cut-off end, kept whole, when none does", async () => {
  await using dir = temp();
  const path = logPath(dir.path, ID);
  const long = Buffer.alloc(64 * 1024 * 1024 + 300_000, "x");
  const [first = "", second = ""] = VECTORS;
  writeFileSync(path, `${first}\n`);
  appendFileSync(path, long);
  appendFileSync(path, `\n${second}\n`);
  const size = statSync(path).size;
  expect(errorOf(() => openSession(dir.path, ID))).toMatchObject({
    code: "session_corrupt",
    message: expect.stringContaining(`${path}:2 is longer than 64 MiB`),
  });
  expect(statSync(path).size).toBe(size);
  truncateSync(path, size - second.length - 2);
  const { log, repairs } = openSession(dir.path, ID);
  log.close();
  expect(repairs).toHaveLength(1);
  expect(readFileSync(path, "utf8")).toBe(`${first}\n`);
  const [aside = ""] = readdirSync(dir.path).filter((name) => name.endsWith(".corrupt"));
  expect(readFileSync(dir.join(aside)).equals(long)).toBe(true);
});

test("a history too large for one line is written in several and comes back the same", async () => {
  await using dir = temp();
  const items = Array.from({ length: 40 }, (_, index) => ({
    type: "message" as const,
    id: `i${String(index * 3 + 1).padStart(6, "0")}`,
    role: index % 2 === 0 ? ("user" as const) : ("assistant" as const),
    content: [{ type: "text" as const, text: String(index).repeat(120_000) }],
  }));
  const config = {
    max_tokens: null,
    temperature: null,
    top_p: null,
    top_k: null,
    stop_sequences: [],
    reasoning: null,
  };
  const log = createLog(dir.path, ID);
  log.append(startEntries({ systemPrompt: "p", config, items }, 1));
  log.close();
  const opened = openSession(dir.path, ID);
  opened.log.close();
  expect(opened.state.items).toEqual(items);
  expect(opened.state).toMatchObject({ systemPrompt: "p", cutOff: false });
});
