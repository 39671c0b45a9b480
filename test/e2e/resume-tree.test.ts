/** Trees that come back, whole or in part: who is whose, and every scope as it was. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { request } from "../../src/transport/client.ts";
import { eventually, startWorld } from "../support/pod.ts";
import {
  command,
  conversation,
  killAll,
  runToEnd,
  sessions,
  startTree,
  textOf,
} from "./returning.ts";

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
  const resumed = await world.cli("resume", "root", "--tree");
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
  expect((await world.cli("resume", "root")).code).toBe(0);
  await runToEnd(world, "root", "hello");
  const told = (await conversation(world, "root")).map(textOf).join("\n");
  expect(told).toContain("Pod `mid` is gone");
  expect(told).toContain("pod resume mid");
  const mid = await world.cli("resume", "mid", "--tree");
  expect([mid.stderr, mid.code]).toEqual(["", 0]);
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  expect(world.allocation("leaf")?.delegated_from).toBe("mid");
});

test("a child that a person brought back after its parent's model had stopped it, and that worked since, comes back", async () => {
  await using world = startWorld();
  await startTree(world);
  await runToEnd(world, "root", "drop mid");
  await world.cli("stop", "root", "leaf");
  expect((await world.cli("resume", "mid")).code).toBe(0);
  await runToEnd(world, "mid", "hello");
  await killAll(world);
  const resumed = await world.cli("resume", "root", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(resumed.stdout).toContain("with mid, leaf");
  expect(world.allocation("mid")?.delegated_from).toBe("root");
}, 60_000);

test("children that lived on are the Pod's again when it comes back, as told to its model", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  const [mid, leaf] = ["mid", "leaf"].map((name) => world.allocation(name)?.pid);
  await root.kill();
  const resumed = await world.cli("resume", "root");
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
  const resumed = await world.cli("resume", "mid");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")).toMatchObject({ pid: leaf, delegated_from: "mid" });
  expect(world.allocation("mid")).toMatchObject({ delegated_from: "root" });
  await runToEnd(world, "mid", "list");
  const list = (await conversation(world, "mid")).findLast(({ type }) => type === "tool_result");
  expect(list).toMatchObject({ content: expect.stringContaining("leaf [alive] ") });
});

test("a Pod that ended in order says so, and its whole tree can come back", async () => {
  await using world = startWorld();
  await startTree(world);
  expect((await world.cli("stop", "root", "mid", "leaf")).code).toBe(0);
  expect((await sessions(world)).map(({ state }) => state)).toEqual([
    "stopped",
    "stopped",
    "stopped",
  ]);
  const resumed = await world.cli("resume", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")?.delegated_from).toBe("mid");
});

test("what cannot come back is named, the rest comes, and the exit code says so", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  rmSync(join(world.work, "a"), { recursive: true });
  writeFileSync(join(world.work, "a"), "a file where a directory was");
  const resumed = await world.cli("resume", "root", "--tree");
  expect(resumed.code).toBe(1);
  expect(resumed.stderr).toMatch(/not all came back: pod `mid` \(session [0-9a-f-]+\): /);
  expect(world.allocation("root")?.session_id).toBeString();
  expect(world.allocation("mid")).toBeUndefined();
  expect(world.registry.peek()).toHaveLength(1);
});

test("a child whose parent is gone comes back alone, as a root with what it had", async () => {
  await using world = startWorld();
  await startTree(world);
  const scope = world.allocation("leaf")?.scope_allow;
  await killAll(world);
  const resumed = await world.cli("resume", "leaf");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")).toMatchObject({ delegated_from: null, scope_allow: scope });
  await runToEnd(world, "leaf", "more");
  expect((await conversation(world, "leaf")).at(-1)).toMatchObject({ role: "assistant" });
});

test("a child that left no session is named to the person and, once, to its parent's model", async () => {
  await using world = startWorld();
  await startTree(world);
  const session = world.allocation("mid")?.session_id ?? "";
  await killAll(world);
  rmSync(join(world.home, ".insomnia/sessions", `${session}.jsonl`));
  const resumed = await world.cli("resume", "root", "--tree");
  expect(resumed.stderr).toContain("pod `mid`: it left no session");
  expect(resumed.code).toBe(1);
  await runToEnd(world, "root", "hello");
  const told = (await conversation(world, "root")).map(textOf).join("\n");
  expect(told).toMatch(/Pod `mid` is gone and left no session; it had .*"build"/);
  await killAll(world);
  const again = await world.cli("resume", "root", "--tree");
  expect([again.stderr, again.code]).toEqual(["", 0]);
});

test.each(["title", "before"])(
  "a child whose session is damaged (%s) is named with file and line, and comes back when it is mended",
  async (where) => {
    await using world = startWorld();
    await startTree(world);
    const { path } = (await sessions(world)).find(({ name }) => name === "mid") ?? { path: "" };
    await killAll(world);
    const whole = readFileSync(path, "utf8");
    const damaged =
      where === "title"
        ? whole.replace('"title":"build"', '"title":"Build"')
        : whole.replace("\n", "\n{}\n");
    writeFileSync(path, damaged);
    const resumed = await world.cli("resume", "root", "--tree");
    expect(resumed.code).toBe(1);
    expect(resumed.stderr).toContain(`${path}:2 `);
    expect(resumed.stderr).toContain("its session is damaged");
    await runToEnd(world, "root", "hello");
    const told = (await conversation(world, "root")).map(textOf).join("\n");
    expect(told).toContain(`its session is damaged: ${path}:2 `);
    await killAll(world);
    writeFileSync(path, whole);
    const again = await world.cli("resume", "root", "--tree");
    expect([again.stderr, again.code]).toEqual(["", 0]);
    expect(again.stdout).toContain("with mid, leaf");
  },
  60_000,
);

test("a child whose session cannot be told from what is damaged is not said to have left none", async () => {
  await using world = startWorld();
  await startTree(world);
  const { path } = (await sessions(world)).find(({ name }) => name === "mid") ?? { path: "" };
  await killAll(world);
  rmSync(path);
  mkdirSync(path);
  const resumed = await world.cli("resume", "root", "--tree");
  expect(resumed.code).toBe(1);
  expect(resumed.stderr).toContain(
    `pod \`mid\`: it left no session that can be read (damaged, and maybe its own: ${path} cannot be read`,
  );
  const named = await world.cli("resume", path.slice(-42, -6));
  expect(named.stderr).toContain(`is damaged: ${path} cannot be read: not a regular file`);
});

test("a child that is just being started is no failure of a tree that comes back", async () => {
  await using world = startWorld();
  const root = await world.start({
    command,
    rules: [
      {
        match: "^go$",
        calls: [
          {
            tool: "SpawnPod",
            input: {
              name: "stuck",
              task: "t",
              scope: [{ target: world.work, permission: "write" }],
            },
          },
        ],
      },
      { text: "ok" },
    ],
    env: { INSOMNIA_POD_COMMAND: join(import.meta.dir, "fixtures/never-ready") },
  });
  await root.run("go");
  const shown = () => readFileSync(join(world.runtime, "root/spawned_pods.json"), "utf8");
  await eventually(() => {
    try {
      return shown().includes("stuck");
    } catch {
      return false;
    }
  }, "the child that starts");
  const resumed = await world.cli("resume", "root", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  await root.request({ method: "cancel" });
  await root.waitFor("run_end");
});

test("of several who bring the same children back at once, all are told that they are back", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  for (const name of ["mid", "leaf"]) {
    process.kill(world.allocation(name)?.pid ?? 0, "SIGKILL");
    await eventually(() => world.allocation(name) === undefined, `the end of ${name}`);
  }
  const revive = async (params: { tree: boolean; go_on: boolean; name?: string }) =>
    await request(root.socket, { method: "revive", params }, { timeoutMs: 60_000 });
  const answers = await Promise.all([
    revive({ tree: true, go_on: false }),
    revive({ tree: true, go_on: false }),
    revive({ tree: false, go_on: false, name: "mid" }),
  ]);
  expect(answers.map(({ event }) => event)).toEqual(["ack", "ack", "ack"]);
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  expect(world.processes()).toHaveLength(3);
}, 60_000);

test("of several who bring the whole tree back at once, all are told that it is back", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  const all = await Promise.all(
    Array.from({ length: 6 }, async () => await world.cli("resume", "root", "--tree")),
  );
  expect(all.map(({ stderr, code }) => [stderr, code])).toEqual(all.map(() => ["", 0]));
  for (const { stdout } of all) expect(stdout).toContain("with mid, leaf");
  expect(world.processes()).toHaveLength(3);
  const log = readFileSync(join(world.runtime, "root/stderr.log"), "utf8");
  expect(log.match(/INSOMNIA-READY/g)).toHaveLength(1);
}, 60_000);

test("children that were brought back alone are their parents' again when these come back", async () => {
  await using world = startWorld();
  await startTree(world);
  const scope = world.allocation("leaf")?.scope_allow;
  await killAll(world);
  const alone = await world.cli("resume", "leaf");
  expect([alone.stderr, alone.code]).toEqual(["", 0]);
  const leaf = world.allocation("leaf")?.pid;
  const mid = await world.cli("resume", "mid");
  expect([mid.stderr, mid.code]).toEqual(["", 0]);
  expect(world.allocation("mid")?.delegated_from).toBeNull();
  expect(world.allocation("leaf")).toMatchObject({ pid: leaf, delegated_from: "mid" });
  const root = await world.cli("resume", "root", "--tree");
  expect([root.stderr, root.code]).toEqual(["", 0]);
  expect(root.stdout).toContain("with mid, leaf");
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  expect(world.allocation("leaf")).toMatchObject({ pid: leaf, delegated_from: "mid" });
  expect(world.allocation("leaf")?.scope_allow).toEqual(scope);
  await runToEnd(world, "root", "list");
  const list = (await conversation(world, "root")).findLast(({ type }) => type === "tool_result");
  expect(list).toMatchObject({ content: expect.stringContaining("mid [alive] ") });
}, 60_000);

test("a grandchild that was brought back alone takes its old place when the whole tree comes back", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  const alone = await world.cli("resume", "leaf");
  expect([alone.stderr, alone.code]).toEqual(["", 0]);
  const leaf = world.allocation("leaf")?.pid;
  const resumed = await world.cli("resume", "root", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.allocation("mid")?.delegated_from).toBe("root");
  expect(world.allocation("leaf")).toMatchObject({ pid: leaf, delegated_from: "mid" });
  expect(world.processes()).toHaveLength(3);
}, 60_000);

test("a child that was brought back with more than its parent has stays alone: the parent comes back without its paths and says so", async () => {
  await using world = startWorld();
  await startTree(world);
  const session = world.allocation("mid")?.session_id ?? "";
  await killAll(world);
  const other = join(world.home, "other");
  mkdirSync(other);
  const writes = (target: string) => ({ target, permission: "write" as const, recursive: true });
  const held = writes(join(world.work, "a"));
  await world.start({
    command,
    name: "mid",
    args: ["--session", session],
    rules: [{ text: "ok" }],
    cwd: held.target,
    scope: { allow: [held, writes(other)] },
  });
  const said = `Pod \`mid\`, once spawned below pod \`root\`, lives on its own and keeps write:${held.target}`;
  const resumed = await world.cli("resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual([expect.stringContaining(said), 0]);
  expect(world.allocation("mid")?.delegated_from).toBeNull();
  expect(world.allocation("root")?.scope_deny).toContainEqual(held);
  await runToEnd(world, "root", "write");
  const items = await conversation(world, "root");
  expect(items.map(textOf).join("\n")).toContain(said);
  expect(items.findLast(({ type }) => type === "tool_result")).toMatchObject({ is_error: true });
  expect(existsSync(join(world.work, "a/by-root"))).toBe(false);
}, 60_000);
