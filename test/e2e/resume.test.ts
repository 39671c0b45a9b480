/**
 * A session that comes back, with the compiled program: killed with SIGKILL, resumed by the command
 * line, and what the model is told and sees afterwards.
 */
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { request } from "../../src/transport/client.ts";
import { runProgram } from "../support/command.ts";
import { eventually, startWorld } from "../support/pod.ts";
import { DEADLINE_MS } from "../support/root-pod.ts";
import { command, conversation, killAll, runToEnd, sessions, status, textOf } from "./returning.ts";

const spawn = (name: string, task: string, target: string) => ({
  tool: "SpawnPod",
  input: { name, task, scope: [{ target, permission: "write" }] },
});

test("a killed Pod comes back with its conversation, name and scope, and goes on in the same session", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("remember 42");
  const before = await conversation(world, "root");
  const scope = world.allocation("root")?.scope_allow;
  const [row] = await sessions(world);
  expect(row).toMatchObject({
    name: "root",
    state: "live",
    directory: world.work,
    first_line: "remember 42",
    parent: null,
  });
  await root.kill();
  expect((await sessions(world))[0]?.state).toBe("killed");
  const resumed = await world.cli("resume");
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

test("of two who bring one Pod back at the same moment exactly one does", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  await root.kill();
  const both = await Promise.all([world.cli("resume", "root"), world.cli("resume", "root")]);
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
  const resumed = await world.cli("resume", "root");
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
  await world.cli("resume", "root");
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
  expect((await world.cli("resume")).code).toBe(0);
  const socket = world.allocation("root")?.socket ?? "";
  expect((await status(socket)).state).toBe("paused");
  // Killed again before anything has happened, it is still so; scenario rules count anew in each process.
  await killAll(world);
  const path = (await sessions(world))[0]?.path ?? "";
  const rules = JSON.stringify({ rules: [{ text: "It is done." }] });
  writeFileSync(join(world.home, "scenario-1.json"), rules);
  expect((await world.cli("resume", "--go-on")).code).toBe(0);
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
  expect((await world.cli("resume")).code).toBe(0);
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
  expect((await world.cli("resume")).code).toBe(0);
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
  const torn = await world.cli("resume", "root");
  expect(torn.code).toBe(0);
  expect(torn.stderr).toContain(`it was cut off and is kept in ${path}.`);
  expect(await conversation(world, "root")).toHaveLength(4);
  await killAll(world);
  const lines = whole.toString().split("\n");
  lines[3] = (lines[3] ?? "").replace("noted", "noteD");
  writeFileSync(path, lines.join("\n"));
  const refused = await world.cli("resume", "root");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain(`${path}:4 its hash does not fit its text`);
  expect(refused.stderr).toContain(`pod resume --salvage ${row?.session}`);
  const salvaged = await world.cli("resume", "--salvage", row?.session ?? "");
  expect(salvaged.code).toBe(0);
  expect(salvaged.stderr).toContain("was damaged from line 4 on");
  expect((await conversation(world, "root")).map(textOf)).toEqual(["first"]);
});

test("without a name it is the newest session or none, and who lives is to be attached to", async () => {
  await using world = startWorld();
  const old = await world.start({ command, name: "old", rules: [{ text: "noted" }] });
  await old.runToEnd("first");
  await old.kill();
  const live = await world.start({ command, name: "live", rules: [{ text: "noted" }] });
  await live.runToEnd("first");
  const refused = await world.cli("resume");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/is already held by pod `live` at .*\/sock; pod attach live\n$/);
  expect(world.allocation("old")).toBeUndefined();
  await live.kill();
  expect(await world.cli("resume")).toMatchObject({ code: 0 });
  expect(world.allocation("live")?.session_id).toBeString();
});

test("the list of sessions has its columns one below the other", async () => {
  await using world = startWorld();
  const deep = join(world.work, "a/much/deeper/directory");
  mkdirSync(deep, { recursive: true });
  const rules = [{ text: "noted" }];
  for (const [name, cwd] of [
    ["one", world.work],
    ["two", deep],
  ] as const) {
    const pod = await world.start({ command, name, cwd, rules });
    await pod.runToEnd(`task of ${name}`);
    await pod.kill();
  }
  const { stdout } = await world.cli("sessions");
  const [header = "", ...rows] = stdout.trimEnd().split("\n");
  const at = header.indexOf("FIRST LINE");
  expect(rows.map((row) => row.slice(at)).toSorted()).toEqual(["task of one", "task of two"]);
});

test("what a Pod says that cannot come back is told under its name", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  await root.kill();
  const moved = join(world.home, "moved");
  renameSync(world.work, moved);
  expect(
    await runProgram([...command, "resume", "root"], { cwd: moved, env: world.env }),
  ).toMatchObject({
    code: 1,
    stderr: `error: pod \`root\`: its working directory ${world.work} is gone\n`,
  });
  renameSync(moved, world.work);
  const other = await world.start({ command, name: "other", rules: [{ text: "ok" }] });
  const refused = await world.cli("resume", "root");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toStartWith("error: pod `root`: ");
  expect(refused.stderr).toContain("conflicts with pod `other`");
  await other.kill();
});

test.each([[["--at", "0".repeat(64)]], [["--salvage"]]])(
  "%j is told that a name is no session id",
  async (option) => {
    await using world = startWorld();
    const stderr = `error: ${option[0]} needs the whole id of a session (see: pod sessions)\n`;
    expect(await world.cli("resume", ...option, "root")).toMatchObject({ code: 2, stderr });
    expect(await world.cli("resume", ...option)).toMatchObject({ code: 2, stderr });
  },
);

test("unknown, empty and foreign sessions are refused in one sentence each (105)", async () => {
  await using world = startWorld();
  const store = join(world.home, ".insomnia/sessions");
  mkdirSync(store, { recursive: true, mode: 0o700 });
  const id = Bun.randomUUIDv7();
  expect(await world.cli("resume", id)).toMatchObject({
    code: 3,
    stderr: `error: session not found: ${id}\n`,
  });
  writeFileSync(join(store, `${id}.jsonl`), "");
  expect(await world.cli("resume", id)).toMatchObject({
    code: 3,
    stderr: `error: session ${id} has no entries to restore\n`,
  });
  expect(await world.cli("resume", "nobody")).toMatchObject({ code: 3 });
  const overlay = `pod.name = "r"\nmodel = { scheme = "script", script = ${JSON.stringify(world.scenario([{ text: "x" }]))} }\nscope.allow = [{ target = ${JSON.stringify(world.work)}, permission = "write" }]`;
  expect(await world.cli("--session", id, "--overlay", overlay)).toMatchObject({
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
  expect(await world.cli("resume", "root")).toMatchObject({ code: 1 });
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

test("why a Pod cannot start is told though no file can be written", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("first");
  await root.kill();
  await world.registry.reclaim();
  const shell = ["/bin/sh", "-c", 'ulimit -f 0; trap "" XFSZ; exec "$@"', "sh", ...command];
  const { stderr, code } = await runProgram([...shell, "resume", "root"], {
    cwd: world.work,
    env: world.env,
  });
  expect(code).toBe(1);
  expect(stderr).toMatch(/^error: pod `root`: .*(EFBIG|too large)/i);
});
