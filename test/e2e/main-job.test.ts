/**
 * The main job with the compiled binary, a server that speaks the Anthropic streaming format, and
 * real child processes: spawn by a tool call, work inside a scope, tell the parent, survive kills.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnthropicRequest, Answer } from "../support/anthropic-server.ts";
import { anthropicServer } from "../support/anthropic-server.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, startWorld } from "../support/pod.ts";
import type { RootOptions } from "../support/root-pod.ts";

const command = [podBinary()];

const modelAt = (url: string): NonNullable<RootOptions["model"]> => ({
  scheme: "anthropic",
  base_url: url,
  model_id: "test-model",
  auth: { kind: "none" },
});

/** All text of the newest message of a request, tool results included. */
function newest(request: AnthropicRequest): string {
  return JSON.stringify(request.messages.at(-1)?.content ?? "");
}

/** True for requests of the Pod whose first user message is `task`. */
function isAbout(request: AnthropicRequest, task: string): boolean {
  return JSON.stringify(request.messages[0]?.content ?? "").includes(task);
}

test("a Pod spawns a child by a tool call in an Anthropic stream and hears that it finished", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const target = join(area, "kid.txt");
  await using server = await anthropicServer((request): Answer => {
    if (isAbout(request, "WRITE-IT")) {
      return newest(request).includes("Created")
        ? { text: "The file is there." }
        : { calls: [{ name: "Write", input: { file_path: target, content: "from the kid\n" } }] };
    }
    if (newest(request).includes("finished a turn")) return { text: "Good." };
    if (newest(request).includes("spawned pod")) return { text: "I wait." };
    const scope = [{ target: area, permission: "write" }];
    return { calls: [{ name: "SpawnPod", input: { name: "kid", task: "WRITE-IT", scope } }] };
  });
  const root = await world.start({ command, model: modelAt(server.url) });
  await root.run("delegate it");
  await root.waitFor("run_end");
  const kid = world.allocation("kid");
  expect(kid?.delegated_from).toBe("root");
  expect(kid?.pid).not.toBe(root.pid);
  // Its own session: the child leads its process group and session (proc(5), stat fields 5 and 6).
  const stat = readFileSync(`/proc/${kid?.pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  expect(stat.slice(2, 4)).toEqual([String(kid?.pid), String(kid?.pid)]);
  await root.waitFor((event) => event.event === "text_done" && event.data.text === "Good.");
  const told = server.requests.find((request) => newest(request).includes("finished a turn"));
  expect(newest(told as AnthropicRequest)).toContain("Pod `kid` finished a turn.");
  expect(readFileSync(target, "utf8")).toBe("from the kid\n");
});

test("a child that is killed is told to the parent's model, and the parent may write there again", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const write = (name: string) => ({
    tool: "Write",
    input: { file_path: join(area, name), content: "x" },
  });
  const root = await world.start({
    command,
    rules: [
      { pod: "kid", text: "Working.", delay_ms: 60_000 },
      {
        match: "^go$",
        calls: [
          {
            tool: "SpawnPod",
            input: { name: "kid", task: "t", scope: [{ target: area, permission: "write" }] },
          },
        ],
      },
      { match: "spawned pod", calls: [write("refused.txt")] },
      { match: "read-only", text: "It is lent out." },
      { match: "died unexpectedly \\(signal SIGKILL\\)", calls: [write("mine.txt")] },
      { match: "Created", text: "Mine again." },
    ],
  });
  await root.runToEnd("go");
  expect(root.toolResults().at(-1)).toContain(
    `path is read-only in this scope: ${join(area, "refused.txt")}`,
  );
  const kid = world.allocation("kid");
  process.kill(kid?.pid ?? 0, "SIGKILL");
  await root.waitFor((event) => event.event === "text_done" && event.data.text === "Mine again.");
  expect(world.allocation("kid")).toBeUndefined();
  expect(existsSync(join(world.runtime, "kid"))).toBe(false);
  expect(existsSync(join(area, "mine.txt"))).toBe(true);
});

test("a child outlives its killed parent, becomes a root, and can be stopped by name", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const root = await world.start({
    command,
    rules: [
      { pod: "kid", text: "done" },
      {
        match: "^go$",
        calls: [
          {
            tool: "SpawnPod",
            input: { name: "kid", task: "t", scope: [{ target: area, permission: "write" }] },
          },
        ],
      },
      { text: "ok" },
    ],
  });
  await root.runToEnd("go");
  const kid = world.allocation("kid");
  await root.kill("SIGKILL");
  const listed = await world.cli("ls", "--json");
  expect(listed.code).toBe(0);
  expect(JSON.parse(listed.stdout)).toMatchObject([{ name: "kid", parent: null, pid: kid?.pid }]);
  expect(await world.cli("stop", "root")).toMatchObject({ code: 3 });
  expect(await world.cli("stop", "kid")).toMatchObject({
    code: 0,
    stdout: "stopped pod `kid`\n",
  });
  expect(isRunning(kid?.pid ?? 0)).toBe(false);
  expect(world.directories()).toEqual([]);
});

test("of twelve roots started at once over overlapping directories exactly one lives", async () => {
  await using world = startWorld();
  const scenario = world.scenario([{ text: "ok" }]);
  const directory = (n: number): string => join(world.work, ...["a", "b", "c"].slice(0, n % 4));
  mkdirSync(directory(3), { recursive: true });
  const pods = Array.from({ length: 12 }, (_, n) => {
    const overlay = [
      `pod.name = "root-${n}"`,
      `model = { scheme = "script", script = ${JSON.stringify(scenario)} }`,
      `scope.allow = [{ target = ${JSON.stringify(directory(n))}, permission = "write" }]`,
    ].join("\n");
    return Bun.spawn([...command, "--overlay", overlay], {
      cwd: directory(n),
      env: world.env,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
  });
  await eventually(
    () => pods.filter((pod) => pod.exitCode !== null).length === 11,
    "eleven of twelve have ended",
  );
  const losers = pods.filter((pod) => pod.exitCode !== null);
  const table = world.registry.peek();
  expect(table).toHaveLength(1);
  const winner = table[0]?.pod_name ?? "";
  for (const loser of losers) {
    expect(loser.exitCode).toBe(1);
    expect(await new Response(loser.stderr).text()).toContain(`conflicts with pod \`${winner}\``);
  }
  expect(world.directories()).toEqual([winner]);
});

test("bad names and targets are refused with their text and change nothing", async () => {
  await using world = startWorld();
  const inside = join(world.work, "inside");
  mkdirSync(inside);
  symlinkSync("/etc", join(world.work, "link"));
  const good = { target: inside, permission: "write" };
  const bad: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ name: "..", scope: [good] }, "invalid pod name `..`"],
    [{ name: "a/b", scope: [good] }, "invalid pod name `a/b`"],
    [{ name: "", scope: [good] }, "invalid pod name ``"],
    [{ name: "x".repeat(65), scope: [good] }, "invalid pod name"],
    [{ name: "a\nb", scope: [good] }, "invalid pod name `a\\nb`"],
    [{ name: "a\0b", scope: [good] }, "invalid pod name `a\\u0000b`"],
    [{ name: "pods.json", scope: [good] }, "invalid pod name `pods.json`"],
    [{ name: "root", scope: [good] }, "collides with spawner's own name"],
    [{ name: "kid", scope: [] }, "scope must not be empty"],
    [
      { name: "kid", scope: [{ ...good, target: "inside" }] },
      "scope.target must be absolute: inside",
    ],
    [{ name: "kid", scope: [{ ...good, target: `${inside}/../../x` }] }, "cannot be resolved"],
    [
      { name: "kid", scope: [{ ...good, target: join(world.work, "link") }] },
      "is not within spawner",
    ],
    [{ name: "kid", scope: [{ ...good, target: "/etc" }] }, "is not within spawner `root`"],
    [{ name: "kid", scope: [{ ...good, permission: "own" }] }, "scope.0.permission"],
    [{ scope: [good] }, "missing field `name`"],
  ];
  const root = await world.start({
    command,
    rules: [
      ...bad.map(([input], n) => ({
        match: `^case ${n}$`,
        calls: [{ tool: "SpawnPod", input: { task: "t", ...input } }],
      })),
      { text: "ok" },
    ],
  });
  const before = readFileSync(join(world.runtime, "pods.json"), "utf8");
  for (const [n, [, text]] of bad.entries()) {
    await root.runToEnd(`case ${n}`);
    expect(root.toolResults().at(-1)).toContain(text);
    expect(root.toolResults().at(-1)).toStartWith("Tool execution failed: Invalid argument: ");
  }
  expect(readFileSync(join(world.runtime, "pods.json"), "utf8")).toBe(before);
  expect(world.directories()).toEqual(["root"]);
  expect(world.processes()).toEqual([root.pid]);
});

test("no agent writes the registry or its user's configuration", async () => {
  await using world = startWorld();
  const registry = join(world.runtime, "new.json");
  const config = join(world.home, ".config", "insomnia", "manifest.toml");
  mkdirSync(join(world.home, ".config", "insomnia"), { recursive: true });
  const write = (file_path: string) => ({ tool: "Write", input: { file_path, content: "x" } });
  const root = await world.start({
    command,
    scope: { allow: [{ target: world.home, permission: "write", recursive: true }] },
    rules: [{ match: "^go$", calls: [write(registry), write(config)] }, { text: "ok" }],
  });
  await root.runToEnd("go");
  for (const result of root.toolResults()) expect(result).toContain("read-only in this scope");
  expect(existsSync(registry)).toBe(false);
  expect(existsSync(config)).toBe(false);
});

test("a Pod that died before it was registered leaves nothing that a look does not remove", async () => {
  await using world = startWorld();
  mkdirSync(join(world.runtime, "early"), { mode: 0o700 });
  writeFileSync(join(world.runtime, "early", "lock"), "");
  expect(await world.cli("ls")).toMatchObject({ code: 0, stdout: "no live pods\n" });
  expect(world.directories()).toEqual([]);
});

test("a child finds its parent's prompts and store wherever it works", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const config = join(world.home, "elsewhere");
  mkdirSync(join(config, "prompts"), { recursive: true });
  writeFileSync(join(config, "prompts", "agent.md"), "You are an agent.\n");
  writeFileSync(join(config, "manifest.toml"), 'worker.instruction = "$user/agent"\n');
  const root = await world.start({
    command,
    args: ["--user-manifest", join(config, "manifest.toml"), "--store", "../sess"],
    rules: [
      {
        match: "^go$",
        calls: [
          {
            tool: "SpawnPod",
            input: { name: "kid", task: "t", scope: [{ target: area, permission: "write" }] },
          },
        ],
      },
      { text: "ok" },
    ],
  });
  await root.runToEnd("go");
  expect(root.toolResults().at(-1)).toStartWith("spawned pod `kid`");
  expect(existsSync(join(area, "..", "..", "sess"))).toBe(true);
  expect(existsSync(join(world.work, "sess"))).toBe(false);
});
