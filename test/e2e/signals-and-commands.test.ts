/** What people do from outside, with the compiled binary: signals, odd lines, `stop`, `ls`, mistakes, help. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { startWorld } from "../support/pod.ts";

const command = [podBinary()];

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
  expect((await world.cli("ls")).stdout).toContain("b ");
  const stopped = await world.cli("stop", "a", "nobody", "b");
  expect(stopped.stdout).toBe("stopped pod `a`\nstopped pod `b`\n");
  expect(stopped.stderr).toContain("no live pod named `nobody`");
  expect(stopped.code).toBe(3);
});

test("mistakes on the command line say what was wrong and exit 2, a missing key exits 1", async () => {
  await using world = startWorld();
  writeFileSync(join(world.work, "bad.toml"), '[pod]\nname = "x"\ncolour = "red"\n');
  expect(await world.cli("--nope")).toMatchObject({ code: 2 });
  expect(await world.cli("fly")).toMatchObject({ code: 2 });
  expect(await world.cli("run")).toMatchObject({ code: 2 });
  expect(await world.cli("--adopt")).toMatchObject({
    code: 1,
    stderr: "error: --adopt requires --callback\n",
  });
  // The help that is named is that of the command.
  expect((await world.cli("fly")).stderr).toEndWith("(see: pod --help)\n");
  expect((await world.cli("run", "--nope", "x")).stderr).toEndWith("(see: pod run --help)\n");
  expect((await world.cli("attach")).stderr).toEndWith("(see: pod attach --help)\n");
  const bare = await world.cli();
  expect(bare.code).toBe(1);
  expect(bare.stderr).toMatch(/^error: .*\n(.*\n)*for people: pod run "task", pod --help\n$/);
  const keyless = await world.cli("run", "hello");
  expect(keyless.code).toBe(1);
  expect(keyless.stderr).toContain("INSOMNIA_API_KEY_ANTHROPIC");
  const unknown = await world.cli("--user-manifest", join(world.work, "bad.toml"));
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toContain("bad.toml:3: pod.colour");
  for (const { stderr } of [keyless, unknown]) {
    expect(stderr).not.toContain("    at ");
    expect(stderr).not.toContain("for people");
  }
});

test("the help says what there is, without the defaults of switches", async () => {
  await using world = startWorld();
  const help = await world.cli("--help");
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(help.stdout).toContain("that no other agent can\nwrite, and children it can spawn");
  expect(help.stdout).toContain("\nExit codes: 0 done, 1 failed, 2 usage, 3 no such Pod");
  for (const name of ["run", "resume", "check", "attach"]) {
    const { code, stdout } = await world.cli(name, "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("Options:");
    expect(stdout).not.toContain("default: false");
  }
});
