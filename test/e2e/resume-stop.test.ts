/** Trees that are stopped while they come back: nobody is left behind. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, startWorld } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { command, killAll, startTree, status } from "./returning.ts";

test("a tree that is stopped while it comes back ends whole", async () => {
  await using world = startWorld();
  const names = Array.from({ length: 12 }, (_, at) => `c${at}`);
  const calls = names.map((name) => {
    const target = join(world.work, name);
    mkdirSync(target);
    const scope = [{ target, permission: "write" }];
    return { tool: "SpawnPod", input: { name, task: "t", scope } };
  });
  const root = await world.start({
    command,
    rules: [{ match: "^wide$", calls }, { text: "ok" }],
    limits: { max_children: 20 },
  });
  await root.run("wide");
  await eventually(async () => {
    const { state, pending } = await status(root.socket);
    const atRest = state === "idle" && pending === 0;
    return atRest && names.every((name) => world.allocation(name)?.session_id != null);
  }, "the tree at rest");
  const dead = world.allocation("c9")?.instance;
  await killAll(world);
  const resumed = world.cli("resume", "root", "--tree");
  await eventually(() => {
    const entry = world.allocation("c9");
    return entry?.session_id != null && entry.instance !== dead;
  }, "the first that came back");
  const stopped = await world.cli("stop", "root", "--tree");
  expect([stopped.stderr, stopped.code]).toEqual(["", 0]);
  expect(world.registry.peek()).toEqual([]);
  expect((await resumed).code).toBe(1);
  expect(world.registry.peek()).toEqual([]);
  await eventually(() => world.processes().length === 0, "the end of every process");
}, 60_000);

test("a branch that was stopped with all below it stays away when the rest of its tree comes back", async () => {
  await using world = startWorld();
  await startTree(world);
  expect((await world.cli("stop", "mid", "--tree")).stdout).toContain("below it leaf");
  await eventually(async () => {
    const { state, pending } = await status(world.allocation("root")?.socket ?? "");
    return state === "idle" && pending === 0;
  }, "the root at rest");
  for (const round of ["alive", "dead"]) {
    if (round === "dead") await killAll(world);
    const resumed = await world.cli("resume", "root", "--tree");
    expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
    expect(world.registry.peek().map(({ pod_name }) => pod_name)).toEqual(["root"]);
  }
  const asked = await world.cli("resume", "mid", "--tree");
  expect([asked.stderr, asked.code]).toEqual(["", 0]);
  expect(asked.stdout).toContain("with leaf");
});

test("a branch that was stopped while the one above could not look stays away as well", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  process.kill(root.pid, "SIGSTOP");
  try {
    const stopped = await world.cli("stop", "mid", "--tree");
    expect([stopped.stderr, stopped.code]).toEqual(["", 0]);
  } finally {
    process.kill(root.pid, "SIGCONT");
  }
  await eventually(() => {
    const log = join(
      world.home,
      ".insomnia/sessions",
      `${world.allocation("root")?.session_id}.jsonl`,
    );
    return readFileSync(log, "utf8").split("pod.child_ended").length > 2;
  }, "both ends recorded");
  await killAll(world);
  const resumed = await world.cli("resume", "root", "--tree");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(world.registry.peek().map(({ pod_name }) => pod_name)).toEqual(["root"]);
}, 60_000);

test("a Pod that is told to bring a child back and to end in one breath leaves nobody behind", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  const child = world.allocation("mid")?.pid ?? 0;
  await world.cli("stop", "leaf");
  process.kill(child, "SIGKILL");
  await eventually(async () => {
    await world.registry.reclaim();
    const { state, pending } = await status(root.socket);
    return world.allocation("mid") === undefined && state === "idle" && pending === 0;
  }, "the end of the child");
  const lines = [
    { method: "revive", id: "r", params: { name: "mid" } },
    { method: "shutdown", id: "s" },
  ];
  const closed = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    unix: root.socket,
    socket: { data: () => {}, close: () => closed.resolve(), error: () => closed.resolve() },
  });
  socket.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  await within(closed.promise, 20_000, "the end of the root");
  await eventually(() => world.processes().length === 0, "the end of every process");
  await world.registry.reclaim();
  expect(world.registry.peek()).toEqual([]);
}, 60_000);
