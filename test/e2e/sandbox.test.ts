/** Shell commands of real, compiled Pods: the scope of the moment, delegation, and every kind of end. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podPaths } from "../../src/base/paths.ts";
import { commandsLive } from "../../src/registry/life.ts";
import { markedProcesses, shellMark } from "../../src/sandbox/marked-processes.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, type RootPod, startRoot } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";
import { CONFINES } from "../tools/shell-support.ts";
import { order, type ToolResult } from "./order.ts";

/** What these Pods do when they are told to. */
const RULES: readonly ScenarioRule[] = [
  { match: "^RUN (.*)$", calls: [{ tool: "Bash", input: { command: "$1" } }] },
  {
    match: "^BACKGROUND (.*)$",
    calls: [{ tool: "Bash", input: { command: "$1", run_in_background: true } }],
  },
  {
    match: "^SPAWN (\\S+) (\\S+) (.*)$",
    calls: [
      {
        tool: "SpawnPod",
        input: { name: "$1", task: "$3", scope: [{ target: "$2", permission: "write" }] },
      },
    ],
  },
  {
    match: "^BOTH (\\S+) (.*)$",
    calls: [
      { tool: "Bash", input: { command: "$2" } },
      {
        tool: "SpawnPod",
        input: { name: "late", task: "wait", scope: [{ target: "$1", permission: "write" }] },
      },
    ],
  },
  { match: "^STOP (\\S+)$", calls: [{ tool: "StopPod", input: { name: "$1" } }] },
  { match: "^KILL (\\S+)$", calls: [{ tool: "KillBash", input: { bash_id: "$1" } }] },
  { text: "done" },
];

interface Driven extends AsyncDisposable {
  readonly pod: RootPod;
  readonly work: string;
  path(...names: string[]): string;
  /** Gives an order, waits for the end of the run, and returns its tool results. */
  order(text: string): Promise<ToolResult[]>;
}

async function driven(sandbox?: Readonly<Record<string, unknown>>): Promise<Driven> {
  const pod = await startRoot({
    rules: RULES,
    command: [podBinary()],
    ...(sandbox === undefined ? {} : { sandbox }),
  });
  const { work } = pod.world;
  return {
    pod,
    work,
    path: (...names) => join(work, ...names),
    order: async (text) => await order(pod, text),
    [Symbol.asyncDispose]: async () => await pod[Symbol.asyncDispose](),
  };
}

describe.skipIf(!CONFINES)("a pod's shell", () => {
  test("cannot write what a child holds, and can again after the child's end", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    writeFileSync(root.path("part/f"), "old");
    writeFileSync(root.path("other"), "old");
    await root.order(`RUN echo first >part/f; echo new >part/n`);
    expect(readFileSync(root.path("part/f"), "utf8")).toBe("first\n");
    await root.order(`SPAWN child ${root.path("part")} wait`);
    const [refused] = await root.order(
      "RUN echo second >part/f; echo x >part/m; rm part/n; mv part p2; echo second >other",
    );
    expect(refused?.output).toContain("Permission denied");
    expect(refused?.output).toContain("commands can write only in:");
    expect(readFileSync(root.path("part/f"), "utf8")).toBe("first\n");
    expect(readFileSync(root.path("other"), "utf8")).toBe("second\n");
    expect([existsSync(root.path("part/m")), existsSync(root.path("part/n"))]).toEqual([
      false,
      true,
    ]);
    await root.order("STOP child");
    const [granted] = await root.order("RUN echo third >part/f; rm part/n; mv part p2");
    expect(granted?.summary).not.toContain("exit");
    expect(readFileSync(root.path("p2/f"), "utf8")).toBe("third\n");
  });

  test("is waited for by a delegation of what it may write", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    await root.order("RUN true"); // what runs commands is loaded with the first
    // One batch: the command is there first, and writes for a while.
    const results = await root.order(
      `BOTH ${root.path("part")} echo begun >part/log; sleep 0.5; echo ended >>part/log`,
    );
    expect(results.map(({ summary }) => summary)).toEqual([
      "$ echo begun >part/log; sleep 0.5; echo ended >>part/log",
      expect.stringContaining("spawned pod `late`"),
    ]);
    expect(readFileSync(root.path("part/log"), "utf8")).toBe("begun\nended\n");
  });

  test("in the background keeps its part from being handed over until it is ended", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    await root.order("BACKGROUND sleep 300");
    const [refused] = await root.order(`SPAWN child ${root.path("part")} wait`);
    expect(refused?.summary).toBe(
      "Tool execution failed: Invalid argument: a shell command that may write there still runs: " +
        "`sleep 300`; end it with KillBash first",
    );
    await root.order("KILL bash_1");
    const [spawned] = await root.order(`SPAWN child ${root.path("part")} wait`);
    expect(spawned?.summary).toContain("spawned pod `child`");
  });

  test("that kills all it can and hides leaves nothing behind in what a child gets", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    const daemon = `setsid env -i /bin/bash -c 'echo $$ >pid; while :; do echo x >>part/late; /bin/sleep 0.01; done'`;
    const hidden = `(${daemon} >/dev/null 2>&1 </dev/null &)`;
    await root.order(
      `RUN kill -9 -1; ${hidden}; while [ ! -s part/late ]; do sleep 0.01; done; exec true`,
    );
    const [spawned] = await root.order(`SPAWN child ${root.path("part")} wait`);
    expect(spawned?.summary).toContain("spawned pod `child`");
    expect(isRunning(Number(readFileSync(root.path("pid"), "utf8")))).toBe(false);
  });

  test("of a child can write what the child was given, and nothing of its parent", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    const command = `echo x >${root.path("part/in")}; echo x >${root.path("out")}; touch ${root.path("part/done")}`;
    await root.order(`SPAWN child ${root.path("part")} RUN ${command}`);
    await eventually(() => existsSync(root.path("part/done")), "the child's command");
    expect(existsSync(root.path("part/in"))).toBe(true);
    expect(existsSync(root.path("out"))).toBe(false);
  });

  test("is confined as the manifest says, that of a child too", async () => {
    await using root = await driven({ mode: "off" });
    mkdirSync(root.path("part"));
    await root.order(`RUN echo x >${root.pod.world.home}/free`);
    const alerts = root.pod.events.flatMap((e) => (e.event === "alert" ? [e.data.message] : []));
    expect(alerts).toEqual([
      'commands of Bash are not confined to the scope: the manifest says [sandbox] mode = "off"',
    ]);
    expect(existsSync(join(root.pod.world.home, "free"))).toBe(true);
    const out = join(root.pod.world.home, "child");
    await root.order(`SPAWN child ${root.path("part")} RUN echo x >${out}`);
    await eventually(() => existsSync(out), "the child's command");
  });
});

test.skipIf(!CONFINES)(
  "a child's shell is confined as its spawner's, whatever manifests lie about",
  async () => {
    await using root = await driven({ mode: "enforce", network: "deny" });
    const part = root.path("part");
    for (const directory of [root.work, part]) {
      mkdirSync(join(directory, ".insomnia"), { recursive: true });
      writeFileSync(
        join(directory, ".insomnia/manifest.toml"),
        'sandbox = { mode = "off", network = "allow", write = ["/"] }\n',
      );
    }
    const out = join(root.pod.world.home, "child");
    const tries = `echo x >${out}; (exec 9<>/dev/udp/127.0.0.1/9) 2>/dev/null && touch ${part}/net; touch ${part}/done`;
    await root.order(`SPAWN child ${part} RUN ${tries}`);
    await eventually(() => existsSync(join(part, "done")), "the child's command");
    expect([existsSync(out), existsSync(join(part, "net"))]).toEqual([false, false]);
  },
);

describe.skipIf(process.platform !== "linux")("with a pod", () => {
  /** Starts one command of each kind; pids of what must end. */
  const busy = async (root: Driven): Promise<number[]> => {
    const daemon = "setsid sh -c 'echo $$ >daemon; exec sleep 300' </dev/null >/dev/null 2>&1";
    await root.order(
      `BACKGROUND sleep 300 & ${daemon} & env -i /bin/sleep 300 & echo $! >plain; wait`,
    );
    await root.pod.run("RUN echo $$ >shell; sleep 300");
    const files = ["daemon", "plain", "shell"].map((name) => root.path(name));
    const pid = (path: string): number =>
      existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
    await eventually(() => files.every((path) => pid(path) > 1), "all commands");
    return files.map(pid);
  };

  test("that is killed all its commands end at once, daemons included", async () => {
    await using root = await driven();
    const pids = await busy(root);
    expect(pids.every(isRunning)).toBe(true);
    const { pid } = root.pod;
    await root.pod.kill();
    await eventually(() => !pids.some(isRunning), "the end of all", 5000);
    await eventually(() => markedProcesses(shellMark(pid)).length === 0, "the rest");
    const { runtime } = root.pod.world;
    await eventually(() => !commandsLive(runtime, "root"), "the keepers' end");
    expect(root.pod.world.allocation("root")).toBeDefined(); // as long as nobody looked
    await root.pod.world.registry.reclaim();
    expect(root.pod.world.allocation("root")).toBeUndefined();
  });

  test("that is asked to end all its commands end before its claim", async () => {
    await using root = await driven();
    const pids = await busy(root);
    await root.pod.request({ method: "shutdown" });
    await eventually(() => root.pod.world.allocation("root") === undefined, "the claim's end");
    expect(pids.filter(isRunning)).toEqual([]);
    expect(await root.pod.exited).toBe(0);
  });

  test("that is a child and is killed its commands end before its paths are given back", async () => {
    await using root = await driven();
    mkdirSync(root.path("part"));
    const file = root.path("part/pid");
    await root.order(
      `SPAWN child ${root.path("part")} RUN echo $$ >${file}; while :; do sleep 0.05; done`,
    );
    await eventually(() => existsSync(file) && readFileSync(file, "utf8") !== "", "the command");
    const shell = Number(readFileSync(file, "utf8"));
    const child = root.pod.world.allocation("child")?.pid ?? 0;
    process.kill(child, "SIGKILL");
    await eventually(() => root.pod.world.allocation("child") === undefined, "the claim's end");
    expect(isRunning(shell)).toBe(false);
    expect(existsSync(podPaths(root.pod.world.runtime, "child").shellLock)).toBe(false);
  });
});
