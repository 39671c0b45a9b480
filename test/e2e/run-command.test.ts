/** `pod run` with the compiled binary: its answer, its children, and all the ways it is ended. */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, startWorld, type World } from "../support/pod.ts";
import { within } from "../support/temp.ts";

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
  const done = await world.cli("run", "--name", "lead", "--model", `script:${scenario}`, "go");
  expect(done).toMatchObject({ code: 0, stdout: "I delegate.\nWaiting.\nAll done.\n" });
  expect(done.stderr).toStartWith(`pod \`lead\` works in ${world.work}\n`);
  expect(done.stderr).toContain("spawned pod `kid`");
  expect(done.stderr).not.toContain("pod: warn");
  expect(world.processes()).toEqual([]);
  const failed = await world.cli("run", "--model", `script:${scenario}`, "unknown");
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
    [podBinary(), "run", "--name", "lead", "--model", `script:${scenario}`, "go"],
    { cwd: world.work, env: { ...world.env }, stdout: "ignore", stderr: "ignore" },
  );
  await eventually(() => world.allocation("kid")?.session_id != null, "the child is up");
  return run;
}

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

test("pod stop of a running `pod run` takes its working children along", async () => {
  await using world = startWorld();
  const run = await runWithBusyChild(world, 60_000);
  expect(await world.cli("stop", "lead")).toMatchObject({
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
    const { stdout } = await world.cli("sessions", "--json");
    const rows = JSON.parse(stdout) as { name: string; state: string }[];
    return rows.find(({ name }) => name === "lead")?.state;
  };
  expect(await stateOfLead()).toBe("ended");
  rmSync(join(world.work, "area"), { recursive: true });
  rmSync(join(world.home, ".insomnia"), { recursive: true });
  const again = await runWithBusyChild(world, 60_000);
  expect(await world.cli("stop", "lead")).toMatchObject({ code: 0 });
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

test("pod run ends, with the reason, when its runtime directory cannot be used any more", async () => {
  await using world = startWorld();
  const scenario = world.scenario([{ match: "^go$", delay_ms: 500, text: "done" }]);
  const run = Bun.spawn(
    [podBinary(), "run", "--name", "lead", "--model", `script:${scenario}`, "go"],
    { cwd: world.work, env: { ...world.env }, stdout: "pipe", stderr: "pipe" },
  );
  await eventually(() => world.allocation("lead") !== undefined, "the Pod to be registered");
  const aside = `${world.runtime}.aside`;
  renameSync(world.runtime, aside);
  writeFileSync(world.runtime, "");
  try {
    const code = await within(run.exited, 15_000, "the end of pod run");
    const told = await run.stderr.text();
    expect(code).toBe(1);
    expect(told).toContain("error: ");
    expect(told).not.toContain("internal failure");
  } finally {
    run.kill("SIGKILL");
    rmSync(world.runtime);
    renameSync(aside, world.runtime);
  }
});
