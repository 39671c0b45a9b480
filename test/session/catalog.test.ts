/** Lists of sessions, and which children come back with their parent. */
import { expect, test } from "bun:test";
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import {
  currentSessions,
  describeProblem,
  listSessions,
  type Rest,
  summarize,
} from "../../src/session/catalog.ts";
import { type Head, sealEntry } from "../../src/session/chain.ts";
import type { Entry } from "../../src/session/entry.ts";
import { childrenToRevive, type KnownSession } from "../../src/session/family-tree.ts";
import { createLog } from "../../src/session/log.ts";
import { logPath } from "../../src/session/log-names.ts";
import { openSession } from "../../src/session/open.ts";
import { withLog } from "../../src/session/scan.ts";
import { type ChildEnd, DOMAIN } from "../../src/session/setup.ts";
import { startEntries } from "../../src/session/write.ts";
import { temp } from "../support/temp.ts";

const CONFIG = {
  max_tokens: null,
  temperature: null,
  top_p: null,
  top_k: null,
  stop_sequences: [],
  reasoning: null,
};

function setupOf(name: string, lineage: string, parent: string | null = null) {
  return {
    name,
    instance: `${name}-1`,
    program: "0",
    lineage,
    title: `task of ${name}`,
    cwd: "/w",
    manifest: {},
    prompts: {},
    scope: { allow: [], deny: [] },
    parent: parent === null ? null : { name: parent, lineage: parent },
  };
}

const extension = (domain: string, payload: unknown): Entry => ({
  kind: "extension",
  ts: 1,
  domain,
  payload,
});
const input: Entry = { kind: "user_input", ts: 1, segments: [{ kind: "text", content: "x" }] };
const ended = (interrupted: boolean): Entry => ({
  kind: "run_errored",
  ts: 1,
  interrupted,
  message: "m",
});

function write(directory: string, id: string, name: string, entries: readonly Entry[]): void {
  const log = createLog(directory, id);
  log.append([
    ...startEntries({ systemPrompt: null, config: CONFIG, items: [] }, 1),
    extension(DOMAIN.setup, setupOf(name, id)),
    ...entries,
  ]);
  log.close();
}

test("sessions are listed newest first, other files are not sessions (104, 105)", async () => {
  await using dir = temp();
  const older = Bun.randomUUIDv7("hex", 1000);
  const newer = Bun.randomUUIDv7("hex", 1002);
  write(dir.path, older, "a", []);
  write(dir.path, newer, "b", []);
  for (const name of [`${older}.trace.jsonl`, `${older}.jsonl.5.corrupt`, "notes.jsonl", "x.txt"]) {
    writeFileSync(dir.join(name), "{}\n");
  }
  expect(listSessions(dir.path).map(({ session }) => session)).toEqual([newer, older]);
  expect(listSessions(dir.join("missing"))).toEqual([]);
});

test("how a session stands is read from its end", async () => {
  await using dir = temp();
  const setup = extension(DOMAIN.setup, setupOf("a", "L"));
  const cases: [Rest, Entry[]][] = [
    ["interrupted", [input]],
    ["idle", [input, ended(false)]],
    ["interrupted", [input, ended(true)]],
    [
      "client request",
      [input, ended(false), extension(DOMAIN.closed, { reason: "client request" })],
    ],
    ["signal", [extension(DOMAIN.closed, { reason: "signal" })]],
    // Brought back, and killed again before anything happened.
    ["idle", [input, ended(false), extension(DOMAIN.closed, { reason: "signal" }), setup]],
    ["interrupted", [input, ended(true), setup]],
    [
      "interrupted",
      [
        input,
        {
          kind: "tool_results",
          ts: 1,
          items: [
            { kind: "tool_result", call_id: "c", summary: "s", content: "x".repeat(100_000) },
          ],
        },
      ],
    ],
  ];
  for (const [rest, entries] of cases) {
    const id = Bun.randomUUIDv7();
    write(dir.path, id, "a", entries);
    const kinds = entries.map(({ kind }) => kind);
    expect([kinds, listSessions(dir.path)[0]?.rest]).toEqual([kinds, rest]);
  }
});

/** A setup in place of the first one: other paths, directory and process. */
const changedSetup = (id: string, instance: string): Entry =>
  extension(DOMAIN.setup, { ...setupOf("renamed", id), instance, cwd: `/${instance}` });

/** A run whose entries have so many bytes. */
const run = (bytes: number): Entry[] => [
  input,
  { kind: "hook_injected_items", ts: 1, items: [message("x".repeat(bytes))] },
  ended(false),
];
const message = (text: string) => ({
  kind: "message" as const,
  role: "user" as const,
  content: [{ kind: "text" as const, text }],
});

test("the last setup of a log counts, however long the runs behind it are", async () => {
  await using dir = temp();
  const id = Bun.randomUUIDv7();
  write(dir.path, id, "a", run(10));
  for (const [instance, bytes] of [
    ["second", 10],
    ["third", 3 * 1024 * 1024],
  ] as const) {
    const { log } = openSession(dir.path, id);
    log.append([changedSetup(id, instance)]);
    log.append(run(bytes));
    log.append(run(100_000));
    log.close();
    const setup = { name: "renamed", instance, cwd: `/${instance}` };
    expect(listSessions(dir.path)).toMatchObject([{ rest: "idle", setup }]);
    appendFileSync(logPath(dir.path, id), '{"hash":"cut');
    expect(listSessions(dir.path)).toMatchObject([{ setup }]);
  }
  const { log } = openSession(dir.path, id);
  log.append(run(200_000).slice(0, 2));
  log.close();
  expect(listSessions(dir.path)).toMatchObject([
    { rest: "interrupted", setup: { instance: "third" } },
  ]);
});

test("the last setup is found in a log whose runs do not say where it stands", async () => {
  await using dir = temp();
  const id = Bun.randomUUIDv7();
  const spoken = '"domain":"pod.setup","setup_at":0}\n';
  const entries: Entry[] = [
    ...startEntries({ systemPrompt: spoken, config: CONFIG, items: [] }, 1),
    extension(DOMAIN.setup, setupOf("a", id)),
    ...run(10),
    changedSetup(id, "later"),
    ...run(3 * 1024 * 1024),
    // Neither one of another shape nor the words in a text are a setup.
    extension(DOMAIN.setup, { name: 1 }),
    { kind: "run_errored", ts: 1, interrupted: false, message: spoken },
  ];
  let head: Head;
  const lines = entries.map((entry) => {
    const sealed = sealEntry(entry, head);
    ({ head } = sealed);
    return sealed.line;
  });
  writeFileSync(logPath(dir.path, id), lines.join(""));
  expect(listSessions(dir.path)).toMatchObject([{ setup: { instance: "later" } }]);
  // One that was changed since is not believed.
  const changed = lines.join("").replace('"cwd":"/later"', '"cwd":"/"');
  writeFileSync(logPath(dir.path, id), changed);
  expect(listSessions(dir.path)).toMatchObject([{ setup: { instance: "a-1" } }]);
});

test.skipIf(process.platform !== "linux")(
  "a list reads the beginning and the end of a long log, not the whole",
  async () => {
    await using dir = temp();
    const id = Bun.randomUUIDv7();
    write(dir.path, id, "a", []);
    const { log } = openSession(dir.path, id);
    log.append([changedSetup(id, "later")]);
    for (let count = 0; count < 8; count += 1) log.append(run(1024 * 1024));
    log.close();
    const readBytes = (): number =>
      Number(/^rchar: (\d+)/.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
    const before = readBytes();
    expect(listSessions(dir.path)).toMatchObject([{ setup: { instance: "later" } }]);
    expect(readBytes() - before).toBeLessThan(512 * 1024);
  },
);

test("a log that cannot be read is listed with what is wrong", async () => {
  await using dir = temp();
  const id = Bun.randomUUIDv7();
  writeFileSync(dir.join(`${id}.jsonl`), 'not a log\n{"also":"not"}\n');
  expect(listSessions(dir.path)).toMatchObject([
    { session: id, setup: undefined, problem: "line 1 is not a line of a session log" },
  ]);
});

test("a log damaged before or in its setup is still known by its name", async () => {
  await using dir = temp();
  const id = Bun.randomUUIDv7();
  const path = logPath(dir.path, id);
  write(dir.path, id, "a", run(10));
  const whole = readFileSync(path, "utf8");
  for (const [damaged, reason] of [
    [whole.replace("\n", "\n{}\n"), "is not a line of a session log"],
    [whole.replace("task of a", "task of b"), "its hash does not fit its text"],
  ] as const) {
    writeFileSync(path, damaged);
    const [summary] = listSessions(dir.path);
    expect(summary).toMatchObject({
      setup: { name: "a", lineage: id },
      problem: `line 2 ${reason}`,
    });
    expect(summary && describeProblem(summary)).toBe(`${path}:2 ${reason}`);
  }
  // Cut off in its setup, it has none.
  writeFileSync(path, whole.slice(0, whole.indexOf("task of a")));
  expect(listSessions(dir.path)).toMatchObject([{ setup: undefined, problem: undefined }]);
});

test("what is no file is listed with what is wrong, not waited for, and hides no other", async () => {
  await using dir = temp();
  const good = Bun.randomUUIDv7();
  write(dir.path, good, "a", []);
  const [folder, pipe, link] = [Bun.randomUUIDv7(), Bun.randomUUIDv7(), Bun.randomUUIDv7()];
  mkdirSync(logPath(dir.path, folder));
  expect(Bun.spawnSync(["mkfifo", logPath(dir.path, pipe)]).exitCode).toBe(0);
  symlinkSync(logPath(dir.path, good), logPath(dir.path, link));
  expect(listSessions(dir.path)).toMatchObject([
    { session: link, problem: expect.stringContaining("cannot be read: ELOOP"), setup: undefined },
    { session: pipe, problem: "cannot be read: not a regular file", setup: undefined },
    { session: folder, problem: "cannot be read: not a regular file", setup: undefined },
    { session: good, problem: undefined, setup: { name: "a" } },
  ]);
  for (const id of [folder, pipe, link]) {
    const path = logPath(dir.path, id);
    expect(() => openSession(dir.path, id)).toThrow(`cannot open session log ${path}: `);
    expect(() => withLog(path, id, () => 0)).toThrow(`cannot open session log ${path}: `);
  }
  expect(summarize(dir.path, Bun.randomUUIDv7())).toBeUndefined();
});

let clock = 0;
function session(name: string, parent: string | null, rest: Rest = "idle"): KnownSession {
  clock += 1;
  const lineage = `${name}#${clock}`;
  return {
    session: lineage,
    path: "",
    setup: { ...setupOf(name, lineage, parent), instance: `${name}-${clock}` },
    rest,
    isCopy: false,
    changed: clock,
    bytes: 1,
    problem: undefined,
  };
}

const names = (list: readonly KnownSession[]): string[] => list.map(({ setup }) => setup.name);
const end = ({ setup }: KnownSession, how: ChildEnd["end"]): ChildEnd => ({
  name: setup.name,
  instance: setup.instance,
  end: how,
  at: (clock += 1),
});

test("of a compacted or forked conversation only the newest session counts", () => {
  const first = session("a", null);
  const next = { ...session("a", null), setup: first.setup };
  expect(currentSessions([next, first])).toEqual([next]);
});

test("children that died, or that a signal ended, come back; those that were stopped do not", () => {
  const [died, killed, signalled, stopped, ended, unseen] = [
    session("died", "R"),
    session("killed", "R"),
    session("signalled", "R", "signal"),
    session("stopped", "R", "client request"),
    session("ended", "R", "client request"),
    session("unseen", "R", "client request"),
  ];
  const all = [died, killed, signalled, stopped, ended, unseen];
  const ends = [
    end(died, "died"),
    end(signalled, "ended"),
    end(stopped, "stopped"),
    end(ended, "ended"),
  ];
  const back = childrenToRevive("R", all, (lineage) => (lineage === "R" ? ends : []));
  expect(names(back)).toEqual(["died", "killed", "signalled", "unseen"]);
});

test("an end before the child's last entry was that of an earlier run", () => {
  const child = session("kid", "R", "client request");
  const ends = [end(child, "stopped")];
  const later = {
    ...child,
    setup: { ...child.setup, instance: "kid-later" },
    changed: (clock += 1),
  };
  expect(names(childrenToRevive("R", [later], () => ends))).toEqual(["kid"]);
  const before = { ...later, changed: (ends[0]?.at ?? 0) - 1 };
  expect(names(childrenToRevive("R", [before], () => ends))).toEqual([]);
});

test("of several with one name the one that was at work last counts, also when it was stopped", () => {
  const old = session("kid", "R");
  const recent = session("kid", "R");
  expect(childrenToRevive("R", [recent, old], () => [])).toEqual([recent]);
  const stopped = end(recent, "stopped");
  expect(childrenToRevive("R", [recent, old], () => [stopped])).toEqual([]);
  // Asked for by its session, the older one came back since.
  const again = { ...old, changed: (clock += 1) };
  expect(childrenToRevive("R", [recent, again], () => [stopped])).toEqual([again]);
});

test("a child that was stopped leaves its own children to its parent", () => {
  const middle = session("middle", "R", "client request");
  const deep = session("deep", middle.setup.lineage);
  const stranger = session("stranger", "somebody else");
  const ends = (lineage: string): ChildEnd[] => (lineage === "R" ? [end(middle, "stopped")] : []);
  expect(names(childrenToRevive("R", [stranger, deep, middle], ends))).toEqual(["deep"]);
});
