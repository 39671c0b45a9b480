/** What becomes of the child of a real root Pod that is killed, and of one that starts again. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import { eventually, type RootPod, startWorld, type World } from "../support/pod.ts";
import { SOURCE_COMMAND } from "../support/root-pod.ts";
import { within } from "../support/temp.ts";
import { isQuiet } from "./quiet.ts";
import { grant } from "./spawner.ts";

describe("a root that is killed", () => {
  const rules = (target: string) => [
    {
      pod: "root",
      match: "go",
      calls: [{ tool: "SpawnPod", input: { name: "kid", task: "begin", scope: [grant(target)] } }],
    },
    { pod: "kid", match: "begin", delay_ms: 500, text: "kid is done" },
    { text: "ok" },
  ];

  const withChild = async (world: World): Promise<{ root: RootPod; target: string }> => {
    const target = join(world.work, "kid");
    mkdirSync(target);
    const root = await world.start({ rules: rules(target) });
    await root.run("go");
    await root.waitFor("tool_result");
    return { root, target };
  };

  test("leaves its child at work, as a root, and `pod stop` ends it by name (101)", async () => {
    await using world = startWorld();
    const { root } = await withChild(world);
    await root.kill();
    const { socket } = podPaths(world.runtime, "kid");
    await eventually(() => isQuiet(socket, 1), "the child to end its run");
    const { table } = await world.registry.reclaim();
    expect(table.map((entry) => [entry.pod_name, entry.delegated_from])).toEqual([["kid", null]]);
    const stop = Bun.spawn([...SOURCE_COMMAND, "stop", "kid"], {
      env: world.env,
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await within(stop.exited, 10_000, "pod stop")).toBe(0);
    expect(await new Response(stop.stdout).text()).toBe("stopped pod `kid`\n");
    expect(world.registry.peek()).toEqual([]);
    expect(world.processes()).toEqual([]);
  });

  test("comes back under its name with the child in its list and without its paths (101, W52)", async () => {
    await using world = startWorld();
    const { root, target } = await withChild(world);
    await root.kill();
    const kid = world.allocation("kid")?.pid;
    const again = await world.start({
      rules: [
        {
          pod: "root",
          // The child's report, which the dead one did not take.
          match: "finished a turn",
          calls: [
            { tool: "ListPods", input: {} },
            { tool: "Write", input: { file_path: join(target, "f"), content: "x" } },
          ],
        },
        { pod: "root", match: "^stop$", calls: [{ tool: "StopPod", input: { name: "kid" } }] },
        { text: "ok" },
      ],
    });
    const { socket } = podPaths(world.runtime, "kid");
    await eventually(() => isQuiet(socket, 1), "the child to end its first run");
    expect(world.allocation("kid")).toMatchObject({ pid: kid, delegated_from: "root" });
    await again.waitFor("run_end");
    await again.runToEnd("stop");
    expect(again.toolResults()).toEqual([
      "1 pod(s) known",
      expect.stringContaining(`path is read-only in this scope: ${join(target, "f")}`),
      `stopped pod \`kid\`; reclaimed scope: write:${target}`,
    ]);
    const told = JSON.stringify(await again.request({ method: "get_history" }, "history"));
    expect(told).toContain("which an earlier run of yours had spawned, lives on and keeps write:");
    expect(world.processes()).toEqual([again.pid]);
  });

  test("comes back while its child is too busy to answer, which it does not take for dead (102)", async () => {
    await using world = startWorld();
    const { root, target } = await withChild(world);
    const kid = world.allocation("kid")?.pid ?? 0;
    process.kill(kid, "SIGSTOP");
    try {
      await root.kill();
      const again = await world.start({ rules: rules(target) });
      await again.request({ method: "status" });
      const { table } = await world.registry.reclaim();
      expect(table.map((entry) => [entry.pod_name, entry.pid, entry.delegated_from])).toEqual([
        ["kid", kid, "root"],
        ["root", again.pid, null],
      ]);
    } finally {
      process.kill(kid, "SIGCONT");
    }
  });

  test("before its child has adopted leaves a child that ends with the reason (104)", async () => {
    await using world = startWorld();
    const target = join(world.work, "kid");
    mkdirSync(target);
    const program = join(world.home, "late-pod");
    const [bun, main] = SOURCE_COMMAND;
    const told = join(world.home, "told");
    writeFileSync(
      program,
      `#!/bin/sh\necho $PPID > ${told}.ppid\nwhile [ "$(cut -d' ' -f4 /proc/$$/stat)" = "$(cat ${told}.ppid)" ]; do sleep 0.01; done\n` +
        `cp "$6" ${told}.launch 2> /dev/null\n${bun} ${main} "$@" 2> ${told}\necho $? > ${told}.code\n`,
    );
    chmodSync(program, 0o700);
    const root = await world.start({
      rules: rules(target),
      env: { INSOMNIA_POD_COMMAND: program },
    });
    await root.run("go");
    await eventually(() => existsSync(`${told}.ppid`), "the child program to run");
    await root.kill();
    const code = (): string =>
      existsSync(`${told}.code`) ? readFileSync(`${told}.code`, "utf8").trim() : "";
    await eventually(() => code() !== "", "the child program to end");
    expect(readFileSync(told, "utf8")).toContain("pod `kid` is not registered");
    expect(Number(code())).toBeGreaterThan(0);
    const { table } = await world.registry.reclaim();
    expect(table).toEqual([]);
  });
});
