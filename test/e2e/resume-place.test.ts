/** Where a Pod that comes back belongs while others of its tree live, and what is said meanwhile. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isPodError } from "../../src/base/errors.ts";
import { eventually, startWorld, type World } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import { command, killAll, runToEnd, startTree } from "./returning.ts";

/** Kills these, one after the other, and waits until the registry knows. */
async function kill(world: World, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    process.kill(world.allocation(name)?.pid ?? 0, "SIGKILL");
    await eventually(async () => {
      await world.registry.reclaim();
      return world.allocation(name) === undefined;
    }, `the end of ${name}`);
  }
}

test("a grandchild whose parent is gone is not told to end the living one above, but to bring its parent back", async () => {
  await using world = startWorld();
  await startTree(world);
  await kill(world, "leaf", "mid");
  const refused = await world.cli("resume", "leaf");
  expect([refused.stdout, refused.code]).toEqual(["", 1]);
  expect(refused.stderr).toContain("pod resume mid --tree");
  expect(refused.stderr).not.toContain("pod stop");
  const mid = await world.cli("resume", "mid", "--tree");
  expect([mid.stderr, mid.code]).toEqual(["", 0]);
  expect(mid.stdout).toContain("with leaf");
  expect(world.allocation("leaf")?.delegated_from).toBe("mid");
});

test("a child does not come back while a command of its parent may write where it could", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const spawn = { name: "kid", task: "t", scope: [{ target: area, permission: "write" }] };
  const server = { command: "sleep 600", run_in_background: true };
  const root = await world.start({
    command,
    rules: [
      { pod: "root", match: "^go$", calls: [{ tool: "SpawnPod", input: spawn }] },
      { pod: "root", match: "^serve$", calls: [{ tool: "Bash", input: server }] },
      { pod: "root", match: "^end$", calls: [{ tool: "KillBash", input: { bash_id: "bash_1" } }] },
      { text: "ok" },
    ],
  });
  /** The news of its child's end may have started a run of the root's own just now. */
  const order = async (text: string): Promise<void> =>
    await eventually(
      () =>
        runToEnd(world, "root", text).then(
          () => true,
          (error: unknown) => {
            if (isPodError(error) && error.data.wire === "already_running") return false;
            throw error;
          },
        ),
      `the order ${text}`,
    );
  await root.runToEnd("go");
  await kill(world, "kid");
  await order("serve");
  const refused = await world.cli("resume", "kid");
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("a shell command that may write there still runs: `sleep 600`");
  expect(world.allocation("kid")).toBeUndefined();
  await order("end");
  const back = await world.cli("resume", "kid");
  expect([back.stderr, back.code]).toEqual(["", 0]);
});

test("a parent and a child that are brought back at the same moment both come back", async () => {
  await using world = startWorld();
  await startTree(world);
  for (let round = 0; round < 5; round += 1) {
    await kill(world, "root", "mid");
    const both = await Promise.all([world.cli("resume", "root"), world.cli("resume", "mid")]);
    expect(both.map(({ stderr, code }) => [stderr, code])).toEqual([
      ["", 0],
      ["", 0],
    ]);
    const place = ["root", "mid", "leaf"].map((name) => world.allocation(name)?.delegated_from);
    expect(place).toEqual([null, "root", "mid"]);
  }
}, 60_000);

test("who does not answer while a tree comes back is named", async () => {
  await using world = startWorld();
  await startTree(world);
  const mid = world.allocation("mid")?.pid ?? 0;
  process.kill(mid, "SIGSTOP");
  try {
    const resumed = Bun.spawn([...command, "resume", "root", "--tree"], {
      cwd: world.work,
      env: world.env,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    let said = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of resumed.stderr) {
        said += decoder.decode(chunk, { stream: true });
        if (said.includes(`no answer from \`mid\` (pid ${mid})`)) process.kill(mid, "SIGCONT");
      }
    })();
    expect(await within(resumed.exited, 30_000, "the end of the command")).toBe(0);
    await reading;
    expect(said).toContain("still waiting: no answer from `mid`");
  } finally {
    process.kill(mid, "SIGCONT");
  }
}, 60_000);

test("a Pod that is just ending is said to be", async () => {
  await using world = startWorld();
  const root = await startTree(world);
  // As between the end of its socket and that of its process.
  rmSync(root.socket);
  for (const args of [
    ["send", "root", "hello"],
    ["cancel", "root"],
  ]) {
    const { stderr, code } = await world.cli(...args);
    expect([stderr, code]).toEqual([expect.stringContaining("it is just ending or starting"), 1]);
  }
  await killAll(world);
});
