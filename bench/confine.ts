/**
 * What confinement costs a shell command: `bash -c :` bare and through everything that the Bash tool
 * does to it (rules for the scope, trampoline, Landlock, keeper, wait until nothing is left), one after
 * the other in one run; then the first two commands of new Pods, from the announcement of the call to its
 * result. `bun run bench/confine.ts [--pod PROGRAM] [--rounds N] [--json]`
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { podPaths } from "../src/base/paths.ts";
import { kernelSupport } from "../src/sandbox/landlock.ts";
import { buildScope } from "../src/scope/set.ts";
import { LiveScope } from "../src/tools/live-scope.ts";
import { Shells } from "../src/tools/shell/shells.ts";
import { now } from "./clock.ts";
import { summarize } from "./stats.ts";
import { startPod, stopStarted, Watch, Workspace } from "./support.ts";

/** Aim of issue 5: milliseconds that confinement may add to a command. */
const AIM_MS = 10;
const SIBLINGS = 200;

const { values } = parseArgs({
  options: {
    pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
    rounds: { type: "string", default: "60" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const pod = resolve(values.pod);

const workspace = new Workspace(pod);
const { root } = workspace;

/** Commands of a Pod that may write all of `work` but what `deny` names. */
function shells(
  name: string,
  mode: "enforce" | "off",
  deny: readonly string[],
  aheadMs?: number,
): Shells {
  const work = join(root, name);
  const paths = podPaths(root, `pod-${name}`);
  for (const path of [work, paths.directory]) mkdirSync(path, { mode: 0o700 });
  for (let file = 0; file < SIBLINGS; file += 1) writeFileSync(join(work, `f${file}`), "");
  const rule = (target: string) => ({ target, permission: "write", recursive: true }) as const;
  return new Shells({
    scope: new LiveScope(
      buildScope(
        [rule(work)],
        deny.map((path) => rule(join(work, path))),
      ),
    ),
    cwd: work,
    env: { PATH: "/usr/bin:/bin" },
    paths,
    policy: { mode, write: [], network: "allow", local_sockets: "deny", env: [] },
    support: kernelSupport(),
    opensSockets: () => {},
    trampoline: () => [pod],
    guarded: [],
    foreign: () => [],
    secrets: [],
    ...(aheadMs === undefined ? {} : { aheadMs }),
  });
}

/** Milliseconds that `work` takes. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = now();
  await work();
  return now() - started;
}

async function bare(): Promise<void> {
  const child = Bun.spawn(["/bin/bash", "-c", ":"], {
    cwd: root,
    env: { PATH: "/usr/bin:/bin" },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
}

async function version(): Promise<void> {
  const child = Bun.spawn([pod, "--version"], {
    env: { PATH: "/usr/bin:/bin" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  if ((await child.exited) !== 0) throw new Error(`${pod} does not run`);
}

const run = (commands: Shells) => async (): Promise<void> => {
  const end = await (await commands.start(":", false)).process.ended;
  if (end.code !== 0 || !end.clear) throw new Error(`the command failed: ${JSON.stringify(end)}`);
};

const open = shells("open", "enforce", []);
const cold = shells("cold", "enforce", [], 0);
const partial = shells("partial", "enforce", ["denied"]);
const off = shells("off", "off", []);
const cases: readonly (readonly [name: string, work: () => Promise<void>])[] = [
  ["bare: bash -c :", bare],
  ["yardstick: pod --version", version],
  ["confined", run(open)],
  ["confined, nothing started ahead (the first command)", run(cold)],
  [`confined, one rule for each of ${SIBLINGS} siblings of a denied path`, run(partial)],
  ['mode = "off": trampoline and keeper alone', run(off)],
];

/**
 * Calls of a Pod whose scripted model gives each of them whole, with no time between its beginning and its
 * end; the last is what the loop and the socket take of each.
 */
const IN_PODS: readonly (readonly [name: string, call: Readonly<Record<string, unknown>>])[] = [
  ["first command of a Pod, call to result", { tool: "Bash", input: { command: ":" } }],
  ["second command of a Pod, call to result", { tool: "Bash", input: { command: ":" } }],
  ["a Glob without a result there, call to result", { tool: "Glob", input: { pattern: "none" } }],
];
const script = join(root, "script.json");
writeFileSync(
  script,
  JSON.stringify({
    rules: [...IN_PODS.map(([, call]) => ({ times: 1, calls: [call] })), { text: "done" }],
  }),
);
const overlay = [
  `pod = { name = "commander" }`,
  `model = { scheme = "script", script = ${JSON.stringify(script)} }`,
  `scope = { allow = [{ target = ${JSON.stringify(workspace.work)}, permission = "write" }] }`,
].join("\n");

/** Milliseconds of each, as a client sees them. */
async function inPod(): Promise<number[]> {
  const started = await startPod(workspace, overlay, "none");
  const watch = await Watch.open(started.socket);
  try {
    await watch.run("go");
    const figures: number[] = [];
    for (const _ of IN_PODS) {
      const { at } = await watch.next("tool_call_start");
      figures.push((await watch.next("tool_result")).at - at);
    }
    await watch.next("run_end");
    return figures;
  } finally {
    watch.close();
    await stopStarted(started);
  }
}

const times = new Map(
  [...cases.map(([name]) => name), ...IN_PODS.map(([name]) => name)].map((name) => [
    name,
    [] as number[],
  ]),
);
for (let round = -5; round < rounds; round += 1) {
  for (const [name, work] of cases) {
    const ms = await timed(work);
    if (round >= 0) times.get(name)?.push(ms); // the first few only warm up
  }
  for (const [index, ms] of (await inPod()).entries()) {
    if (round >= 0) times.get(IN_PODS[index]?.[0] ?? "")?.push(ms);
  }
}
await Promise.all([open, cold, partial, off].map((commands) => commands.close()));

const figures = [...times].map(([name, list]) => ({ name, ...summarize(list) }));
const baseline = figures[0]?.median ?? Number.NaN;
if (values.json) {
  console.log(JSON.stringify({ rounds, abi: kernelSupport().abi, aim_ms: AIM_MS, figures }));
} else {
  console.log(`Landlock ABI ${kernelSupport().abi}, ${rounds} rounds, milliseconds`);
  const cell = (value: number): string => value.toFixed(1).padStart(7);
  console.log("".padEnd(62), ...["median", "p90", "min", "max", "added"].map((t) => t.padStart(7)));
  for (const { name, median, p90, min, max } of figures) {
    console.log(name.padEnd(62), ...[median, p90, min, max, median - baseline].map(cell));
  }
  const added = (figures.find(({ name }) => name === "confined")?.median ?? Number.NaN) - baseline;
  console.log(
    `aim: under ${AIM_MS} ms added: ${added < AIM_MS ? "met" : "missed"} (${added.toFixed(1)})`,
  );
}
