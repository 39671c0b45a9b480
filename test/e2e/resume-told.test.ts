/** What `pod resume` says of a tree: who did not come back, whoever it is, and who did. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { eventually, startWorld, type World } from "../support/pod.ts";
import {
  command,
  conversation,
  killAll,
  runToEnd,
  startTree,
  status,
  textOf,
} from "./returning.ts";

test("a grandchild that cannot come back is named as well, each time", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  rmSync(join(world.work, "a/b"), { recursive: true });
  // At first the child between them comes back just now, then it lives already.
  for (const _ of [1, 2]) {
    const resumed = await world.cli("resume", "root", "--tree");
    expect(resumed.stderr).toMatch(
      /not all came back: pod `mid`: pod `leaf` \(session [0-9a-f-]+\): its working directory \S+ is gone/,
    );
    expect([resumed.stdout, resumed.code]).toEqual([expect.stringContaining("with mid\n"), 1]);
    expect(world.allocation("mid")?.delegated_from).toBe("root");
  }
});

/** A root whose child `mid` died and was spawned anew, and died again: the sessions of both, older first. */
async function twoOfOneName(world: World): Promise<readonly [string, string]> {
  const spawn = (target: string) => ({
    tool: "SpawnPod",
    input: { name: "mid", task: "t", scope: [{ target, permission: "write" }] },
  });
  const targets = ["a", "b"].map((name) => join(world.work, name));
  for (const target of targets) mkdirSync(target);
  const [first = "", second = ""] = targets;
  const root = await world.start({
    command,
    rules: [
      { match: "^one$", calls: [spawn(first)] },
      { match: "^two$", calls: [spawn(second)] },
      { text: "ok" },
    ],
  });
  const ids: string[] = [];
  for (const task of ["one", "two"]) {
    // The end of the one before may be news to it just now.
    await eventually(
      () =>
        root.run(task).then(
          () => true,
          () => false,
        ),
      "the root at rest",
    );
    await eventually(async () => {
      const entry = world.allocation("mid");
      if (entry?.session_id == null) return false;
      const said = await status(entry.socket).catch(() => undefined); // not listening yet
      return said?.state === "idle" && said.runs === 1;
    }, "the child at rest");
    const entry = world.allocation("mid");
    ids.push(entry?.session_id ?? "");
    process.kill(entry?.pid ?? 0, "SIGKILL");
    await eventually(() => world.allocation("mid") === undefined, "its end");
  }
  return [ids[0] ?? "", ids[1] ?? ""];
}

test("of two sessions of one name that is brought back which was asked for", async () => {
  await using world = startWorld();
  const [older, newer] = await twoOfOneName(world);
  const resumed = await world.cli("resume", older);
  expect([resumed.stderr, resumed.code]).toEqual(["", 0]);
  expect(resumed.stdout).toContain(`(session ${older})`);
  expect(world.allocation("mid")).toMatchObject({ session_id: older, delegated_from: "root" });
  expect(world.allocation("mid")?.scope_allow[0]?.target).toBe(join(world.work, "a"));
  const other = await world.cli("resume", newer);
  expect([other.stdout, other.code]).toEqual(["", 1]);
  expect(other.stderr).toContain(`its name is taken by another pod \`mid\` that lives`);
  expect(other.stderr).toContain(older);
});

test("a child whose name a stranger has now is named to the person and to its parent's model", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  const elsewhere = join(world.home, "elsewhere");
  mkdirSync(elsewhere);
  const stranger = await world.start({
    command,
    name: "mid",
    rules: [{ text: "ok" }],
    cwd: elsewhere,
    scope: { allow: [{ target: elsewhere, permission: "write", recursive: true }] },
  });
  const resumed = await world.cli("resume", "root", "--tree");
  expect(resumed.code).toBe(1);
  expect(resumed.stderr).toMatch(/not all came back: pod `mid` \(session \S+\): its name is taken/);
  const alone = await world.cli("resume", "mid");
  expect([alone.stdout, alone.code]).toEqual(["", 1]);
  expect(alone.stderr).toContain("its name is taken by another pod");
  await runToEnd(world, "root", "hello");
  const told = (await conversation(world, "root")).map(textOf).join("\n");
  expect(told).toMatch(/Pod `mid` is gone; .*its name is taken by another pod/);
  await stranger.kill();
  const again = await world.cli("resume", "root", "--tree");
  expect([again.stderr, again.code]).toEqual(["", 0]);
  expect(again.stdout).toContain("with mid, leaf");
});

test("a child that was stopped is left out of its tree, and comes back when it is asked for", async () => {
  await using world = startWorld();
  await startTree(world);
  const leaf = world.allocation("leaf");
  expect((await world.cli("stop", "leaf")).code).toBe(0);
  await eventually(async () => {
    const { state, pending } = await status(world.allocation("mid")?.socket ?? "");
    return state === "idle" && pending === 0;
  }, "the parent at rest");
  const tree = await world.cli("resume", "root", "--tree");
  expect([tree.stderr, tree.code]).toEqual(["", 0]);
  expect(world.allocation("leaf")).toBeUndefined();
  for (const wanted of ["leaf", leaf?.session_id ?? ""]) {
    const asked = await world.cli("resume", wanted);
    expect([asked.stderr, asked.code]).toEqual(["", 0]);
    expect(world.allocation("leaf")).toMatchObject({
      session_id: leaf?.session_id ?? "",
      delegated_from: "mid",
      scope_allow: leaf?.scope_allow ?? [],
    });
    expect((await world.cli("stop", "leaf")).code).toBe(0);
  }
});

test("a child that left no session is named though a stranger has its name", async () => {
  await using world = startWorld();
  await startTree(world);
  const session = world.allocation("mid")?.session_id ?? "";
  await killAll(world);
  rmSync(join(world.home, ".insomnia/sessions", `${session}.jsonl`));
  const elsewhere = join(world.home, "elsewhere");
  mkdirSync(elsewhere);
  await world.start({
    command,
    name: "mid",
    rules: [{ text: "ok" }],
    cwd: elsewhere,
    scope: { allow: [{ target: elsewhere, permission: "write", recursive: true }] },
  });
  const resumed = await world.cli("resume", "root", "--tree");
  expect(resumed.stderr).toContain("pod `mid`: it left no session");
  expect(resumed.code).toBe(1);
});

test("a child that was taken over comes back although the log of the one between is gone, or is named", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  const session = world.allocation("leaf")?.session_id ?? "";
  const between = world.allocation("mid");
  process.kill(between?.pid ?? 0, "SIGKILL");
  await eventually(async () => {
    const told = (await conversation(world, "root")).map(textOf).join("\n");
    const { state, pending } = await status(root.socket);
    return told.includes("`leaf` keeps") && state === "idle" && pending === 0;
  }, "the root to be told that it has taken it over");
  await killAll(world);
  const logs = join(world.home, ".insomnia/sessions");
  rmSync(join(logs, `${between?.session_id}.jsonl`));
  const back = await world.cli("resume", "root", "--tree");
  expect(back.stdout).toContain("with leaf");
  expect(world.allocation("leaf")).toMatchObject({ delegated_from: "root", session_id: session });
  await killAll(world);
  rmSync(join(logs, `${session}.jsonl`));
  const lost = await world.cli("resume", "root", "--tree");
  expect(lost.code).toBe(1);
  expect(lost.stderr).toContain("pod `leaf`: it left no session");
});
