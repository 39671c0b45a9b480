/** Whole trees of real Pods: what spawning, dying and stopping mean for all of them. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import { writeLaunchFile } from "../../src/spawn/launch-file.ts";
import { listPodsTool, stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../../src/spawn/talk-tools.ts";
import { request } from "../../src/transport/client.ts";
import { eventually, startRoot, startWorld, type World } from "../support/pod.ts";
import { SOURCE_COMMAND } from "../support/root-pod.ts";
import { within } from "../support/temp.ts";
import { isQuiet } from "./quiet.ts";
import { grant, readJson, rule, startSpawner, type TestSpawner } from "./spawner.ts";

/** A scenario in which `middle` gives `core/x` to `deep` when told to, and both answer everything. */
const FAMILY = [
  {
    pod: "middle",
    match: "^delegate (.*)$",
    calls: [{ tool: "SpawnPod", input: { name: "deep", task: "begin", scope: [grant("$1")] } }],
  },
  { pod: "deep", match: "begin", text: "deep has begun" },
  { pod: "deep", match: "again", text: "deep again" },
  { text: "{pod} is done" },
];

async function tree(): Promise<TestSpawner & { core: string; x: string }> {
  const root = await startSpawner({ rules: FAMILY });
  const [core, x] = [root.directory("core"), root.directory("core/x")];
  const input = { name: "middle", task: `delegate ${x}`, scope: [grant(core)] };
  const outcome = await root.call(spawnPodTool(root.context), input);
  if (outcome.isError) throw new Error(outcome.summary);
  await root.notice("Pod `middle` finished a turn.");
  // `deep` ends its turn, which wakes `middle` once more: after that nothing is under way.
  const { socket } = podPaths(root.world.runtime, "middle");
  await eventually(() => isQuiet(socket, 2), "middle to have answered its child");
  return Object.assign(root, { core, x });
}

const pidOf = (root: TestSpawner, name: string): number => root.entry(name)?.pid ?? 0;

describe("a tree of real pods", () => {
  test("tells its root of grandchildren, and of no run that it did not ask for (75, 100)", async () => {
    await using root = await tree();
    const { socket } = root.context.children.get("middle") ?? { socket: "" };
    // The second run of `middle` was for its child: the root has not asked for it.
    expect(root.notices.map(({ text }) => text)).toEqual(["Pod `middle` finished a turn."]);
    const list = await root.call(listPodsTool(root.context), {});
    expect(list.content).toBe(
      `middle [alive] scope=write:${root.core} state=idle\ndeep [alive] scope=write:${root.x} state=idle`,
    );
    const sent = await root.call(sendToPodTool(root.context), { name: "deep", message: "again" });
    expect(sent.summary).toBe("sent message to `deep`");
    await eventually(() => isQuiet(socket, 3), "middle to have heard of it");
    const read = await root.call(readPodOutputTool(root.context), { name: "deep" });
    expect(read.content).toBe("deep has begun\n\ndeep again");
  });

  test("whose middle is killed goes on: the grandchild is ours, in every way (W52, W53)", async () => {
    await using root = await tree();
    const { core, x } = root;
    process.kill(pidOf(root, "middle"), "SIGKILL");
    expect(await root.notice("middle")).toBe(
      "Pod `middle` died unexpectedly (signal SIGKILL). Its scope is yours again: " +
        `write:${core}. Now yours: \`deep\` keeps write:${x}.`,
    );
    expect(root.entry("deep")?.delegated_from).toBe("root");
    expect([root.access(join(core, "f")), root.access(join(x, "f"))]).toEqual(["write", "read"]);
    const list = await root.call(listPodsTool(root.context), {});
    expect(list.content).toBe(
      `middle [stopped] scope=write:${core}\ndeep [alive] scope=write:${x} state=idle`,
    );
    expect(readJson(root.membership.paths.children)).toMatchObject([
      { pod_name: "deep", callback_address: root.context.self.socket },
    ]);
    // Its reports come to us now.
    await root.call(sendToPodTool(root.context), { name: "deep", message: "again" });
    await root.notice("Pod `deep` finished a turn.");
    const read = await root.call(readPodOutputTool(root.context), { name: "deep" });
    expect(read.content).toBe("deep has begun\n\ndeep again");
    // So does its end, although another process started it.
    process.kill(pidOf(root, "deep"), "SIGKILL");
    expect(await root.notice("Pod `deep`")).toBe(
      `Pod \`deep\` died unexpectedly. Its scope is yours again: write:${x}.`,
    );
    expect(root.access(join(x, "f"))).toBe("write");
    expect(root.entry("deep")).toBeUndefined();
  });

  test("whose middle is killed while the grandchild works: the grandchild can be stopped", async () => {
    await using root = await tree();
    process.kill(pidOf(root, "middle"), "SIGKILL");
    await root.notice("Now yours: `deep`");
    const stopped = await root.call(stopPodTool(root.context), { name: "deep" });
    expect(stopped.summary).toBe(`stopped pod \`deep\`; reclaimed scope: write:${root.x}`);
    expect(root.world.directories()).toEqual(["root"]);
  });

  test("whose middle is stopped by its root names the heir (37)", async () => {
    await using root = await tree();
    const stopped = await root.call(stopPodTool(root.context), { name: "middle" });
    expect(stopped.summary).toBe(
      `stopped pod \`middle\`; reclaimed scope: write:${root.core}; now yours: ` +
        `\`deep\` keeps write:${root.x}`,
    );
    expect(root.access(join(root.core, "f"))).toBe("write");
    expect(root.access(join(root.x, "f"))).toBe("read");
  });

  test("whose middle is stopped with its tree ends as a whole, and all paths come back", async () => {
    await using root = await tree();
    const stopped = await root.call(stopPodTool(root.context), { name: "middle", tree: true });
    expect(stopped).toEqual({
      summary: `stopped pod \`middle\`; reclaimed scope: write:${root.core}; and below it \`deep\``,
      isError: false,
    });
    expect(root.access(join(root.x, "f"))).toBe("write");
    expect(root.world.processes()).toEqual([]);
    expect(root.world.directories()).toEqual(["root"]);
    expect(root.context.children.list()).toEqual([]);
  });

  test("whose middle is ended by somebody else names the heir too (99)", async () => {
    await using root = await tree();
    process.kill(pidOf(root, "middle"), "SIGTERM");
    expect(await root.notice("Pod `middle` has")).toBe(
      `Pod \`middle\` has stopped. Now yours: \`deep\` keeps write:${root.x}.`,
    );
    const answer = await root.call(sendToPodTool(root.context), { name: "deep", message: "again" });
    expect(answer.isError).toBe(false);
    await root.notice("Pod `deep` finished a turn.");
  });
});

describe("a real root", () => {
  for (const name of ["", ".", "..", "../x", "/abs", "a/b", "a\tb", "pods.json", "n".repeat(65)]) {
    test(`named ${JSON.stringify(name.slice(0, 12))} does not start and touches nothing (61, W34)`, async () => {
      await using world = startWorld();
      const start = world.start({ name });
      const failure = await start.then(
        () => "started",
        (error: unknown) => String(error),
      );
      expect(failure).toContain("invalid pod name `");
      expect(world.directories()).toEqual([]);
      // Bun itself keeps a cache there when it runs from source.
      const files = readdirSync(world.home).filter((file) => file !== ".bun");
      expect(files.toSorted()).toEqual(["run", "scenario-1.json", "work"]);
    });
  }

  test("is woken by its child's death, and can use the paths again", async () => {
    const file = "{scenario_dir}/work/kid/f";
    await using root = await startRoot({
      rules: [
        {
          pod: "root",
          match: "^go$",
          calls: [
            {
              tool: "SpawnPod",
              input: { name: "kid", task: "sleep", scope: [grant("{scenario_dir}/work/kid")] },
            },
          ],
        },
        {
          pod: "root",
          match: "died unexpectedly \\(signal SIGKILL\\)",
          calls: [{ tool: "Write", input: { file_path: file, content: "mine again" } }],
        },
        { pod: "kid", delay_ms: 60_000, text: "never" },
        { text: "ok" },
      ],
    });
    mkdirSync(join(root.world.work, "kid"));
    await root.runToEnd("go");
    process.kill(root.world.allocation("kid")?.pid ?? 0, "SIGKILL");
    await root.waitFor("run_end");
    expect(readFileSync(join(root.world.work, "kid/f"), "utf8")).toBe("mine again");
    expect(root.world.allocation("kid")).toBeUndefined();
  });

  test("runs INSOMNIA_POD_COMMAND as one program name, and tells of its failure (1.3, 68)", async () => {
    await using world = startWorld();
    const program = join(world.home, "not a pod");
    writeFileSync(program, "#!/bin/sh\necho boom >&2\nexit 3\n");
    chmodSync(program, 0o700);
    const root = await world.start({
      rules: [
        {
          match: "go",
          calls: [
            { tool: "SpawnPod", input: { name: "kid", task: "t", scope: [grant(world.work)] } },
          ],
        },
        { text: "ok" },
      ],
      env: { INSOMNIA_POD_COMMAND: program },
      limits: { ready_timeout_ms: 60_000 },
    });
    const start = performance.now();
    await root.runToEnd("go", 30_000);
    expect(performance.now() - start).toBeLessThan(30_000);
    expect(root.toolResults()[0]).toStartWith(
      "Tool execution failed: Execution failed: spawned pod exited before it was ready (exit code 3)\n" +
        "--- child stderr (",
    );
    expect(root.toolResults()[0]).toEndWith("---\nboom");
    expect(world.directories()).toEqual(["root"]);
  });

  test("that is cancelled while it spawns undoes the spawn (71)", async () => {
    await using world = startWorld();
    const program = join(world.home, "hang");
    writeFileSync(program, `#!/bin/sh\ntouch ${world.home}/started\nexec sleep 60\n`);
    chmodSync(program, 0o700);
    const root = await world.start({
      rules: [
        {
          match: "go",
          calls: [
            { tool: "SpawnPod", input: { name: "kid", task: "t", scope: [grant(world.work)] } },
          ],
        },
        { text: "ok" },
      ],
      env: { INSOMNIA_POD_COMMAND: program },
    });
    await root.run("go");
    await eventually(() => existsSync(join(world.home, "started")), "the child program to run");
    await root.request({ method: "cancel" });
    const end = await root.waitFor("run_end", 4000);
    expect(end.data.outcome).toBe("cancelled");
    expect(world.registry.peek().map((entry) => entry.pod_name)).toEqual(["root"]);
    expect(world.directories()).toEqual(["root"]);
    expect(world.processes()).toEqual([root.pid]);
  });
});

describe("a real child", () => {
  /** Results of the tool calls that a child `kid` makes of its own accord. */
  async function resultsOf(root: TestSpawner, world: World): Promise<string[]> {
    await root.notice("Pod `kid` finished a turn.");
    const history = await request(
      podPaths(world.runtime, "kid").socket,
      { method: "get_history" },
      { timeoutMs: 5000, until: (event) => event.event === "history" },
    );
    if (history.event !== "history") return [];
    return history.data.items.flatMap((item) =>
      typeof item === "object" && item !== null && "summary" in item ? [String(item.summary)] : [],
    );
  }

  test("has exactly what it was handed, whatever the project's manifest says (47, 65, 66)", async () => {
    const work = "{scenario_dir}/work";
    const write = (path: string) => ({
      tool: "Write",
      input: { file_path: `${work}/${path}`, content: "x" },
    });
    const read = (path: string) => ({ tool: "Read", input: { file_path: `${work}/${path}` } });
    const calls = [
      write("src/ok"),
      write("other"),
      write("src/sub/no"),
      read("src/.env"),
      read("src/sub/seen"),
    ];
    await using root = await startSpawner({
      rules: [{ pod: "kid", match: "try", calls }, { text: "ok" }],
      scope: (world) => ({
        allow: [rule(world.work)],
        deny: [rule(join(world.work, "src/sub")), rule(join(world.work, "src/.env"), "read")],
      }),
    });
    const { world } = root;
    const src = root.directory("src");
    root.directory("src/sub");
    writeFileSync(join(src, ".env"), "secret");
    writeFileSync(join(src, "sub/seen"), "seen");
    // A manifest that the child would find, were it to look: it allows everything.
    mkdirSync(join(world.work, ".insomnia"));
    writeFileSync(
      join(world.work, ".insomnia/manifest.toml"),
      '[[scope.allow]]\ntarget = "."\npermission = "write"\n',
    );
    await root.call(spawnPodTool(root.context), { name: "kid", task: "try", scope: [grant(src)] });
    const results = await resultsOf(root, world);
    expect(results[0]).not.toContain("failed");
    expect(readFileSync(join(src, "ok"), "utf8")).toBe("x");
    expect(results[1]).toContain(`path is outside allowed scope: ${join(world.work, "other")}`);
    expect(results[2]).toContain(`path is read-only in this scope: ${join(src, "sub/no")}`);
    expect(results[3]).toContain(`path is outside allowed scope: ${join(src, ".env")}`);
    expect(results[4]).not.toContain("failed");
    expect(existsSync(join(world.work, "other"))).toBe(false);
    const manifest = readFileSync(podPaths(world.runtime, "kid").manifest, "utf8");
    expect(manifest).not.toContain(`target = "${world.work}"`);
  });

  /** Starts a child by hand with a launch file of this content; resolves with its end. */
  async function adopt(root: TestSpawner, name: string, instance: string) {
    const { world, context } = root;
    const { table: model } = await context.models.forChild();
    const path = join(world.home, "launch.json");
    const manifest = context.childManifest({
      name,
      instruction: undefined,
      model,
      allow: [rule(root.directory("src"))],
      deny: [],
    });
    writeLaunchFile(path, {
      version: 1,
      program: "another",
      secrets: [],
      name,
      instance,
      prompts: {},
      manifest,
      store: context.store,
    });
    const flags = ["--adopt", "--callback", context.self.socket, "--launch", path];
    const child = Bun.spawn([...SOURCE_COMMAND, ...flags], {
      cwd: root.directory("src"),
      env: { ...context.env },
      stdout: "ignore",
      stderr: "pipe",
    });
    const code = await within(child.exited, 10_000, "the child to end");
    return { code, stderr: await new Response(child.stderr).text() };
  }

  test("that nobody has reserved anything for ends at once and says so (43)", async () => {
    await using root = await startSpawner();
    const before = root.snapshot();
    const { code, stderr } = await adopt(root, "ghost", "g");
    expect(stderr).toBe("error: failed to create spawned pod: pod `ghost` is not registered\n");
    expect(code).toBeGreaterThan(0);
    expect(root.snapshot()).toEqual(before);
  });

  test("with another instance than the reservation's takes nothing, nor does a second one (42, W16)", async () => {
    await using root = await startSpawner();
    const { self, limits } = root.context;
    const pod = { name: "kid", instance: "right" };
    await root.world.registry.delegate(self, pod, [rule(root.directory("src"))], limits);
    const before = root.snapshot();
    const refusal =
      "error: failed to create spawned pod: pod `kid` is not a reservation of this spawner\n";
    expect(await adopt(root, "kid", "wrong")).toEqual({ code: 1, stderr: refusal });
    expect(root.snapshot()).toEqual(before);
    await root.world.registry.adopt(pod, Bun.randomUUIDv7());
    const adopted = root.snapshot();
    expect(await adopt(root, "kid", "right")).toEqual({ code: 1, stderr: refusal });
    expect(root.snapshot()).toEqual(adopted);
    await root.world.registry.release(pod);
  });
});
