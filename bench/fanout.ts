/**
 * `bun run bench:fanout`: one parent with 1, 10, 50 and 200 children, which it spawns in one turn. How
 * many per second, what each idle Pod has of memory, how often it wakes up; beside it as many of the
 * smallest socket server that the same compiler makes. Prints a table, or JSON with `--json`.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { now } from "./clock.ts";
import { machine, programAt, runBench } from "./program.ts";
import { endAll, type Memory, memoryOf, switchesOf, switchesSince } from "./settled.ts";
import { Hello, rootOverlay } from "./start.ts";
import { renderColumns, summarize, type Summary } from "./stats.ts";
import { startPod, stopStarted, Watch, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/fanout.ts [options]
  --pod PATH      program to measure (default: dist/pod)
  --children LIST children of one parent (default: 1,10,50,200)
  --quick         leave out the wake-ups, which take 45 s for each number of children
  --runtime DIR   put the runtime directory there, for example on another file system
  --json          print JSON`;

const MEMORY_SETTLE_MS = 2000;
/** Bun itself wakes up every second for 30 s after the last work. */
const IDLE_SETTLE_MS = 35_000;
const IDLE_WINDOW_MS = 10_000;

/** What was measured with one number of children. */
interface Line {
  readonly what: "pod" | "hello";
  readonly children: number;
  /** From the complete call, or the first start, until all were up. */
  readonly ms: number;
  readonly perSecond: number;
  /** Of each child, MiB. */
  readonly pss: Summary;
  readonly own: Summary;
  /** The parent with its children. */
  readonly parent?: Memory;
  /** Context switches of all threads of a child in ten seconds. */
  readonly wakeUps?: Summary;
}

/** The manifest: a model that spawns as many children as it is told, which answer at once. */
function writeManifest(workspace: Workspace, sizes: readonly number[]): void {
  const rules = sizes.map((size) => ({
    match: `^spawn ${size}$`,
    calls: Array.from({ length: size }, (_, index) => ({
      tool: "SpawnPod",
      input: {
        name: childName(size, index),
        task: "answer",
        scope: [
          { target: join(workspace.work, childName(size, index)), permission: "write" },
          { target: workspace.work, permission: "read" },
        ],
      },
    })),
  }));
  const scenario = join(workspace.root, "scenario.json");
  writeFileSync(scenario, JSON.stringify({ rules: [...rules, { text: "Done." }] }));
  writeFileSync(
    join(workspace.configOf("fanout"), "manifest.toml"),
    `[model]\nscheme = "script"\nscript = ${JSON.stringify(scenario)}\n` +
      `[limits]\nmax_children = ${Math.max(...sizes)}\nready_timeout_ms = 60000\n`,
  );
}

const childName = (size: number, index: number): string => `c${size}-${index}`;

function figuresOf(
  what: Line["what"],
  pids: readonly number[],
  ms: number,
): Pick<Line, "what" | "children" | "ms" | "perSecond" | "pss" | "own"> {
  const memory = pids.map(memoryOf);
  return {
    what,
    children: pids.length,
    ms: Math.round(ms * 10) / 10,
    perSecond: Math.round((pids.length / ms) * 10_000) / 10,
    pss: summarize(memory.map(({ pss }) => pss)),
    own: summarize(memory.map(({ own }) => own)),
  };
}

async function wakeUpsOf(pids: readonly number[], settled: number): Promise<Summary> {
  await Bun.sleep(Math.max(0, settled + IDLE_SETTLE_MS - now()));
  const before = pids.map((pid) => ({ pid, switches: switchesOf(pid) }));
  await Bun.sleep(IDLE_WINDOW_MS);
  return summarize(before.map(({ pid, switches }) => switchesSince(switches, pid)));
}

async function measurePods(workspace: Workspace, size: number, quick: boolean): Promise<Line> {
  const name = `parent-${size}`;
  const root = await startPod(workspace, rootOverlay(name, workspace), "fanout");
  const watch = await Watch.open(root.socket);
  await watch.run(`spawn ${size}`);
  const called = await watch.next("tool_call_done");
  let ended = called.at;
  for (let result = 0; result < size; result += 1) ended = (await watch.next("tool_result")).at;
  const names = Array.from({ length: size }, (_, index) => childName(size, index));
  for (const child of names) {
    const other = await Watch.open(join(workspace.runtime, child, "sock"));
    await other.untilIdle(1);
    other.close();
  }
  await watch.untilIdle(1);
  watch.close();
  const settled = now();
  const pids = names.map((child) => workspace.pidOf(child));
  await Bun.sleep(MEMORY_SETTLE_MS);
  const line = {
    ...figuresOf("pod", pids, ended - called.at),
    parent: memoryOf(root.process.pid),
    ...(quick ? {} : { wakeUps: await wakeUpsOf(pids, settled) }),
  };
  await endAll(pids);
  await stopStarted(root);
  return line;
}

async function measureHello(hello: Hello, size: number, quick: boolean): Promise<Line> {
  const started = now();
  const children = await hello.listen(size);
  const ended = now();
  await Bun.sleep(MEMORY_SETTLE_MS);
  const pids = children.map(({ pid }) => pid);
  const line = {
    ...figuresOf("hello", pids, ended - started),
    ...(quick ? {} : { wakeUps: await wakeUpsOf(pids, ended) }),
  };
  for (const child of children) child.kill();
  await Promise.all(children.map((child) => child.exited));
  return line;
}

function render(lines: readonly Line[]): string {
  const mib = (value: number | undefined): string => value?.toFixed(1) ?? "";
  const rows = lines.map((line) => [
    line.what,
    String(line.children),
    line.ms.toFixed(0),
    line.perSecond.toFixed(1),
    mib(line.pss.median),
    mib(line.pss.max),
    mib(line.own.median),
    mib(line.own.max),
    mib(line.parent?.pss),
    mib(line.parent?.own),
    line.wakeUps === undefined ? "" : `${line.wakeUps.median} (${line.wakeUps.max})`,
  ]);
  const headings = [
    "",
    "children",
    "ms",
    "per second",
    "PSS MiB",
    "max",
    "private MiB",
    "max",
    "parent PSS",
    "private",
    "wake-ups in 10 s (max)",
  ];
  return renderColumns(headings, rows);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
      children: { type: "string", default: "1,10,50,200" },
      quick: { type: "boolean", default: false },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const pod = await programAt(values.pod);
  const sizes = values.children.split(",").map(Number);
  if (process.platform !== "linux") throw new Error("the figures come from the kernel of Linux");
  if (!sizes.every((size) => Number.isInteger(size) && size > 0)) throw new Error(USAGE);

  const workspace = new Workspace(pod, values.runtime);
  const measuredOn = machine();
  writeManifest(workspace, sizes);
  const hello = await Hello.build(workspace);
  await hello.run(); // the first of all pays for the disk
  const lines: Line[] = [];
  for (const size of sizes) {
    console.error(`measuring: ${size} …`);
    lines.push(await measureHello(hello, size, values.quick));
    lines.push(await measurePods(workspace, size, values.quick));
  }
  const host = measuredOn.after();
  if (values.json) return console.log(JSON.stringify({ machine: host, lines }, null, 2));
  console.log(`${host.processors} processors, Bun ${host.bun}\n`);
  console.log(render(lines));
}

await runBench(main);
