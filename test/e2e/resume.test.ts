/**
 * Sessions and trees that come back, with the compiled program: killed with SIGKILL, resumed by the
 * command line, and what the model is told and sees afterwards.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { itemSchema, messageText, type Item } from "../../src/protocol/history.ts";
import { request } from "../../src/transport/client.ts";
import { podBinary } from "../support/binary.ts";
import {
  DEADLINE_MS,
  eventually,
  type ScenarioRule,
  startWorld,
  type World,
} from "../support/pod.ts";

const command = [podBinary()];

const spawn = (name: string, task: string, target: string) => ({
  tool: "SpawnPod",
  input: { name, task, scope: [{ target, permission: "write" }] },
});

/** Runs a command of the program to its end. */
async function cli(world: World, ...args: string[]) {
  const child = Bun.spawn([...command, ...args], {
    cwd: world.work,
    env: world.env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, code };
}

interface Row {
  readonly session: string;
  readonly name: string;
  readonly state: string;
  readonly directory: string;
  readonly first_line: string;
  readonly parent: string | null;
  readonly path: string;
}

async function sessions(world: World): Promise<Row[]> {
  const { stdout, code, stderr } = await cli(world, "sessions", "--json");
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Row[];
}

/** The conversation of a live Pod. */
async function conversation(world: World, name: string): Promise<Item[]> {
  const socket = world.allocation(name)?.socket ?? "";
  const answer = await request(
    socket,
    { method: "get_history" },
    { timeoutMs: DEADLINE_MS, until: ({ event }) => event === "history" },
  );
  if (answer.event !== "history") throw new Error("no history");
  return answer.data.items.map((item) => itemSchema().parse(item));
}

const textOf = (item: Item): string => (item.type === "message" ? messageText(item) : "");

/** Sends a task to a live Pod and waits until it is idle again. */
async function runToEnd(world: World, name: string, text: string): Promise<void> {
  const socket = world.allocation(name)?.socket ?? "";
  const before = await runs(socket);
  await request(
    socket,
    { method: "run", params: { input: [{ kind: "text", content: text }] } },
    { timeoutMs: DEADLINE_MS },
  );
  await eventually(
    async () => (await runs(socket)) > before && (await isAtRest(socket)),
    "the end of a run",
  );
}

async function status(socket: string) {
  const answer = await request(
    socket,
    { method: "status" },
    { timeoutMs: DEADLINE_MS, until: ({ event }) => event === "status" },
  );
  if (answer.event !== "status") throw new Error("no status");
  return answer.data;
}
const runs = async (socket: string): Promise<number> => (await status(socket)).runs;
const isAtRest = async (socket: string): Promise<boolean> =>
  (await status(socket)).state !== "running";

/** Root, a child and its child; the last one writes a file. */
function treeRules(work: string): ScenarioRule[] {
  const target = join(work, "a/b/out.txt");
  return [
    { pod: "root", match: "^go$", calls: [spawn("mid", "build", join(work, "a"))] },
    { pod: "mid", match: "^build$", calls: [spawn("leaf", "dig", join(work, "a/b"))] },
    {
      pod: "leaf",
      match: "^dig$",
      calls: [{ tool: "Write", input: { file_path: target, content: "1" } }],
    },
    { pod: "leaf", match: "^more$", calls: [{ tool: "Read", input: { file_path: target } }] },
    { match: "^list$", calls: [{ tool: "ListPods", input: {} }] },
    { text: "ok" },
  ];
}

/** Starts the tree and waits until everything in it is at rest. */
async function startTree(world: World) {
  mkdirSync(join(world.work, "a/b"), { recursive: true });
  const root = await world.start({ command, rules: treeRules(world.work) });
  await root.run("go");
  await eventually(async () => {
    const sockets = ["root", "mid", "leaf"].map((name) => world.allocation(name)?.socket);
    if (sockets.includes(undefined) || !existsSync(join(world.work, "a/b/out.txt"))) return false;
    const states = await Promise.all(sockets.map(async (socket) => await status(socket ?? "")));
    return states.every(({ state, pending }) => state === "idle" && pending === 0);
  }, "the tree at rest");
  return root;
}

/** SIGKILL for every Pod at once. */
async function killAll(world: World): Promise<void> {
  for (const pid of world.processes()) process.kill(pid, "SIGKILL");
  await eventually(() => world.processes().length === 0, "the end of every process");
}

test("a killed Pod comes back with its conversation, name and scope, and goes on in the same session", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("remember 42");
  const before = await conversation(world, "root");
  const scope = world.allocation("root")?.scope_allow;
  const [row] = await sessions(world);
  expect(row).toMatchObject({
    name: "root",
    state: "running",
    directory: world.work,
    first_line: "remember 42",
    parent: null,
  });
  await root.kill();
  expect((await sessions(world))[0]?.state).toBe("killed");
  const resumed = await cli(world, "resume");
  expect(resumed).toEqual({
    code: 0,
    stderr: "",
    stdout: `resumed pod \`root\` (session ${row?.session})\n`,
  });
  expect(await conversation(world, "root")).toEqual(before);
  expect(world.allocation("root")).toMatchObject({ session_id: row?.session, scope_allow: scope });
  await runToEnd(world, "root", "and now?");
  const after = await conversation(world, "root");
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.map(textOf).join("\n")).toContain("was brought back with its conversation");
  expect(await sessions(world)).toHaveLength(1);
});

test("a whole tree comes back after SIGKILL of every process, with every scope as it was", async () => {
  await using world = startWorld();
  await startTree(world);
  const names = ["root", "mid", "leaf"];
  const held = () =>
    names.map((name) => {
      const entry = world.allocation(name);
      return [entry?.scope_allow, entry?.delegated_from, entry?.session_id];
    });
  const before = held();
  const talk = await Promise.all(names.map((name) => conversation(world, name)));
  await killAll(world);
  expect((await sessions(world)).map(({ name, parent }) => [name, parent]).sort()).toEqual([
    ["leaf", "mid"],
    ["mid", "root"],
    ["root", null],
  ]);
  const resumed = await cli(world, "resume", "root", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(resumed.stdout).toContain("with mid, leaf");
  expect(held()).toEqual(before);
  expect(await Promise.all(names.map((name) => conversation(world, name)))).toEqual(talk);
  await runToEnd(world, "root", "list");
  const results = (await conversation(world, "root")).flatMap((item) =>
    item.type === "tool_result" ? [item.content ?? ""] : [],
  );
  expect(results.at(-1)).toContain("mid [alive");
  await runToEnd(world, "leaf", "more");
  expect((await conversation(world, "leaf")).at(-1)).toMatchObject({ role: "assistant" });
});

test("a child that is gone is told to its parent's model and comes back below the living parent", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  expect((await cli(world, "resume", "root")).code).toBe(0);
  await runToEnd(world, "root", "hello");
  const told = (await conversation(world, "root")).map(textOf).join("\n");
  expect(told).toContain("Pod `mid` is gone");
  expect(told).toContain("pod resume mid");
  const mid = await cli(world, "resume", "mid", "--tree");
  expect([mid.stderr, mid.code]).toEqual(["", 0]);
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  expect(world.allocation("leaf")?.delegated_from).toBe("mid");
});

test("children that lived on are the Pod's again when it comes back, as told to its model", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  const [mid, leaf] = ["mid", "leaf"].map((name) => world.allocation(name)?.pid);
  await root.kill();
  const resumed = await cli(world, "resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect([world.allocation("mid")?.pid, world.allocation("leaf")?.pid]).toEqual([mid, leaf]);
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  await runToEnd(world, "root", "list");
  const items = await conversation(world, "root");
  expect(items.map(textOf).join("\n")).toContain(
    `Pod \`mid\` lives and keeps write:${join(world.work, "a")}`,
  );
  const list = items.findLast(({ type }) => type === "tool_result");
  expect(list).toMatchObject({ content: expect.stringContaining("mid [alive] ") });
});

test("a child that comes back between a living parent and a living grandchild takes its place again", async () => {
  await using world = startWorld();
  await startTree(world);
  const leaf = world.allocation("leaf")?.pid;
  process.kill(world.allocation("mid")?.pid ?? 0, "SIGKILL");
  await eventually(() => world.allocation("leaf")?.delegated_from === "root", "the inheritance");
  const resumed = await cli(world, "resume", "mid");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")).toMatchObject({ pid: leaf, delegated_from: "mid" });
  expect(world.allocation("mid")).toMatchObject({ delegated_from: "root" });
  await runToEnd(world, "mid", "list");
  const list = (await conversation(world, "mid")).findLast(({ type }) => type === "tool_result");
  expect(list).toMatchObject({ content: expect.stringContaining("leaf [alive] ") });
});

test("of two who bring one Pod back at the same moment exactly one does", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  await root.kill();
  const both = await Promise.all([cli(world, "resume", "root"), cli(world, "resume", "root")]);
  expect(both.map(({ code }) => code).sort()).toEqual([0, 1]);
  expect(both.find(({ code }) => code === 1)?.stderr).toMatch(
    /already (held|registered)|being written/,
  );
  expect(world.processes()).toHaveLength(1);
  expect(await conversation(world, "root")).toHaveLength(2);
});

test("a call that was under way is closed as interrupted and not run again", async () => {
  await using world = startWorld();
  const marks = join(world.work, "marks");
  mkdirSync(marks);
  const root = await world.start({
    command,
    rules: [
      {
        match: "^go$",
        calls: [
          { tool: "Write", input: { file_path: join(marks, "one"), content: "1" } },
          // Its child never says that it is ready.
          spawn("stuck", "t", marks),
        ],
      },
      { text: "ok" },
    ],
    env: { INSOMNIA_POD_COMMAND: join(import.meta.dir, "fixtures/never-ready") },
  });
  await root.run("go");
  await eventually(
    () => existsSync(join(marks, "one")) && world.allocation("stuck") !== undefined,
    "the second call under way",
  );
  const log = (await sessions(world))[0]?.path ?? "";
  await eventually(() => readFileSync(log, "utf8").includes("pod.result"), "the early result");
  await killAll(world);
  rmSync(join(marks, "one"));
  expect((await sessions(world))[0]?.state).toBe("interrupted");
  const resumed = await cli(world, "resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  const results = (await conversation(world, "root")).filter(({ type }) => type === "tool_result");
  expect(results).toMatchObject([
    { summary: `Created ${join(marks, "one")} (1 bytes)` },
    { summary: expect.stringContaining("It may or may not have taken effect"), is_error: true },
  ]);
  await runToEnd(world, "root", "next");
  expect(readdirSync(marks)).toEqual([]);
  expect(world.allocation("stuck")).toBeUndefined();
  // Closed for good: another restart adds nothing.
  const before = await conversation(world, "root");
  await killAll(world);
  await cli(world, "resume", "root");
  expect(await conversation(world, "root")).toEqual(before);
});

test("a run that was cut off comes back paused, and goes on when it is told to", async () => {
  await using world = startWorld();
  const root = await world.start({
    command,
    rules: [
      { match: "^go$", times: 1, text: "This is never finished.", chunk_delay_ms: 20_000 },
      { text: "It is done." },
    ],
  });
  await root.run("go");
  await root.waitFor("text_delta");
  await root.kill();
  expect((await cli(world, "resume")).code).toBe(0);
  const socket = world.allocation("root")?.socket ?? "";
  expect((await status(socket)).state).toBe("paused");
  // Killed again before anything has happened, it is still so; scenario rules count anew in each process.
  await killAll(world);
  const path = (await sessions(world))[0]?.path ?? "";
  const rules = JSON.stringify({ rules: [{ text: "It is done." }] });
  writeFileSync(join(world.home, "scenario-1.json"), rules);
  expect((await cli(world, "resume", "--go-on")).code).toBe(0);
  await eventually(async () => (await status(socket)).runs === 1, "the run that goes on");
  await eventually(async () => (await status(socket)).state === "idle", "its end");
  const texts = (await conversation(world, "root")).map(textOf);
  expect(texts[0]).toBe("go");
  expect(texts[1]).toContain("The run that was under way was cut off");
  expect(texts[2]).toBe("It is done.");
  expect(readFileSync(path, "utf8")).toContain("the Pod was stopped during this run");
});

test("a Pod that was paused comes back paused; one that was cancelled comes back idle", async () => {
  await using world = startWorld();
  const root = await world.start({
    command,
    rules: [{ text: "This is never finished.", chunk_delay_ms: 20_000 }],
  });
  const interrupt = async (method: "pause" | "cancel"): Promise<void> => {
    await root.run("go");
    await root.waitFor("text_delta");
    await root.request({ method });
    await root.waitFor("run_end");
  };
  await interrupt("cancel");
  await root.kill();
  expect((await cli(world, "resume")).code).toBe(0);
  const socket = world.allocation("root")?.socket ?? "";
  expect((await status(socket)).state).toBe("idle");
  await request(
    socket,
    { method: "run", params: { input: [{ kind: "text", content: "go" }] } },
    { timeoutMs: DEADLINE_MS },
  );
  await request(socket, { method: "pause" }, { timeoutMs: DEADLINE_MS });
  await eventually(async () => (await status(socket)).state === "paused", "the pause");
  await killAll(world);
  expect((await sessions(world))[0]?.state).toBe("interrupted");
  expect((await cli(world, "resume")).code).toBe(0);
  expect((await status(socket)).state).toBe("paused");
});

test("a torn end is mended with a warning, damage is refused with file and line and salvaged", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  await root.runToEnd("second");
  await root.kill();
  const [row] = await sessions(world);
  const path = row?.path ?? "";
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, -7));
  expect((await cli(world, "resume", "root")).code).toBe(0);
  expect(await conversation(world, "root")).toHaveLength(4);
  await killAll(world);
  const lines = whole.toString().split("\n");
  lines[3] = (lines[3] ?? "").replace("noted", "noteD");
  writeFileSync(path, lines.join("\n"));
  const refused = await cli(world, "resume", "root");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain(`${path}:4 its hash does not fit its text`);
  expect(refused.stderr).toContain(`pod resume --salvage ${row?.session}`);
  const salvaged = await cli(world, "resume", "--salvage", row?.session ?? "");
  expect(salvaged.code).toBe(0);
  expect(salvaged.stderr).toContain("was damaged from line 4 on");
  expect((await conversation(world, "root")).map(textOf)).toEqual(["first"]);
});

test("unknown, empty and foreign sessions are refused in one sentence each (105)", async () => {
  await using world = startWorld();
  const store = join(world.home, ".insomnia/sessions");
  mkdirSync(store, { recursive: true, mode: 0o700 });
  const id = Bun.randomUUIDv7();
  expect(await cli(world, "resume", id)).toMatchObject({
    code: 3,
    stderr: `error: session not found: ${id}\n`,
  });
  writeFileSync(join(store, `${id}.jsonl`), "");
  expect(await cli(world, "resume", id)).toMatchObject({
    code: 3,
    stderr: `error: session ${id} has no entries to restore\n`,
  });
  expect(await cli(world, "resume", "nobody")).toMatchObject({ code: 3 });
  const overlay = `pod.name = "r"\nmodel = { scheme = "script", script = ${JSON.stringify(world.scenario([{ text: "x" }]))} }\nscope.allow = [{ target = ${JSON.stringify(world.work)}, permission = "write" }]`;
  expect(await cli(world, "--session", id, "--overlay", overlay)).toMatchObject({
    code: 1,
    stderr: `error: failed to restore pod: session ${id} has no entries to restore\n`,
  });
  expect(world.registry.peek()).toEqual([]);
});

test("a session that a live Pod writes is refused with that Pod's name and socket (106)", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  const [row] = await sessions(world);
  const other = join(world.home, "other");
  mkdirSync(other);
  const overlay = `pod.name = "other"\nmodel = { scheme = "script", script = ${JSON.stringify(world.scenario([{ text: "x" }]))} }\nscope.allow = [{ target = ${JSON.stringify(other)}, permission = "write" }]`;
  const child = Bun.spawn([...command, "--session", row?.session ?? "", "--overlay", overlay], {
    cwd: other,
    env: world.env,
    stderr: "pipe",
  });
  expect(await child.stderr.text()).toBe(
    `error: failed to restore pod: session ${row?.session} is already held by pod \`root\` at ${root.socket}\n`,
  );
  expect(await cli(world, "resume", "root")).toMatchObject({ code: 1 });
  await root.kill();
  // Under another name and manifest, as the reference does it.
  const restored = await world.start({
    command,
    name: "other",
    rules: [{ text: "noted" }],
    args: ["--session", row?.session ?? ""],
  });
  expect(await conversation(world, "other")).toHaveLength(2);
  await restored.runToEnd("second");
  expect(await conversation(world, "other")).toHaveLength(5);
});

test("a Pod that ended in order says so, and its whole tree can come back", async () => {
  await using world = startWorld();
  await startTree(world);
  expect((await cli(world, "stop", "root", "mid", "leaf")).code).toBe(0);
  expect((await sessions(world)).map(({ state }) => state)).toEqual([
    "stopped",
    "stopped",
    "stopped",
  ]);
  const resumed = await cli(world, "resume", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")?.delegated_from).toBe("mid");
});
