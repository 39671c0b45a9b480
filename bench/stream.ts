/**
 * `bun run bench/stream.ts`: how many events a second one streaming Pod gives to 1, 10 and 200 clients,
 * beside a bare Bun socket that broadcasts the same lines, in the same run, one after the other. The
 * clients only count lines; they are the same for both.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { now } from "./clock.ts";
import { countFrom, machineLine, programAt, runBench } from "./program.ts";
import { summarize } from "./stats.ts";
import { startPod, stopStarted, within, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/stream.ts [options]
  --pod PATH      program to measure (default: dist/pod)
  --rounds N      measurements of each kind (default: 5)
  --json          print JSON`;

/** Events of one measurement, fewer where there are many clients. */
const EVENTS: ReadonlyMap<number, number> = new Map([
  [1, 20_000],
  [10, 10_000],
  [200, 2000],
]);
const LINE_FEED = 0x0a;
const LAST = Buffer.from('"run_end"');

interface Counted {
  /** Lines received when the last one came. */
  readonly lines: number;
}

/** Connects a client that counts lines until the end of the run. */
async function connect(path: string): Promise<{ over: Promise<Counted>; socket: Bun.Socket }> {
  const over = Promise.withResolvers<Counted>();
  let lines = 0;
  let tail = Buffer.alloc(0);
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data: (_socket, chunk) => {
        for (let at = chunk.indexOf(LINE_FEED); at !== -1; at = chunk.indexOf(LINE_FEED, at + 1)) {
          lines += 1;
        }
        // The last line may be cut in two.
        tail = Buffer.concat([tail, chunk.subarray(-200)]).subarray(-400);
        if (tail.includes(LAST)) over.resolve({ lines });
      },
      close: () => over.reject(new Error("a client was disconnected")),
      error: (_socket, error) => over.reject(error),
    },
  });
  over.promise.catch(() => undefined); // looked at later
  return { over: over.promise, socket };
}

/** Connects clients, begins, and returns the events a second that every one of them got. */
async function measure(path: string, clients: number, begin: string): Promise<number> {
  const peers = await Promise.all(Array.from({ length: clients }, () => connect(path)));
  try {
    const started = now();
    peers[0]?.socket.write(begin);
    const counts = await within(Promise.all(peers.map(({ over }) => over)), "the end of a stream");
    const seconds = (now() - started) / 1000;
    return Math.min(...counts.map(({ lines }) => lines)) / seconds;
  } finally {
    for (const { socket } of peers) socket.terminate();
  }
}

async function bare(workspace: Workspace, clients: number, events: number): Promise<number> {
  const path = join(workspace.root, "bare.sock");
  rmSync(path, { force: true });
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "broadcast.ts"), path, `${events}`],
    {
      env: workspace.env(),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  try {
    await within(child.stdout.getReader().read(), "the bare socket");
    return await measure(path, clients, "go\n");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

async function ours(workspace: Workspace, clients: number, events: number): Promise<number> {
  const script = join(workspace.root, `stream-${events}.json`);
  const text = Array.from({ length: events }, (_, n) => `word${n}`).join(" ");
  writeFileSync(script, JSON.stringify({ rules: [{ text }] }));
  const overlay = [
    `pod = { name = "streamer" }`,
    `model = { scheme = "script", script = ${JSON.stringify(script)} }`,
    `scope = { allow = [{ target = ${JSON.stringify(workspace.work)}, permission = "read" }] }`,
  ].join("\n");
  const pod = await startPod(workspace, overlay, "none");
  try {
    const run = '{"method":"run","params":{"input":[{"kind":"text","content":"go"}]}}\n';
    return await measure(pod.socket, clients, run);
  } finally {
    await stopStarted(pod);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      pod: { type: "string", default: join(import.meta.dir, "../dist/pod") },
      rounds: { type: "string", default: "5" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const rounds = countFrom(values.rounds, USAGE);
  const pod = await programAt(values.pod);
  const workspace = new Workspace(pod);
  const rows: Record<string, unknown>[] = [];
  for (const [clients, events] of EVENTS) {
    console.error(`measuring: ${clients} client(s) …`);
    const [pods, bares]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round += 1) {
      bares.push(await bare(workspace, clients, events));
      pods.push(await ours(workspace, clients, events));
    }
    const [value, baseline] = [summarize(pods), summarize(bares)];
    rows.push({
      clients,
      "events/s": Math.round(value.median),
      "delivered/s": Math.round(value.median * clients),
      min: Math.round(value.min),
      max: Math.round(value.max),
      "bare events/s": Math.round(baseline.median),
      ratio: Number((value.median / baseline.median).toFixed(2)),
    });
  }
  if (values.json) return console.log(JSON.stringify(rows, null, 2));
  console.log(machineLine());
  console.table(rows);
}

await runBench(main);
