/**
 * `bun run bench/models.ts`: what each wire format costs a Pod, beside the scripted model, which loads no
 * vendor library: processor time of a whole `pod run` with one request, and memory of an idle Pod that
 * has made one. Processor time, because a shared machine hardly changes it. Linux only.
 */
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { FORMATS } from "../test/support/wire-formats.ts";
import { wireServer } from "../test/support/wire-server.ts";
import { countFrom } from "./program.ts";
import { memoryOf } from "./settled.ts";
import { rootOverlay } from "./start.ts";
import { renderColumns, summarize } from "./stats.ts";
import { startPod, stopStarted, Watch, within, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/models.ts [options]
  --pod PATH      program to measure (default: dist/pod)
  --rounds N      runs of each scheme (default: 15)
  --json          print JSON`;
/** From the end of the run to the look at the memory. */
const SETTLE_MS = 2000;
const BASELINE = "script";

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
      rounds: { type: "string", default: "15" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const rounds = countFrom(values.rounds, USAGE);
  const workspace = new Workspace(resolve(values.pod));
  await using servers = new AsyncDisposableStack();
  const scenario = join(workspace.root, "scenario.toml");
  writeFileSync(scenario, '[[rules]]\ntext = "Done."\n');
  const tables = [[BASELINE, `script = ${JSON.stringify(scenario)}\n`]];
  for (const [scheme, format] of Object.entries(FORMATS)) {
    const server = servers.use(await wireServer(format, () => ({ text: "Done." })));
    tables.push([
      scheme,
      `model_id = "bench"\nbase_url = "${server.url}"\nauth = { kind = "none" }\n`,
    ]);
  }
  const schemes = tables.map(([scheme = "", rest = ""]) => {
    const manifest = `[model]\nscheme = "${scheme}"\n${rest}`;
    writeFileSync(join(workspace.configOf(scheme), "manifest.toml"), manifest);
    return { scheme, milliseconds: [] as number[] };
  });
  // One of each after the other, so that all see the same machine.
  for (let round = 0; round < rounds; round++) {
    for (const { scheme, milliseconds } of schemes) {
      milliseconds.push(await processorTime(workspace, scheme));
    }
  }
  const lines = [];
  for (const { scheme, milliseconds } of schemes) {
    lines.push({
      scheme,
      processorMs: summarize(milliseconds),
      memory: await idleMemory(workspace, scheme),
    });
  }
  if (values.json) return console.log(JSON.stringify(lines));
  const first = lines[0];
  const rows = lines.map(({ scheme, processorMs, memory }) => [
    scheme,
    processorMs.median.toFixed(1),
    processorMs.min.toFixed(1),
    signed(processorMs.min - (first?.processorMs.min ?? 0)),
    memory.own.toFixed(1),
    signed(memory.own - (first?.memory.own ?? 0)),
  ]);
  const headings = ["", "cpu ms", "min", "beside script", "own MiB", "beside script"];
  console.log(renderColumns(headings, rows));
}

const signed = (value: number): string => (value < 0 ? "" : "+") + value.toFixed(1);

/** Milliseconds that all threads of one `pod run` used. */
async function processorTime(workspace: Workspace, scheme: string): Promise<number> {
  const child = Bun.spawn([workspace.pod, "run", "hello"], {
    cwd: workspace.work,
    env: workspace.env(scheme),
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [code, complaints] = await within(
    Promise.all([child.exited, child.stderr.text()]),
    "end of a run",
  );
  if (code !== 0) throw new Error(`${scheme}: ${complaints}`);
  return Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1000;
}

/** Memory of a Pod after one request. */
async function idleMemory(
  workspace: Workspace,
  scheme: string,
): Promise<ReturnType<typeof memoryOf>> {
  const pod = await startPod(workspace, rootOverlay(scheme, workspace), scheme);
  const watch = await Watch.open(pod.socket);
  await watch.run("hello");
  await watch.next("run_end");
  await Bun.sleep(SETTLE_MS);
  const memory = memoryOf(pod.process.pid);
  watch.close();
  await stopStarted(pod);
  return memory;
}

await main();
