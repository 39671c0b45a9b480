/** What stands beside and behind a session when its Pod comes back: its mailbox, forks, copies, old logs. */
import { expect, test } from "bun:test";
import { appendFileSync, existsSync } from "node:fs";
import { connectPod } from "../../src/transport/client.ts";
import { DEADLINE_MS, startWorld } from "../support/pod.ts";
import { cli, command, conversation, sessions } from "./returning.ts";

test("an unreadable line in a mailbox is skipped and said, and the session comes back", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "noted" }] });
  await root.runToEnd("remember 42");
  const [row] = await sessions(world);
  await root.kill();
  const mail = (row?.path ?? "").replace(/\.jsonl$/, ".mail");
  appendFileSync(mail, '{"in":5}\n');
  const resumed = await cli(world, "resume", "root");
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(await conversation(world, "root")).toHaveLength(2);
  const socket = world.allocation("root")?.socket ?? "";
  await using client = await connectPod(socket, { timeoutMs: DEADLINE_MS });
  const told = await client.next(DEADLINE_MS);
  expect(told).toMatchObject({
    event: "alert",
    data: { level: "error", message: `1 unreadable line(s) in ${mail} were skipped` },
  });
  expect(existsSync(mail)).toBe(true);
});
