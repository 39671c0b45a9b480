/**
 * Calls that a person interrupts, with the compiled program and real commands: what they leave in the
 * conversation, and that none of them ever runs again, in a Pod that comes back either.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, startWorld } from "../support/pod.ts";
import { command, conversation, runToEnd, sessions } from "./returning.ts";

test("a call that a person interrupted stays closed when the Pod comes back (worker 11)", async () => {
  await using world = startWorld();
  const marks = join(world.work, "marks");
  const call = { tool: "Bash", input: { command: `echo ran >> ${marks}; sleep 600` } };
  const root = await world.start({
    command,
    rules: [{ match: "^begin$", calls: [call] }, { text: "ok" }],
  });
  await root.run("begin");
  await eventually(() => existsSync(marks), "the tool at work");
  await root.request({ method: "pause" });
  expect((await root.waitFor("run_end")).data.result).toBe("paused");
  await root.runToEnd("something else");
  const before = await conversation(world, "root");
  expect(before.slice(1)).toMatchObject([
    { type: "tool_call" },
    { type: "tool_result", summary: "[Interrupted by user]", is_error: true },
    { role: "system", content: [{ text: expect.stringContaining("interrupted by the user") }] },
    { role: "user", content: [{ text: "something else" }] },
    { role: "assistant", content: [{ text: "ok" }] },
  ]);
  await root.kill();
  expect((await world.cli("resume")).code).toBe(0);
  expect(await conversation(world, "root")).toEqual(before);
  await runToEnd(world, "root", "next");
  const after = await conversation(world, "root");
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.slice(before.length).some(({ type }) => type !== "message")).toBe(false);
  expect(readFileSync(marks, "utf8")).toBe("ran\n");
});

test("of two calls that a cancel ends one keeps its result, and neither runs again (worker 12)", async () => {
  await using world = startWorld();
  const fast = join(world.work, "fast");
  const slow = join(world.work, "slow");
  const bash = (command: string) => ({ tool: "Bash", input: { command } });
  const calls = [bash(`echo ran | tee -a ${fast}`), bash(`echo ran >> ${slow}; sleep 600`)];
  const root = await world.start({
    command,
    rules: [{ match: "^begin$", calls }, { text: "ok" }],
  });
  await root.run("begin");
  const log = (await sessions(world))[0]?.path ?? "";
  await eventually(
    () => existsSync(slow) && readFileSync(log, "utf8").includes("pod.result"),
    "the first result, and the second call at work",
  );
  await root.request({ method: "cancel" });
  const end = await root.waitFor("run_end");
  expect(end.data.outcome).toBe("cancelled");
  await root.runToEnd("something else");
  const before = await conversation(world, "root");
  expect(before.slice(1)).toMatchObject([
    { type: "tool_call" },
    { type: "tool_call" },
    { type: "tool_result", summary: `$ echo ran | tee -a ${fast}`, content: "ran\n" },
    { type: "tool_result", summary: "[Interrupted by user]", is_error: true },
    { role: "user", content: [{ text: "something else" }] },
    { role: "assistant", content: [{ text: "ok" }] },
  ]);
  await root.kill();
  expect((await world.cli("resume")).code).toBe(0);
  await runToEnd(world, "root", "next");
  expect((await conversation(world, "root")).slice(0, before.length)).toEqual(before);
  for (const marks of [fast, slow]) expect(readFileSync(marks, "utf8")).toBe("ran\n");
});
