/**
 * The main job with the compiled binary, a server that speaks the Anthropic streaming format, and
 * real child processes: spawn by a tool call, work inside a scope, tell the parent, survive kills.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnthropicRequest, Answer } from "../support/anthropic-server.ts";
import { anthropicServer } from "../support/anthropic-server.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, type RootOptions, startWorld, type World } from "../support/pod.ts";
import { within } from "../support/temp.ts";

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
  const listed = await cli(world.env, "ls", "--json");
  expect(listed.code).toBe(0);
  expect(JSON.parse(listed.stdout)).toMatchObject([{ name: "kid", parent: null, pid: kid?.pid }]);
  expect(await cli(world.env, "stop", "root")).toMatchObject({ code: 3 });
  expect(await cli(world.env, "stop", "kid")).toMatchObject({
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

test("a line that is not a method is answered to its sender and changes nothing", async () => {
  await using world = startWorld();
  const root = await world.start({ command, rules: [{ text: "ok" }] });
  const lines: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    unix: root.socket,
    socket: {
      data: (_, bytes) => {
        lines.push(...bytes.toString().trim().split("\n"));
        if (lines.length >= 2) resolve();
      },
    },
  });
  socket.write('{"method":"run","params":{"input":[{"kind":"text"\n{"method":"fly"}\n');
  await promise;
  socket.end();
  for (const line of lines) expect(line).toContain('"code":"internal","message":"invalid method: ');
  await root.runToEnd("still there?");
  expect(root.events.filter(({ event }) => event === "error")).toEqual([]);
});

test("SIGTERM, SIGHUP, SIGINT and SIGQUIT end a Pod and leave nothing", async () => {
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"] as const) {
    await using world = startWorld();
    const root = await world.start({ command, rules: [{ text: "slow", delay_ms: 60_000 }] });
    await root.run("work");
    process.kill(root.pid, signal);
    expect(await root.exited).toBe(0);
    expect(root.stderr()).toContain("pod: root shutting down (signal)\n");
    expect(world.directories()).toEqual([]);
    expect(world.registry.peek()).toEqual([]);
  }
});

test("a signal that was ignored when a Pod was started does not end it, as nohup has it", async () => {
  await using world = startWorld();
  const root = await world.start({
    command: ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', podBinary()],
    rules: [{ text: "ok" }],
  });
  process.kill(root.pid, "SIGHUP");
  await root.runToEnd("work");
  expect((await root.request({ method: "status" }, "status")).event).toBe("status");
  process.kill(root.pid, "SIGTERM");
  expect(await root.exited).toBe(0);
});

test("a run ends quietly, children and all, when nobody reads its answer any more", async () => {
  await using world = startWorld();
  mkdirSync(join(world.work, "kid"));
  const scope = [{ target: join(world.work, "kid"), permission: "write" }];
  const spawn = { tool: "SpawnPod", input: { name: "kid", task: "t", scope } };
  const script = world.scenario([
    { pod: "kid", text: "never", delay_ms: 600_000 },
    { match: "^go$", calls: [spawn], text: "first words" },
    { text: "word ".repeat(1000), chunk_delay_ms: 20 },
  ]);
  const pipe = `"$0" run --name root --model "script:${script}" go | head -c 3`;
  const run = Bun.spawn(["bash", "-c", `${pipe}; echo " \${PIPESTATUS[0]}"`, podBinary()], {
    cwd: world.work,
    env: world.env,
    stdout: "pipe",
    stderr: "ignore",
  });
  expect(await within(new Response(run.stdout).text(), 15_000, "the end of the run")).toBe(
    "fir 0\n",
  );
  expect(world.registry.peek()).toEqual([]);
  expect(world.processes()).toEqual([]);
});

test("pod stop stops all it can, and pod ls shows what it can, when not all is well", async () => {
  await using world = startWorld();
  for (const name of ["a", "b"]) {
    mkdirSync(join(world.work, name));
    const allow = [
      { target: join(world.work, name), permission: "write", recursive: true } as const,
    ];
    await world.start({
      command,
      name,
      scope: { allow },
      cwd: join(world.work, name),
      rules: [{ text: "ok" }],
    });
  }
  const pod = (...args: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([podBinary(), ...args], { env: world.env });
    return { exitCode, out: stdout.toString(), err: stderr.toString() };
  };
  const { stdout } = Bun.spawnSync([podBinary(), "ls"], { env: world.env, cwd: world.work });
  expect(stdout.toString()).toContain("b ");
  const stopped = pod("stop", "a", "nobody", "b");
  expect(stopped.out).toBe("stopped pod `a`\nstopped pod `b`\n");
  expect(stopped.err).toContain("no live pod named `nobody`");
  expect(stopped.exitCode).toBe(3);
});

test("pod run streams the answer, waits for its children and leaves none behind", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  const scenario = world.scenario([
    { pod: "kid", match: "^t$", delay_ms: 300, text: "kid is done" },
    {
      match: "^go$",
      text: "I delegate.",
      calls: [
        {
          tool: "SpawnPod",
          input: { name: "kid", task: "t", scope: [{ target: area, permission: "write" }] },
        },
      ],
    },
    { match: "spawned pod", text: "Waiting." },
    { match: "finished a turn", text: "All done." },
  ]);
  const done = await cli(world.env, "run", "--name", "lead", "--model", `script:${scenario}`, "go");
  expect(done).toMatchObject({ code: 0, stdout: "I delegate.\nWaiting.\nAll done.\n" });
  expect(done.stderr).toStartWith(`pod \`lead\` works in ${world.work}\n`);
  expect(done.stderr).toContain("spawned pod `kid`");
  expect(done.stderr).not.toContain("pod: warn");
  expect(world.processes()).toEqual([]);
  const failed = await cli(world.env, "run", "--model", `script:${scenario}`, "unknown");
  expect(failed).toMatchObject({ code: 1, stdout: "" });
  expect(failed.stderr).toContain("no rule of");
});

/** A `pod run` whose root is idle while its child works; the child is up when this resolves. */
async function runWithBusyChild(world: World, delayMs: number): Promise<Bun.Subprocess> {
  const area = join(world.work, "area");
  mkdirSync(area);
  const scenario = world.scenario([
    { pod: "kid", match: "^t$", delay_ms: delayMs, text: "kid is done" },
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
  ]);
  const run = Bun.spawn(
    [...command, "run", "--name", "lead", "--model", `script:${scenario}`, "go"],
    { cwd: world.work, env: { ...world.env }, stdout: "ignore", stderr: "ignore" },
  );
  await eventually(() => world.allocation("kid")?.session_id != null, "the child is up");
  return run;
}

test("pod stop of a running `pod run` takes its working children along", async () => {
  await using world = startWorld();
  const run = await runWithBusyChild(world, 60_000);
  expect(await cli(world.env, "stop", "lead")).toMatchObject({
    code: 0,
    stdout: "stopped pod `lead`\n",
  });
  expect(await run.exited).toBe(1);
  expect(world.processes()).toEqual([]);
});

test("a `pod run` that was ended by a signal is listed as ended, a stopped one as stopped", async () => {
  await using world = startWorld();
  const run = await runWithBusyChild(world, 60_000);
  run.kill("SIGTERM");
  expect(await run.exited).toBe(143);
  const stateOfLead = async (): Promise<string | undefined> => {
    const { stdout } = await cli(world.env, "sessions", "--json");
    const rows = JSON.parse(stdout) as { name: string; state: string }[];
    return rows.find(({ name }) => name === "lead")?.state;
  };
  expect(await stateOfLead()).toBe("ended");
  rmSync(join(world.work, "area"), { recursive: true });
  rmSync(join(world.home, ".insomnia"), { recursive: true });
  const again = await runWithBusyChild(world, 60_000);
  expect(await cli(world.env, "stop", "lead")).toMatchObject({ code: 0 });
  expect(await again.exited).toBe(1);
  expect(await stateOfLead()).toBe("stopped");
});

test("two signals end `pod run` and everything below it at once", async () => {
  await using world = startWorld();
  const run = await runWithBusyChild(world, 60_000);
  const kid = world.allocation("kid")?.pid ?? 0;
  process.kill(kid, "SIGSTOP");
  run.kill("SIGINT");
  await eventually(() => world.allocation("lead") === undefined, "the root has left");
  run.kill("SIGINT");
  expect(await run.exited).toBe(130);
  await eventually(() => !isRunning(kid), "the stopped child is gone");
});

test("a registry that is lost during `pod run` costs no child its work", async () => {
  await using world = startWorld();
  const run = await runWithBusyChild(world, 1000);
  rmSync(join(world.runtime, "pods.json"));
  expect(await run.exited).toBe(0);
  expect(world.processes()).toEqual([]);
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
  expect(await cli(world.env, "ls")).toMatchObject({ code: 0, stdout: "no live pods\n" });
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

test("mistakes on the command line say what was wrong and exit 2, a missing key exits 1", async () => {
  await using world = startWorld();
  writeFileSync(join(world.work, "bad.toml"), '[pod]\nname = "x"\ncolour = "red"\n');
  expect(await cli(world.env, "--nope")).toMatchObject({ code: 2 });
  expect(await cli(world.env, "fly")).toMatchObject({ code: 2 });
  expect(await cli(world.env, "run")).toMatchObject({ code: 2 });
  expect(await cli(world.env, "--adopt")).toMatchObject({
    code: 1,
    stderr: "error: --adopt requires --callback\n",
  });
  // The help that is named is that of the command.
  expect((await cli(world.env, "fly")).stderr).toEndWith("(see: pod --help)\n");
  expect((await cli(world.env, "run", "--nope", "x")).stderr).toEndWith("(see: pod run --help)\n");
  expect((await cli(world.env, "attach")).stderr).toEndWith("(see: pod attach --help)\n");
  const bare = await cli(world.env);
  expect(bare.code).toBe(1);
  expect(bare.stderr).toMatch(/^error: .*\n(.*\n)*for people: pod run "task", pod --help\n$/);
  const keyless = await cli(world.env, "run", "hello");
  expect(keyless.code).toBe(1);
  expect(keyless.stderr).toContain("INSOMNIA_API_KEY_ANTHROPIC");
  const unknown = await cli(world.env, "--user-manifest", join(world.work, "bad.toml"));
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toContain("bad.toml:3: pod.colour");
  for (const { stderr } of [keyless, unknown]) {
    expect(stderr).not.toContain("    at ");
    expect(stderr).not.toContain("for people");
  }
});

test("the help says what there is, without the defaults of switches", async () => {
  await using world = startWorld();
  const help = await cli(world.env, "--help");
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(help.stdout).toContain("that no other agent can\nwrite, and children it can spawn");
  expect(help.stdout).toContain("\nExit codes: 0 done, 1 failed, 2 usage, 3 no such Pod");
  for (const name of ["run", "resume", "check", "attach"]) {
    const { code, stdout } = await cli(world.env, name, "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("Options:");
    expect(stdout).not.toContain("default: false");
  }
});

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the binary to its end in the world's working directory. */
async function cli(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Result> {
  const child = Bun.spawn([...command, ...args], {
    cwd: join(env.HOME ?? "/", "work"),
    env: { ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 30_000,
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}
