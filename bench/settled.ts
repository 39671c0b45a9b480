/** Figures 5 and 6: what a tree of Pods costs while it does nothing. From the kernel, Linux only. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { now } from "./clock.ts";
import { type Hello, rootOverlay } from "./start.ts";
import { type Figure, summarize } from "./stats.ts";
import {
  startPod,
  stopStarted,
  type StartedPod,
  Watch,
  within,
  type Workspace,
} from "./support.ts";

const CHILDREN = 8;
/** From the last work to the look at the memory. */
const MEMORY_SETTLE_MS = 2000;
/**
 * From the last work to the look at the system calls, and how long that takes. For 30 s after the last
 * work Bun itself looks every second whether to collect garbage.
 */
const IDLE_SETTLE_MS = 35_000;
const IDLE_WINDOW_MS = 10_000;
/** Calls that the tracer itself interrupts and that are begun again. */
const ATTACH_MS = 500;

/** The models of figure 5. */
export const SCHEMES = ["script", "anthropic"] as const;
export type Scheme = (typeof SCHEMES)[number];

/** Writes the manifests of both schemes, each in its configuration directory. */
export function writeManifests(workspace: Workspace, url: string): void {
  const scenario = join(workspace.root, "scenario.toml");
  const manifests: Record<Scheme, string> = {
    script: `[model]\nscheme = "script"\nscript = ${JSON.stringify(scenario)}\n`,
    anthropic:
      `[model]\nscheme = "anthropic"\nmodel_id = "bench"\nbase_url = ${JSON.stringify(url)}\n` +
      'auth = { kind = "none" }\n',
  };
  for (const scheme of SCHEMES) {
    writeFileSync(join(workspace.configOf(scheme), "manifest.toml"), manifests[scheme]);
  }
  const calls = Array.from({ length: CHILDREN }, (_, index) => {
    const name = `script-${index}`;
    const own = JSON.stringify(join(workspace.work, name));
    const all = JSON.stringify(workspace.work);
    return (
      `{ tool = "SpawnPod", input = { name = "${name}", task = "answer ${name}", scope = [` +
      `{ target = ${own}, permission = "write" }, { target = ${all}, permission = "read" }] } }`
    );
  });
  writeFileSync(
    scenario,
    `[[rules]]\nmatch = '^spawn'\ncalls = [${calls.join(", ")}]\n\n[[rules]]\ntext = "Done."\n`,
  );
}

/** Figure 5, and figure 6 on the last of its trees unless `quick`. */
export async function measureSettled(
  workspace: Workspace,
  hello: Hello,
  quick: boolean,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  const hellos = await hello.stay(CHILDREN + 1);
  for (const scheme of SCHEMES) {
    const root = await startPod(workspace, rootOverlay(scheme, workspace), scheme);
    const pids = await runTree(workspace, root, scheme);
    const settled = now();
    await Bun.sleep(MEMORY_SETTLE_MS);
    const memory = pids.map(memoryOf);
    const baseline = hellos.map(({ pid }) => memoryOf(pid));
    const mean = (key: keyof Memory, of = memory): string =>
      (of.reduce((sum, one) => sum + one[key], 0) / of.length).toFixed(1);
    figures.push({
      id: scheme === "script" ? "5a" : "5b",
      title: `PSS per Pod, root + ${CHILDREN} idle children, ${scheme} model`,
      unit: "MiB",
      value: summarize(memory.map(({ pss }) => pss)),
      baseline: summarize(baseline.map(({ pss }) => pss)),
      aim: 10,
      note:
        `mean PSS ${mean("pss")}, private ${mean("own")}, RSS ${mean("rss")} MiB; root PSS ` +
        `${memory[0]?.pss.toFixed(1) ?? "?"}; hello PSS ${mean("pss", baseline)}, private ` +
        `${mean("own", baseline)}, RSS ${mean("rss", baseline)}`,
    });
    if (scheme === "anthropic" && !quick) {
      console.error(`waiting ${(IDLE_SETTLE_MS + IDLE_WINDOW_MS) / 1000} s for figure 6 …`);
      await Bun.sleep(Math.max(0, settled + IDLE_SETTLE_MS - now()));
      figures.push(await measureIdle(pids));
    }
    await endAll(pids.slice(1));
    await stopStarted(root);
  }
  for (const child of hellos) child.kill();
  return figures;
}

/** Has the root spawn its children and waits until all have reported; pids, the root's first. */
async function runTree(workspace: Workspace, root: StartedPod, scheme: Scheme): Promise<number[]> {
  const watch = await Watch.open(root.socket);
  await watch.run(`spawn ${CHILDREN} ${scheme} answer ${workspace.work}`);
  await watch.next("run_end");
  const names = Array.from({ length: CHILDREN }, (_, index) => `${scheme}-${index}`);
  for (const name of names) {
    const child = await Watch.open(join(workspace.runtime, name, "sock"));
    await child.untilIdle(1); // nothing pending: the report of its run was taken
    child.close();
  }
  await watch.untilIdle(1);
  watch.close();
  return [root.process.pid, ...names.map((name) => workspace.pidOf(name))];
}

/** Ends Pods and waits until the kernel knows them no more; their parent reaps them. */
export async function endAll(pids: readonly number[]): Promise<void> {
  for (const pid of pids) process.kill(pid, "SIGTERM");
  const gone = async (): Promise<void> => {
    while (pids.some((pid) => existsSync(`/proc/${pid}`))) await Bun.sleep(10);
  };
  await within(gone(), "end of the children");
}

/** Memory of a process in MiB. */
export interface Memory {
  readonly pss: number;
  /** Pages that no other process has. */
  readonly own: number;
  readonly rss: number;
}

/** What the kernel says (proc(5), smaps_rollup). */
export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string): number => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
    if (kilobytes === undefined) throw new Error(`no ${name} in smaps_rollup`);
    return Number(kilobytes) / 1024;
  };
  return {
    pss: field("Pss"),
    own: field("Private_Clean") + field("Private_Dirty"),
    rss: field("Rss"),
  };
}

/** Figure 6 over all Pods; by strace where it is, else by the kernel's count of context switches. */
async function measureIdle(pids: readonly number[]): Promise<Figure> {
  const tracer = Bun.which("strace");
  const counts = await Promise.all(
    pids.map(async (pid) =>
      tracer === null ? await countSwitches(pid) : await trace(tracer, pid),
    ),
  );
  const names = new Map<string, number>();
  for (const { calls } of counts) {
    for (const name of calls) names.set(name, (names.get(name) ?? 0) + 1);
  }
  const list = [...names].toSorted(([, a], [, b]) => b - a);
  const what = tracer === null ? "context switches" : "system calls";
  return {
    id: "6",
    title: `${what} of an idle Pod in ${IDLE_WINDOW_MS / 1000} s`,
    unit: "calls",
    value: summarize(counts.map(({ count }) => count)),
    ...(list.length === 0
      ? {}
      : { note: list.map(([name, count]) => `${name} ${count}`).join(", ") + " (all Pods)" }),
  };
}

interface Calls {
  readonly count: number;
  readonly calls: readonly string[];
}

async function trace(tracer: string, pid: number): Promise<Calls> {
  const child = Bun.spawn([tracer, "-f", "-ttt", "-p", String(pid)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    const output = child.stderr.text();
    await Bun.sleep(ATTACH_MS);
    const from = Date.now() / 1000;
    await Bun.sleep(IDLE_WINDOW_MS);
    const to = Date.now() / 1000;
    child.kill("SIGINT");
    const calls: string[] = [];
    // `[pid  123] 1700000000.123456 futex(…`; a call that was under way before is not one.
    for (const [, at, name] of (await within(output, "strace")).matchAll(
      /^(?:\[pid +\d+\] )?(\d+\.\d+) (\w+)\(/gm,
    )) {
      if (name !== undefined && Number(at) >= from && Number(at) <= to) calls.push(name);
    }
    return { count: calls.length, calls };
  } finally {
    child.kill("SIGINT");
  }
}

async function countSwitches(pid: number): Promise<Calls> {
  const before = switchesOf(pid);
  await Bun.sleep(IDLE_WINDOW_MS);
  return { count: switchesSince(before, pid), calls: [] };
}

/** Context switches of each thread of a process so far (proc(5), status): each one was a wake-up. */
export function switchesOf(pid: number): ReadonlyMap<string, number> {
  const threads = new Map<string, number>();
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const text = readFileSync(`/proc/${pid}/task/${task}/status`, "utf8");
    let sum = 0;
    for (const [, count] of text.matchAll(/ctxt_switches:\s+(\d+)/g)) sum += Number(count);
    threads.set(task, sum);
  }
  return threads;
}

/** Context switches since `before`; those of threads that have ended meanwhile are not known. */
export function switchesSince(before: ReadonlyMap<string, number>, pid: number): number {
  let sum = 0;
  for (const [task, count] of switchesOf(pid)) sum += count - (before.get(task) ?? 0);
  return sum;
}
