/** What Pods leave on the disk while they live, and after. On the compiled program. */
import { expect, test } from "bun:test";
import { lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { startWorld } from "../support/pod.ts";

const spawnKid = (target: string) => [
  {
    pod: "root",
    match: "^go$",
    calls: [
      {
        tool: "SpawnPod",
        input: { name: "kid", task: "t", scope: [{ target, permission: "write" }] },
      },
    ],
  },
  { text: "ok" },
];

/** Mode of everything below a directory, by path. */
function modesBelow(directory: string): Map<string, string> {
  const modes = new Map<string, string>();
  for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const info = lstatSync(join(directory, name));
    modes.set(name, `${info.isDirectory() ? "d" : "-"}${(info.mode & 0o777).toString(8)}`);
  }
  return modes;
}

test("under umask 000 every directory is 0700, socket, log and JSON files are 0600 (108, W9)", async () => {
  await using world = startWorld();
  const target = join(world.work, "kid");
  mkdirSync(target);
  const before = process.umask(0);
  const root = await (async () => {
    try {
      return await world.start({ command: [podBinary()], rules: spawnKid(target) });
    } finally {
      process.umask(before);
    }
  })();
  await root.runToEnd("go");
  const modes = modesBelow(world.runtime);
  const expected = ["sock", "lock", "pid", "status.json", "history.json", "allocation.json"];
  for (const pod of ["root", "kid"]) {
    for (const file of expected)
      expect([pod, file, modes.get(join(pod, file))]).toEqual([pod, file, "-600"]);
  }
  expect(modes.get("kid/stderr.log")).toBe("-600");
  expect(modes.get("pods.json")).toBe("-600");
  for (const [name, mode] of modes)
    expect([name, mode]).toEqual([name, expect.stringMatching(/^(d700|-600)$/)]);
  expect((lstatSync(join(world.home, ".insomnia")).mode & 0o777).toString(8)).toBe("700");
});

test("when all Pods have ended normally nothing of them is left (103)", async () => {
  await using world = startWorld();
  const target = join(world.work, "kid");
  mkdirSync(target);
  const root = await world.start({ command: [podBinary()], rules: spawnKid(target) });
  await root.runToEnd("go");
  const stop = await world.cli("stop", "kid", "root");
  expect(stop.stdout).toBe("stopped pod `kid`\nstopped pod `root`\n");
  expect(await root.exited).toBe(0);
  expect(world.registry.peek()).toEqual([]);
  expect(readdirSync(world.runtime).toSorted()).toEqual([
    "pods.json",
    "pods.json.bak",
    "pods.lock",
  ]);
  expect(world.processes()).toEqual([]);
});
