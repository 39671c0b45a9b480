/** What a Pod has acknowledged is in its log, whatever happens to its process in the next instant. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageText } from "../../src/protocol/history.ts";
import { runMethod } from "../../src/protocol/method.ts";
import { Replay } from "../../src/session/replay.ts";
import { scanLog, withLog } from "../../src/session/scan.ts";
import { eventually, startWorld, type World } from "../support/pod.ts";
import { command, conversation, killAll } from "./returning.ts";

function userTexts(world: World, session: string): string[] {
  const path = join(world.home, ".insomnia/sessions", `${session}.jsonl`);
  return withLog(path, session, (fd) => {
    const replay = new Replay();
    scanLog(fd, ({ entry }) => replay.add(entry));
    return replay
      .state()
      .items.flatMap((item) =>
        item.type === "message" && item.role === "user" ? [messageText(item)] : [],
      );
  });
}

test("a pod that is killed at its acknowledgement has the task in its log", async () => {
  await using world = startWorld();
  for (let round = 0; round < 5; round += 1) {
    const root = await world.start({ command, rules: [{ text: "ok", delay_ms: 5000 }] });
    const session = world.allocation("root")?.session_id ?? "";
    await root.request(runMethod(`task ${round}`, `key ${round}`));
    await root.kill();
    expect(userTexts(world, session)).toEqual([`task ${round}`]);
  }
});

test("a child that was spawned has its task in its log when both are killed", async () => {
  await using world = startWorld();
  mkdirSync(join(world.work, "a"));
  const scope = [{ target: join(world.work, "a"), permission: "write" }];
  for (let round = 0; round < 3; round += 1) {
    const root = await world.start({
      command,
      rules: [
        {
          match: "^go$",
          calls: [{ tool: "SpawnPod", input: { name: "mid", task: "build it", scope } }],
        },
        { text: "ok", delay_ms: 5000 },
      ],
    });
    await root.run("go");
    const result = await root.waitFor("tool_result");
    expect(result.data.summary).toStartWith("spawned pod `mid`");
    const session = world.allocation("mid")?.session_id ?? "";
    await killAll(world);
    expect(userTexts(world, session)).toEqual(["build it"]);
    await eventually(
      async () => (await world.registry.reclaim()).table.length === 0,
      "the names to be free again",
    );
  }
});

test("a key is known to the next process of the session, after a stop and after a kill", async () => {
  await using world = startWorld();
  const rules = [{ text: "ok" }];
  const root = await world.start({ command, rules });
  const session = world.allocation("root")?.session_id ?? "";
  const ends: ((pod: typeof root) => Promise<unknown>)[] = [
    (pod) => pod.kill(),
    async (pod) => {
      await pod.request({ method: "shutdown" });
      await pod.exited;
    },
    (pod) => pod.kill(),
  ];
  let pod = root;
  for (const end of ends) {
    await pod.request(runMethod("once", "k"));
    await end(pod);
    // A crash between the log and the mailbox leaves the log alone.
    rmSync(join(world.home, ".insomnia/sessions", `${session}.mail`), { force: true });
    pod = await world.start({ command, rules, args: ["--session", session] });
  }
  await pod.request(runMethod("once", "k"));
  expect(userTexts(world, session)).toEqual(["once"]);
});

test("a pod that is killed in its second turn comes back with the whole of its first (worker 106)", async () => {
  await using world = startWorld();
  const first = {
    match: "^go$",
    text: "I write. ",
    calls: [{ tool: "Write", input: { file_path: join(world.work, "one"), content: "1" } }],
  };
  const second = { text: "never shown", delay_ms: 20_000 };
  const root = await world.start({ command, rules: [first, second] });
  await root.run("go");
  await root.waitFor("tool_result");
  await root.kill();
  expect((await world.cli("resume", "root")).code).toBe(0);
  const items = await conversation(world, "root");
  expect(items.slice(0, 4)).toMatchObject([
    { type: "message", role: "user" },
    { type: "message", role: "assistant", content: [{ text: "I write. " }] },
    { type: "tool_call", name: "Write" },
    { type: "tool_result", summary: expect.stringContaining("Created") },
  ]);
});
