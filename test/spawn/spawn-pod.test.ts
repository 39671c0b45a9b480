/** SpawnPod: what a child is given, and where it works. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { fakeChild, grant, readJson, rule, startSpawner } from "./spawner.ts";
import { POLITE, refuses, spawn } from "./spawning.ts";

describe("SpawnPod", () => {
  test("starts a child that holds the paths, is on record and has the task (57, 58)", async () => {
    await using spawner = await startSpawner();
    const record = join(spawner.world.home, "record");
    const { world } = spawner;
    const context = { ...spawner.context, command: fakeChild(`record=${record}`, ...POLITE) };
    const target = spawner.directory("src");
    const outcome = await spawner.call(spawnPodTool(context), {
      name: "coder",
      task: "write it",
      scope: [grant(target)],
    });
    const socket = join(world.runtime, "coder", "sock");
    expect(outcome).toEqual({
      summary: `spawned pod \`coder\` listening on ${socket}`,
      isError: false,
    });
    const granted = rule(target);
    expect(spawner.entry("coder")).toMatchObject({
      delegated_from: "root",
      scope_allow: [granted],
      socket,
      expires_at: null,
    });
    expect(spawner.entry("coder")?.session_id).toBeString();
    expect(readJson(spawner.membership.paths.children)).toEqual([
      {
        pod_name: "coder",
        socket_path: socket,
        scope_delegated: [granted],
        callback_address: context.self.socket,
        instance: spawner.entry("coder")?.instance,
      },
    ]);
    const received = readFileSync(record, "utf8").trimEnd().split("\n");
    expect(received).toHaveLength(1);
    expect(JSON.parse(received[0] ?? "")).toMatchObject({
      method: "run",
      params: { input: [{ kind: "text", content: "write it" }] },
    });
    expect(spawner.access(join(target, "f"))).toBe("read");
    expect(spawner.access(join(world.work, "f"))).toBe("write");
    expect(spawner.reports).toEqual([
      {
        kind: "scope_sub_delegated",
        parent_pod: "root",
        sub_pod: "coder",
        sub_socket: socket,
        scope: [granted],
        instance: context.self.instance,
      },
    ]);
  });

  test("gives the child three descriptors, its environment, and nothing secret in argv (W44)", async () => {
    await using spawner = await startSpawner();
    const told = join(spawner.world.home, "told");
    const descriptors = join(spawner.world.home, "descriptors");
    // `ls` sees what the child inherits before the fake child opens any.
    const command = ["sh", "-c", `ls -l /proc/self/fd > ${descriptors}; exec "$@"`, "sh"];
    const context = {
      ...spawner.context,
      command: [...command, ...fakeChild(`environment=${told}`, ...POLITE)],
    };
    const target = spawner.directory("src");
    const input = { name: "coder", task: "secret task", scope: [grant(target)] };
    expect((await spawner.call(spawnPodTool(context), input)).isError).toBe(false);
    const { args, env, cwd } = readJson(told) as { args: string[]; env: object; cwd: string };
    const given = args.slice(args.indexOf("--adopt"));
    const launch = join(spawner.world.runtime, "coder", "launch.json");
    expect(given).toEqual(["--adopt", "--callback", context.self.socket, "--launch", launch]);
    expect(env).toMatchObject({ INSOMNIA_RUNTIME_DIR: spawner.world.runtime });
    expect(cwd).toBe(target);
    expect(existsSync(launch)).toBe(false);
    const open = readFileSync(descriptors, "utf8").matchAll(/ (\d+) -> (.*)/g);
    const inherited = [...open].flatMap(([, fd, path = ""]) =>
      path.startsWith("/proc/") ? [] : [`${fd} ${path}`],
    );
    expect(inherited).toEqual([
      "0 /dev/null",
      `1 ${descriptors}`,
      `2 ${join(spawner.world.runtime, "coder", "stderr.log")}`,
    ]);
    for (const file of ["stderr.log", "lock"]) {
      expect(statSync(join(spawner.world.runtime, "coder", file)).mode & 0o777).toBe(0o600);
    }
    expect(statSync(join(spawner.world.runtime, "coder")).mode & 0o777).toBe(0o700);
  });

  test("delivers a task of 2 MiB to a child that says a lot first (74)", async () => {
    await using spawner = await startSpawner();
    const record = join(spawner.world.home, "record");
    const command = fakeChild(`record=${record}`, "alerts=512", ...POLITE);
    const task = "é".repeat(1024 * 1024);
    const input = { name: "coder", task, scope: [grant(spawner.directory("src"))] };
    const outcome = await spawner.call(spawnPodTool({ ...spawner.context, command }), input);
    expect(outcome.isError).toBe(false);
    const method = readJson(record) as { params: { input: { content: string }[] } };
    expect(method.params.input[0]?.content === task).toBe(true);
  });

  test("stores and hands over canonical targets (64)", async () => {
    await using spawner = await startSpawner({ command: fakeChild(...POLITE) });
    const target = spawner.directory("real/src");
    const link = join(spawner.world.work, "link");
    symlinkSync(join(spawner.world.work, "real"), link);
    const missing = join(link, "src", "new.txt");
    const scope = [grant(join(link, "src")), grant(missing, "read")];
    expect((await spawn(spawner, { name: "coder", task: "t", scope })).isError).toBe(false);
    const stored = [
      { target, permission: "write", recursive: true },
      { target: join(target, "new.txt"), permission: "read", recursive: true },
    ];
    expect(spawner.entry("coder")?.scope_allow as unknown).toEqual(stored);
    expect(spawner.context.children.get("coder")?.scope as unknown).toEqual(stored);
    expect(readJson(spawner.membership.paths.children)).toMatchObject([
      { scope_delegated: stored },
    ]);
  });

  test("hands the spawner's denies in the grant on, and no others (66)", async () => {
    await using spawner = await startSpawner({
      command: fakeChild(...POLITE),
      scope: ({ work }) => ({
        allow: [rule(work)],
        deny: [rule(join(work, "src/.env"), "read"), rule(join(work, "other"))],
      }),
    });
    const scope = [grant(spawner.directory("src"))];
    expect((await spawn(spawner, { name: "coder", task: "t", scope })).isError).toBe(false);
    const denied = rule(join(spawner.world.work, "src/.env"), "read");
    expect(spawner.entry("coder")?.scope_deny).toEqual([denied]);
  });

  test("hands denies on at every level: a grandchild has them too (66)", async () => {
    await using root = await startSpawner({
      scope: ({ work }) => ({ allow: [rule(work)], deny: [rule(join(work, "a/b/.env"), "read")] }),
    });
    const target = root.directory("a");
    await using child = await startSpawner({
      name: "child",
      parent: { spawner: root, target },
      command: fakeChild(...POLITE),
    });
    const scope = [grant(root.directory("a/b"))];
    expect((await spawn(child, { name: "deep", task: "t", scope })).isError).toBe(false);
    const denied = rule(join(root.world.work, "a/b/.env"), "read");
    expect(root.entry("deep")).toMatchObject({ delegated_from: "child", scope_deny: [denied] });
    const secret = { name: "x", task: "t", scope: [grant(denied.target, "read")] };
    await refuses(child, secret, "is denied for spawner `child` by rule");
  });

  test("of one name twice in a turn succeeds once (76)", async () => {
    await using spawner = await startSpawner({ command: fakeChild(...POLITE) });
    const call = (directory: string) =>
      spawn(spawner, { name: "coder", task: "t", scope: [grant(spawner.directory(directory))] });
    const outcomes = await Promise.all([call("a"), call("b")]);
    expect(outcomes.map(({ isError }) => isError).toSorted()).toEqual([false, true]);
    expect(outcomes.find(({ isError }) => isError)?.summary).toBe(
      "Tool execution failed: Invalid argument: pod name `coder` is already registered",
    );
    expect(spawner.context.children.list()).toHaveLength(1);
  });

  test("of two children at once gives each its own paths", async () => {
    await using spawner = await startSpawner({ command: fakeChild(...POLITE) });
    const names = ["a", "b", "c", "d"];
    const outcomes = await Promise.all(
      names.map((name) =>
        spawn(spawner, { name, task: "t", scope: [grant(spawner.directory(name))] }),
      ),
    );
    expect(outcomes.every(({ isError }) => !isError)).toBe(true);
    expect(spawner.context.scope.delegated).toHaveLength(4);
  });

  test("takes a name again after its pod has ended, and lists it once (W18)", async () => {
    await using spawner = await startSpawner({ command: fakeChild(...POLITE) });
    const input = { name: "coder", task: "t", scope: [grant(spawner.directory("src"))] };
    expect((await spawn(spawner, input)).isError).toBe(false);
    process.kill(spawner.entry("coder")?.pid ?? 0, "SIGKILL");
    await spawner.notice("died unexpectedly (signal SIGKILL)");
    expect((await spawn(spawner, input)).isError).toBe(false);
    expect(spawner.context.children.list()).toHaveLength(1);
    expect(spawner.context.children.get("coder")?.phase).toBe("running");
  });
});

describe("the working directory of a child (67, W42)", () => {
  test("is the spawner's when the child may read it, else the first directory handed over", async () => {
    await using spawner = await startSpawner();
    const told = join(spawner.world.home, "told");
    const context = { ...spawner.context, command: fakeChild(`environment=${told}`, ...POLITE) };
    const cwdOf = async (name: string, scope: object[], cwd?: string): Promise<unknown> => {
      const input = { name, task: "t", scope, ...(cwd === undefined ? {} : { cwd }) };
      const outcome = await spawner.call(spawnPodTool(context), input);
      expect(outcome.summary).toStartWith("spawned pod");
      return (readJson(told) as { cwd: string }).cwd;
    };
    const [a, b] = [spawner.directory("a"), spawner.directory("b")];
    expect(await cwdOf("one", [grant(spawner.world.work, "read")])).toBe(spawner.world.work);
    expect(await cwdOf("two", [grant(join(a, "file.txt")), grant(a, "read")])).toBe(a);
    expect(await cwdOf("three", [grant(a, "read"), grant(b)], b)).toBe(b);
  });

  test("is refused when it is missing, no directory, or not readable for the child", async () => {
    await using spawner = await startSpawner();
    const [a, b] = [spawner.directory("a"), spawner.directory("b")];
    const file = join(a, "file");
    writeFileSync(file, "");
    const input = { name: "coder", task: "t", scope: [grant(a)] };
    await refuses(
      spawner,
      { ...input, cwd: b },
      `Invalid argument: cwd is not readable under the child's scope: ${b}`,
    );
    await refuses(
      spawner,
      { ...input, cwd: join(a, "no") },
      "Invalid argument: cwd is not an existing directory",
    );
    await refuses(
      spawner,
      { ...input, cwd: file },
      "Invalid argument: cwd is not an existing directory",
    );
    await refuses(
      spawner,
      { ...input, cwd: `${a}/../b` },
      "Invalid argument: cwd cannot be resolved",
    );
    await refuses(spawner, { ...input, cwd: "a" }, "Invalid argument: cwd cannot be resolved");
    await refuses(
      spawner,
      { ...input, scope: [grant(file)] },
      "Invalid argument: no working directory is readable under the child's scope",
    );
  });
});
