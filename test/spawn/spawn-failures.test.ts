import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { takeLife } from "../../src/registry/life.ts";
import { listPodsTool, stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { listenPrivately } from "../../src/transport/server.ts";
import { eventually, isRunning } from "../support/pod.ts";
import { within } from "../support/temp.ts";
import {
  fakeChild,
  grant,
  readJson,
  shellChild,
  startSpawner,
  type TestSpawner,
} from "./spawner.ts";

const POLITE = fakeChild("adopt", "listen=ack", "ready");
const FAST_STOP = { askMs: 300, termMs: 300, killMs: 2000 };
const DELIVERY_MS = 250;
/** How long a child may take to be ready (spawner.ts): what fails at once is not told by that limit. */
const READY_MS = 10_000;

/** `SpawnPod` of `coder` on `src`, run by `command`. */
async function spawn(spawner: TestSpawner, command: readonly string[], signal?: AbortSignal) {
  const context = { ...spawner.context, command };
  const input = { name: "coder", task: "t", scope: [grant(spawner.directory("src"))] };
  const outcome = await spawner.call(spawnPodTool(context, DELIVERY_MS), input, signal);
  return outcome;
}

/** As `spawn`, where everything must be as before; resolves with the text and the milliseconds. */
async function fails(
  spawner: TestSpawner,
  command: readonly string[],
): Promise<{ text: string; ms: number }> {
  const src = spawner.directory("src");
  const before = spawner.snapshot();
  const start = performance.now();
  const { summary, isError } = await spawn(spawner, command);
  const ms = performance.now() - start;
  expect(summary).toStartWith("Tool execution failed: Execution failed: ");
  expect(isError).toBe(true);
  expect(spawner.snapshot()).toEqual(before);
  expect(spawner.access(join(src, "f"))).toBe("write");
  expect(spawner.reports).toEqual([]);
  expect(spawner.notices).toEqual([]);
  return { text: summary.slice("Tool execution failed: Execution failed: ".length), ms };
}

const socketOf = (spawner: TestSpawner): string => join(spawner.world.runtime, "coder", "sock");
const stderrBlock = (spawner: TestSpawner, text: string): string =>
  `\n--- child stderr (${join(spawner.world.runtime, "coder", "stderr.log")}) ---\n${text}`;
const descriptors = (): number => readdirSync("/proc/self/fd").length;

describe("a child program that fails at once", () => {
  test("makes SpawnPod fail before any limit, with exit code and standard error (68)", async () => {
    await using spawner = await startSpawner();
    const { text, ms } = await fails(spawner, shellChild("echo boom >&2; exit 3"));
    expect(text).toBe(
      `spawned pod exited before it was ready (exit code 3)${stderrBlock(spawner, "boom")}`,
    );
    expect(ms).toBeLessThan(READY_MS);
  });

  test("without a word is told by its exit code or signal alone", async () => {
    await using spawner = await startSpawner();
    const code = await fails(spawner, shellChild("exit 0"));
    expect(code.text).toBe("spawned pod exited before it was ready (exit code 0)");
    const signal = await fails(spawner, shellChild("kill -KILL $$"));
    expect(signal.text).toBe("spawned pod exited before it was ready (signal SIGKILL)");
  });

  test("because it cannot be run is named", async () => {
    await using spawner = await startSpawner();
    const { text } = await fails(spawner, ["/no/such/program"]);
    expect(text).toStartWith("failed to spawn `/no/such/program`: ");
  });

  test("takes the rest of its group along", async () => {
    await using spawner = await startSpawner();
    const pidFile = join(spawner.world.home, "pid");
    const script = `sh -c 'trap "" TERM; echo $$ > ${pidFile}; sleep 60' & until [ -s ${pidFile} ]; do :; done; exit 0`;
    await fails(spawner, shellChild(script));
    expect(isRunning(Number(readFileSync(pidFile, "utf8")))).toBe(false);
  });

  test("while a process that escaped its group holds the pipe costs no time and no descriptor", async () => {
    await using spawner = await startSpawner();
    const pidFile = join(spawner.world.home, "pid");
    const waiting = `until [ -s ${pidFile} ]; do :; done; exit 3`;
    const script = `setsid sh -c 'echo $$ > ${pidFile}; exec sleep 60' & ${waiting}`;
    await spawn(spawner, shellChild("exit 1"));
    const before = descriptors();
    const start = performance.now();
    const { summary } = await spawn(spawner, shellChild(script));
    expect(summary).toContain("exited before it was ready (exit code 3)");
    expect(performance.now() - start).toBeLessThan(READY_MS);
    const escaped = Number(readFileSync(pidFile, "utf8"));
    try {
      expect(isRunning(escaped)).toBe(true);
      await eventually(() => descriptors() <= before, "the pipe to be let go");
    } finally {
      process.kill(escaped, "SIGKILL");
    }
  });

  test("twenty times leaves no descriptor behind", async () => {
    await using spawner = await startSpawner();
    await fails(spawner, shellChild("exit 1"));
    const before = descriptors();
    for (let n = 0; n < 20; n += 1) await spawn(spawner, shellChild("exit 1"));
    await eventually(() => descriptors() <= before, "descriptors to be closed");
    expect(spawner.world.directories()).toEqual(["root"]);
  });
});

describe("a child that does not get ready in time", () => {
  test("is killed with its whole group; the error ends with 4096 bytes of what it said (69)", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 400 });
    const file = join(spawner.world.home, "grows");
    const { text } = await fails(
      spawner,
      fakeChild("stderr-bytes=10000", `grandchild=${file}`, "hang"),
    );
    const head = `spawned pod socket did not appear within 0.4s: ${socketOf(spawner)}`;
    const tail = `${"e".repeat(4096)}\nlast words`.slice(-4095);
    expect(text).toBe(head + stderrBlock(spawner, tail));
    expect(existsSync(file)).toBe(true);
    expect(spawner.world.processes()).toEqual([]);
  });

  test("although it has adopted its reservation, is killed before its paths come back (70, W37)", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 600 });
    const { text } = await fails(spawner, fakeChild("adopt", "hang"));
    expect(text).toBe(`spawned pod socket did not appear within 0.6s: ${socketOf(spawner)}`);
  });

  test("and ignores SIGTERM, is killed two seconds later", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 300 });
    const { ms } = await fails(spawner, fakeChild("ignore-term", "adopt", "hang"));
    expect(ms).toBeLessThan(4000);
  });

  test("because it says another pod's ready line, is not taken for ready (W17)", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 400 });
    const lines = ["stdout={}", "stdout=null", "stdout=INSOMNIA-READY", "ready-as=somebody-else"];
    const { text } = await fails(spawner, fakeChild("adopt", "listen=ack", ...lines, "hang"));
    expect(text).toContain("did not appear within 0.4s");
  });

  test("because it babbles, is not listened to for ever", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 500 });
    const command = fakeChild("adopt", "listen=ack", "babble", "hang");
    const { text } = await fails(spawner, command);
    expect(text).toContain("did not appear within 0.5s");
  });
});

describe("a child that is ready", () => {
  test("may say something else before", async () => {
    await using spawner = await startSpawner();
    const noise = ["stdout=hello", 'stdout={"ready":{"instance":"x"}}', "stdout="];
    const outcome = await spawn(spawner, fakeChild("adopt", "listen=ack", ...noise, "ready"));
    expect(outcome.isError).toBe(false);
  });

  test("but does not listen has not got its task: all is undone at once", async () => {
    await using spawner = await startSpawner();
    const { text, ms } = await fails(spawner, fakeChild("adopt", "stderr=hm", "ready", "hang"));
    expect(text).toStartWith(
      `spawned pod is ready but cannot be reached at ${socketOf(spawner)}: `,
    );
    expect(text).toContain("ENOENT");
    expect(text).toEndWith(stderrBlock(spawner, "hm"));
    expect(ms).toBeLessThan(READY_MS);
  });

  test("but never acknowledges its task is kept, listed, and can be stopped (73, W39)", async () => {
    await using spawner = await startSpawner();
    const outcome = await spawn(spawner, fakeChild("adopt", "listen=mute", "ready"));
    expect(outcome).toEqual({
      isError: true,
      summary:
        "Tool execution failed: Execution failed: spawned pod `coder` did not confirm initial task " +
        "delivery: read timed out; the pod remains registered and can be inspected or stopped",
    });
    expect(spawner.entry("coder")?.delegated_from).toBe("root");
    expect(spawner.access(join(spawner.world.work, "src/f"))).toBe("read");
    expect(spawner.reports).toHaveLength(1);
    const { context } = spawner;
    const list = await spawner.call(listPodsTool(context, 200), {});
    expect(list.content).toStartWith(`coder [alive] scope=write:${spawner.world.work}/src`);
    const stopped = await spawner.call(stopPodTool(context, FAST_STOP), { name: "coder" });
    expect(stopped.summary).toStartWith("stopped pod `coder`");
    expect(spawner.entry("coder")).toBeUndefined();
    expect(spawner.access(join(spawner.world.work, "src/f"))).toBe("write");
  });

  test("but rejects its task is undone, and its reason told", async () => {
    await using spawner = await startSpawner();
    const { text } = await fails(spawner, fakeChild("adopt", "listen=reject", "ready"));
    expect(text).toBe("pod `coder` rejected the run with provider_error: no model today");
  });

  test("but dies with its task is undone, and its end told", async () => {
    await using spawner = await startSpawner();
    const { text } = await fails(spawner, fakeChild("adopt", "listen=die", "stderr=argh", "ready"));
    expect(text).toBe(
      `spawned pod exited before it accepted its task (exit code 7)${stderrBlock(spawner, "argh")}`,
    );
  });

  for (const [whose, lock] of [
    ["a dead pod's directory", true],
    ["a directory that no pod made", false],
  ] as const) {
    test(`is not mistaken for a stranger who listens in ${whose} (72)`, async () => {
      await using spawner = await startSpawner();
      const directory = join(spawner.world.runtime, "coder");
      mkdirSync(directory, { mode: 0o700 });
      if (lock) writeFileSync(join(directory, "lock"), "");
      const heard: string[] = [];
      const stranger = listenPrivately({
        path: socketOf(spawner),
        handlers: { onMethod: (_connection, method) => void heard.push(method.method) },
      });
      const record = join(spawner.world.home, "record");
      const command = fakeChild(`record=${record}`, "adopt", "listen=ack", "ready");
      try {
        if (lock) {
          expect((await spawn(spawner, command)).summary).toStartWith("spawned pod `coder`");
          expect(readJson(record)).toMatchObject({ method: "run" });
        } else {
          const { text } = await fails(spawner, command);
          expect(text).toStartWith(`${directory} was not made by a pod (it contains sock)`);
          expect(statSync(socketOf(spawner)).isSocket()).toBe(true);
        }
        expect(heard).toEqual([]);
      } finally {
        await stranger.close();
        if (!lock) rmSync(directory, { recursive: true });
      }
    });
  }
});

describe("while a child comes up", () => {
  test("its paths are taken from the spawner already, under the spawner's own pid (W47)", async () => {
    await using spawner = await startSpawner({ readyTimeoutMs: 700 });
    const mark = join(spawner.world.home, "mark");
    const spawned = spawn(spawner, fakeChild(`mark=${mark}`, "hang"));
    await eventually(() => existsSync(mark), "the child to run");
    expect(spawner.entry("coder")).toMatchObject({
      pid: process.pid,
      session_id: null,
      delegated_from: "root",
    });
    expect(spawner.access(join(spawner.world.work, "src/f"))).toBe("read");
    expect(spawner.context.children.get("coder")?.phase).toBe("starting");
    const list = await spawner.call(listPodsTool(spawner.context), {});
    expect(list.content).toEndWith("state=starting");
    expect((await spawned).isError).toBe(true);
  });

  test("StopPod of it ends both calls, and nothing is left", async () => {
    await using spawner = await startSpawner();
    const src = spawner.directory("src");
    const before = spawner.snapshot();
    const mark = join(spawner.world.home, "mark");
    const spawned = spawn(spawner, fakeChild("adopt", `mark=${mark}`, "hang"));
    await eventually(() => existsSync(mark), "the child to run");
    const stopped = await spawner.call(stopPodTool(spawner.context, FAST_STOP), { name: "coder" });
    expect(stopped.summary).toBe(`stopped pod \`coder\` (forced); reclaimed scope: write:${src}`);
    expect((await within(spawned, 5000, "SpawnPod to end")).summary).toContain("signal SIGTERM");
    expect(spawner.snapshot()).toEqual(before);
  });

  test("a directory that an ending pod still holds is left alone", async () => {
    await using spawner = await startSpawner();
    const life = takeLife(spawner.world.runtime, "coder");
    try {
      const { text } = await fails(spawner, POLITE);
      const directory = join(spawner.world.runtime, "coder");
      const why = "is still held by a process that is ending; retry in a moment";
      expect(text).toBe(`${directory} ${why}`);
      expect(existsSync(directory)).toBe(true);
    } finally {
      life?.removeDirectory();
    }
  });
});

describe("a list of children that cannot be written", () => {
  test("stops neither a spawn nor a stop, and no undo", async () => {
    await using spawner = await startSpawner();
    mkdirSync(`${spawner.membership.paths.children}.tmp`);
    writeFileSync(join(`${spawner.membership.paths.children}.tmp`, "x"), "");
    await fails(spawner, shellChild("exit 3"));
    expect((await spawn(spawner, POLITE)).isError).toBe(false);
    const stopped = await spawner.call(stopPodTool(spawner.context, FAST_STOP), { name: "coder" });
    expect(stopped.isError).toBe(false);
    expect(spawner.context.children.list()).toEqual([]);
  });
});
