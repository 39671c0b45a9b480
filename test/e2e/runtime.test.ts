/**
 * Life of real Pods, with the compiled binary: what people do to running turns and what parents hear of
 * it, clients that come late or do not read, reports that find another parent, ends in order.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, startWorld, type World } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";
import { within } from "../support/temp.ts";
import { connectRaw, type RawClient } from "../transport/raw-client.ts";

const command = [podBinary()];
const DEADLINE_MS = 20_000;

/** A rule by which a Pod spawns another one on a directory of that name below `work`. */
function spawns(world: World, match: string, name: string, path: string): ScenarioRule {
  const target = join(world.work, path);
  mkdirSync(target, { recursive: true });
  const scope = [{ target, permission: "write" }];
  return { match, calls: [{ tool: "SpawnPod", input: { name, task: `task of ${name}`, scope } }] };
}

const said = (text: string) => (event: { readonly event: string; readonly data?: unknown }) =>
  event.event === "text_done" && (event.data as { text: string }).text === text;

describe("a child's turn", () => {
  test("that a person cancels is told to the parent, which may be waiting for it (W55)", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        { pod: "kid", text: "never", delay_ms: 60_000 },
        spawns(world, "^go$", "kid", "kid"),
        { match: "turn of pod `kid` was cancelled from outside", text: "Understood." },
        { text: "I wait." },
      ],
    });
    await root.runToEnd("go");
    expect(await world.cli("cancel", "kid")).toEqual({
      stdout: "pod `kid` cancels its turn\n",
      stderr: "",
      code: 0,
    });
    await root.waitFor(said("Understood."));
    const again = await world.cli("cancel", "kid");
    expect([again.code, again.stderr]).toEqual([1, "error: pod `kid`: Pod is not running\n"]);
  });

  test("that a person pauses and continues is told as paused, then as finished (W21, W55)", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        { pod: "kid", times: 1, text: "cut off", delay_ms: 60_000 },
        { pod: "kid", text: "done" },
        spawns(world, "^go$", "kid", "kid"),
        { match: "Pod `kid` was paused from outside", text: "It rests." },
        { match: "Pod `kid` finished a turn", text: "It is done." },
        { text: "I wait." },
      ],
    });
    await root.runToEnd("go");
    await world.cli("pause", "kid");
    await root.waitFor(said("It rests."));
    const status = JSON.parse(readFileSync(join(world.runtime, "kid/status.json"), "utf8"));
    expect(status).toMatchObject({ state: "paused" });
    expect((await world.cli("ls")).stdout).toMatch(/kid +paused/);
    expect((await world.cli("continue", "kid")).code).toBe(0);
    await root.waitFor(said("It is done."));
  });

  test("that ends after its parent was killed is told to the grandparent (W52)", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        { pod: "deep", text: "deep is done", delay_ms: 1500 },
        { pod: "middle", ...spawns(world, "task of middle", "deep", "middle/deep") },
        spawns(world, "^go$", "middle", "middle"),
        { match: "Pod `deep` finished a turn", text: "Heard of deep." },
        { match: "Pod `middle` finished a turn", text: "Middle rests." },
        { text: "I wait." },
      ],
    });
    await root.runToEnd("go");
    await root.waitFor(said("Middle rests."));
    process.kill(world.allocation("middle")?.pid ?? 0, "SIGKILL");
    await root.waitFor(said("Heard of deep."));
  });
});

describe("clients of a streaming pod", () => {
  const WORDS = 3000;
  const word = "abcdefgh".repeat(10);
  const long = Array.from({ length: WORDS }, (_, n) => `${n}-${word}`).join(" ");

  test("get every event in order, 197 of them, while three never read, and memory stays bounded", async () => {
    await using world = startWorld();
    const root = await world.start({ command, rules: [{ text: long }] });
    const clients: RawClient[] = [];
    try {
      for (let n = 0; n < 200; n += 1) {
        clients.push(await connectRaw(root.socket, n % 70 === 10));
      }
      const readers = clients.filter((_, n) => n % 70 !== 10);
      await root.run("go");
      const read = async (client: RawClient): Promise<string[]> => {
        const lines: string[] = [];
        for (;;) {
          const line = await client.line();
          if (line === undefined) throw new Error("closed early");
          lines.push(line);
          if (line.startsWith('{"event":"run_end"')) return lines;
        }
      };
      const all = await within(Promise.all(readers.map(read)), 60_000, "the end at all readers");
      const [first = []] = all;
      const text = first
        .filter((line) => line.startsWith('{"event":"text_delta"'))
        .map((line) => (JSON.parse(line) as { data: { text: string } }).data.text)
        .join("");
      expect(text).toBe(long);
      for (const lines of all) expect(Bun.hash(lines.join("\n"))).toBe(Bun.hash(first.join("\n")));
      const peak = readFileSync(`/proc/${root.pid}/status`, "utf8");
      const peakMiB = Number(/^VmHWM:\s+(\d+) kB/m.exec(peak)?.[1]) / 1024;
      expect(peakMiB).toBeLessThan(250);
    } finally {
      for (const client of clients) client.terminate();
    }
  }, 90_000);

  test("that come late get the history, the answer so far, and the rest: nothing twice (W8)", async () => {
    await using world = startWorld();
    const text = Array.from({ length: 60 }, (_, n) => `w${n}`).join(" ");
    const root = await world.start({ command, rules: [{ text, chunk_delay_ms: 10 }] });
    await root.run("go");
    await root.waitFor((event) => event.event === "text_delta" && event.data.text.includes("w20"));
    using late = await connectRaw(root.socket);
    await late.write('{"method":"get_history"}\n');
    const seen: { event: string; data: { text?: string; items?: unknown[]; status?: string } }[] =
      [];
    let live = false;
    for (;;) {
      const event = JSON.parse((await late.line()) ?? "{}") as (typeof seen)[number];
      live ||= event.event === "history";
      if (live) seen.push(event);
      if (event.event === "run_end") break;
    }
    expect(seen[0]?.data).toMatchObject({ status: "running" });
    expect(seen[0]?.data.items).toHaveLength(1);
    expect(seen[1]?.event).toBe("turn_start");
    const deltas = seen.filter(({ event }) => event === "text_delta").map(({ data }) => data.text);
    expect(deltas[0]).toContain("w0 w1");
    expect(deltas.join("")).toBe(text);
  });

  test("pod attach shows history and life, sends what is typed, and detaches without harm", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        { match: "^first$", text: "answer one" },
        { match: "^second$", text: "answer two" },
      ],
    });
    await root.runToEnd("first");
    const child = Bun.spawn([...command, "attach", "root"], {
      cwd: world.work,
      env: { ...world.env },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    let out = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) out += decoder.decode(chunk, { stream: true });
    })();
    await eventually(() => out.includes("answer one"), "the history");
    child.stdin.write("second\n");
    await child.stdin.flush();
    await eventually(() => out.includes("answer two"), "the answer");
    child.kill("SIGINT");
    expect(await within(child.exited, DEADLINE_MS, "attach to detach")).toBe(0);
    await reading;
    expect(await child.stderr.text()).toContain("detached from pod `root`");
    expect(isRunning(root.pid)).toBe(true);
    // What the end of a pod looks like from there, and input that ends.
    const piped = Bun.spawn([...command, "attach", "--json", "root"], {
      env: { ...world.env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
    let lines = "";
    const collecting = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of piped.stdout) lines += decoder.decode(chunk, { stream: true });
    })();
    await eventually(() => lines.includes('"history"'), "the second attach to be attached");
    await eventually(async () => (await world.cli("send", "root", "first")).code === 0, "a task");
    await root.waitFor("run_end");
    await root.waitFor("run_end");
    await world.cli("stop", "root");
    expect(await within(piped.exited, DEADLINE_MS, "attach to end with its pod")).toBe(0);
    await collecting;
    const events = lines
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { event: string }).event);
    expect(events[0]).toBe("history");
    expect(events.at(-1)).toBe("shutdown");
  });

  test("every line that is piped into pod attach arrives: a task for an idle pod, then notes", async () => {
    await using world = startWorld();
    await world.start({
      command,
      rules: [{ match: "^one$", times: 1, text: "at work", delay_ms: 500 }, { text: "ok" }],
    });
    const child = Bun.spawn([...command, "attach", "root"], {
      env: { ...world.env },
      stdin: new Blob(["one\ntwo\n\nthree\nfour"]),
      stdout: "ignore",
      stderr: "pipe",
    });
    expect(await within(child.exited, DEADLINE_MS, "attach to end")).toBe(0);
    expect(await child.stderr.text()).not.toContain("error");
    const log = join(
      world.home,
      ".insomnia/sessions",
      `${world.allocation("root")?.session_id}.jsonl`,
    );
    await eventually(() => {
      const text = readFileSync(log, "utf8");
      const notes = ["two", "three", "four"].map((word) => `[Notification]\\n${word}\\n`);
      return ['"content":"one"', ...notes].every((part) => text.includes(part));
    }, "every line in the conversation");
  });

  test("pod attach says that what is typed to a busy pod is noted, and ends with its input", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [{ match: "^work$", text: "never", delay_ms: 600_000 }, { text: "ok" }],
    });
    await root.run("work");
    await root.waitFor("turn_start");
    const child = Bun.spawn([...command, "attach", "root"], {
      cwd: world.work,
      env: { ...world.env },
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
      timeout: DEADLINE_MS,
    });
    let said = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stderr) said += decoder.decode(chunk, { stream: true });
    })();
    await eventually(() => said.includes("attached to pod `root` (running)"), "to be attached");
    child.stdin.write("one more thing\n");
    await child.stdin.flush();
    await eventually(() => said.includes("\nnoted\n"), "the note to be taken");
    await child.stdin.end();
    expect(await child.exited).toBe(0);
    await reading;
    expect(said).toEndWith("detached from pod `root`\n");
    expect(said).not.toContain("error");
    expect(isRunning(root.pid)).toBe(true);
  });

  test("pod attach says which pods there are when the name is wrong", async () => {
    await using world = startWorld();
    await world.start({ command });
    expect(await world.cli("attach", "rot")).toEqual({
      stdout: "",
      stderr: "error: no live pod named `rot` (live: root)\n",
      code: 3,
    });
  });
});

describe("the end", () => {
  test("of a pod with its tree takes every generation along (pod stop --tree)", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        { pod: "deep", text: "working", delay_ms: 60_000 },
        { pod: "middle", ...spawns(world, "task of middle", "deep", "middle/deep") },
        spawns(world, "^go$", "middle", "middle"),
        { text: "I wait." },
      ],
    });
    await root.runToEnd("go");
    await eventually(
      () => typeof world.allocation("deep")?.session_id === "string",
      "the grandchild",
    );
    const { stdout, code } = await world.cli("stop", "--tree", "root");
    expect([stdout, code]).toEqual(["stopped pod `root` and below it middle, deep\n", 0]);
    expect(world.processes()).toEqual([]);
    expect(world.directories()).toEqual([]);
  });

  test("in a running turn tells clients in order: cancelled, the end of the run, shutdown", async () => {
    await using world = startWorld();
    const root = await world.start({ command, rules: [{ text: "never", delay_ms: 60_000 }] });
    await root.run("go");
    await root.waitFor("turn_start");
    await root.request({ method: "shutdown" });
    expect(await within(root.exited, DEADLINE_MS, "the end")).toBe(0);
    await eventually(() => root.events.at(-1)?.event === "shutdown", "the last event");
    expect(root.events.slice(-3)).toEqual([
      { event: "error", data: { code: "internal", message: "Cancelled" } },
      { event: "run_end", data: { result: "finished", outcome: "cancelled" } },
      { event: "shutdown" },
    ]);
  });

  test("comes at once with the second signal, when the first is held up", async () => {
    await using world = startWorld();
    const root = await world.start({
      command,
      rules: [
        spawns(world, "^go$", "kid", "kid"),
        { pod: "kid", text: "kid works", delay_ms: 60_000 },
        { text: "I wait." },
      ],
    });
    await root.runToEnd("go");
    const kid = world.allocation("kid");
    // A parent that is stopped takes no reports: the child waits for it, within its limit.
    process.kill(root.pid, "SIGSTOP");
    process.kill(kid?.pid ?? 0, "SIGTERM");
    await eventually(() => {
      const { socket = "" } = kid ?? {};
      return Bun.spawnSync(["test", "-S", socket]).exitCode !== 0;
    }, "the child to be leaving");
    const start = performance.now();
    process.kill(kid?.pid ?? 0, "SIGTERM");
    await eventually(() => !isRunning(kid?.pid ?? 0), "the child's end");
    expect(performance.now() - start).toBeLessThan(2000);
    process.kill(root.pid, "SIGCONT");
    await root.waitFor((event) => event.event === "run_end");
  });
});
