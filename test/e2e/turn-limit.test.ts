/** The turn limit of a manifest, with the compiled program: it ends one run, not the session. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { startWorld } from "../support/pod.ts";
import { command, conversation, runToEnd, textOf } from "./returning.ts";

test("a run ends at max_turns; the next has all of them, in a Pod that came back too (worker 7, 8)", async () => {
  await using world = startWorld();
  const read = { tool: "Read", input: { file_path: join(world.work, "none") } };
  const root = await world.start({
    command,
    worker: { max_turns: 2 },
    rules: [
      { match: "^once", calls: [read] },
      // The result of the call is answered with another call in the first two runs, then with text.
      { match: "file not found", times: 2, calls: [read] },
      { match: "file not found", text: "answered" },
    ],
  });
  const limited = await root.runToEnd("once and again");
  expect(limited).toMatchObject({ data: { result: "limit_reached", outcome: "limit_reached" } });
  const types = (await conversation(world, "root")).map(({ type }) => type);
  expect(types).toEqual(["message", "tool_call", "tool_result", "tool_call", "tool_result"]);
  expect(await root.runToEnd("once more")).toMatchObject({ data: { result: "limit_reached" } });
  const finished = await root.runToEnd("once at last");
  expect(finished).toMatchObject({ data: { result: "finished", outcome: "finished" } });
  const turns = root.events.flatMap((event) =>
    event.event === "turn_start" ? [event.data.turn] : [],
  );
  expect(turns).toEqual([0, 1, 2, 3, 4, 5]);
  await root.kill();
  // In the new process the scenario begins anew: two runs end at the limit, the third does not.
  expect((await world.cli("resume")).code).toBe(0);
  for (const text of ["once one", "once two", "once three"]) await runToEnd(world, "root", text);
  const last = (await conversation(world, "root")).at(-1);
  expect(last === undefined ? "" : textOf(last)).toBe("answered");
});
