/**
 * `bun run bench/death.ts`: from `kill -9` of a child Pod to the notice on its parent's socket (the
 * first event of the run that it wakes), beside a bare child process whose exit is waited for, in the
 * same run, one after the other. The parent must prove the death, keep the notice and give paths back.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { now } from "./clock.ts";
import { countFrom, machineLine, programAt, runBench } from "./program.ts";
import { type Figure, renderTable, summarize } from "./stats.ts";
import { startPod, stopStarted, Watch, within, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/death.ts [options]
  --pod PATH      program to measure (default: dist/pod)
  --rounds N      children to kill (default: 30)
  --runtime DIR   put the runtime directory there: in memory, what the disk costs is left out
  --json          print JSON`;
/** What we aim at for the median. */
const AIM_MS = 20;

/** From the signal to the exit of a process of our own, as its parent's runtime tells it. */
async function bareDeath(): Promise<number> {
  const child = Bun.spawn(["sleep", "60"], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const started = now();
  process.kill(child.pid, "SIGKILL");
  await within(child.exited, "the end of a bare process");
  return now() - started;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
      rounds: { type: "string", default: "30" },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const rounds = countFrom(values.rounds, USAGE);
  const pod = await programAt(values.pod);
  const workspace = new Workspace(pod, values.runtime);
  const area = join(workspace.work, "area");
  mkdirSync(area);
  const script = join(workspace.root, "death.json");
  const scope = [{ target: area, permission: "write" }];
  const spawn = { tool: "SpawnPod", input: { name: "$1", task: "rest", scope } };
  writeFileSync(
    script,
    // The child's only turn outlasts the round, so that nothing else wakes the parent.
    JSON.stringify({
      rules: [
        { pod: "kid*", text: "never", delay_ms: 600_000 },
        { match: "^spawn (kid\\d+)$", calls: [spawn] },
        { text: "ok" },
      ],
    }),
  );
  const overlay = [
    `pod = { name = "parent" }`,
    `model = { scheme = "script", script = ${JSON.stringify(script)} }`,
    `scope = { allow = [{ target = ${JSON.stringify(workspace.work)}, permission = "write" }] }`,
  ].join("\n");
  const parent = await startPod(workspace, overlay, "none");
  const watch = await Watch.open(parent.socket);
  const [notices, bares]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    bares.push(await bareDeath());
    const name = `kid${round}`;
    await watch.run(`spawn ${name}`);
    await watch.next("tool_result");
    await watch.next("run_end");
    const pid = workspace.pidOf(name);
    const started = now();
    process.kill(pid, "SIGKILL");
    const { at } = await watch.next("turn_start");
    notices.push(at - started);
    await watch.next("run_end");
  }
  watch.close();
  await stopStarted(parent);
  const figures: Figure[] = [
    { id: "a", title: "bare: SIGKILL to exit seen", unit: "ms", value: summarize(bares) },
    {
      id: "b",
      title: "pod: SIGKILL to the notice on the parent's socket",
      unit: "ms",
      value: summarize(notices),
      baseline: summarize(bares),
      aim: AIM_MS,
    },
  ];
  if (values.json) return console.log(JSON.stringify(figures, null, 2));
  console.log(`${machineLine()}\n`);
  console.log(renderTable(figures).replace("hello", " bare"));
}

await runBench(main);
