/**
 * `bun run bench:registry`: what the machine-wide lock costs. Locked operations per second, alone and
 * with eight competing processes, in tables of 10, 100 and 1,000 live allocations, each beside the
 * least that it could cost in the same second: bench/README.md. Prints a table, or JSON with `--json`.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensurePrivateDirectory } from "../src/base/paths.ts";
import { identityOf } from "../src/base/process.ts";
import { type Allocation, identityKeys } from "../src/registry/allocation.ts";
import { saveTable, tablePaths } from "../src/registry/table.ts";
import { now } from "./clock.ts";
import { machine, runBench } from "./program.ts";
import type { Order, Result, Work } from "./registry-worker.ts";
import { renderColumns, summarize, type Summary } from "./stats.ts";
import { within, Workspace } from "./support.ts";

const USAGE = `usage: bun run bench/registry.ts [options]
  --seconds N     length of each measurement (default: 2)
  --processes N   competing processes (default: 8)
  --sizes LIST    allocations in the table (default: 10,100,1000)
  --runtime DIR   put the registry there, for example on another file system
  --json          print JSON`;

/** From the order to the common beginning. */
const LEAD_MS = 30;
/** Processes that the allocations of a table belong to; all live. */
const OWNERS = 20;
const WORK: readonly Work[] = ["registry", "refused", "write", "lock", "flock"];

/** What was measured of one kind of work. */
interface Line {
  readonly work: Work;
  readonly allocations: number;
  readonly processes: number;
  readonly perSecond: number;
  /** Milliseconds of one operation, with the wait for the lock. */
  readonly span: Summary;
  /** Least and most operations that one process had done: how fair the lock is. */
  readonly share: readonly [number, number];
}

/** A process that works. */
class Worker {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;

  private constructor(workspace: Workspace) {
    const program = join(import.meta.dir, "registry-worker.ts");
    this.#process = Bun.spawn([process.execPath, program], {
      env: workspace.env(),
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = linesOf(this.#process.stdout);
  }

  static async start(workspace: Workspace): Promise<Worker> {
    const worker = new Worker(workspace);
    await worker.#next();
    return worker;
  }

  async measure(order: Order): Promise<Result> {
    this.#process.stdin.write(`${JSON.stringify(order)}\n`);
    await this.#process.stdin.flush();
    return JSON.parse(await this.#next()) as Result;
  }

  async end(): Promise<void> {
    await this.#process.stdin.end();
    await within(this.#process.exited, "end of a worker");
  }

  async #next(): Promise<string> {
    const { value, done } = await within(this.#lines.next(), "answer of a worker");
    if (done === true) throw new Error("a worker ended early");
    return value;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    yield* pieces;
  }
}

/** Writes a table of so many live allocations of two rules each; its size in bytes. */
function fill(workspace: Workspace, count: number, pids: readonly number[]): number {
  const base = workspace.runtime;
  const rule = (target: string) => ({ target, permission: "write", recursive: true }) as const;
  const owners = pids.map((pid) => identityKeys(identityOf(pid)));
  const allocations = Array.from({ length: count }, (_, n): Allocation => {
    const owner = owners[n % owners.length];
    if (owner === undefined) throw new Error("no owners");
    return {
      pod_name: `p${n}`,
      ...owner,
      socket: `${base}/p${n}/sock`,
      scope_allow: [rule(`/work/${n}/src`), rule(`/work/${n}/docs`)],
      scope_deny: [],
      // Sixteen children each, as by the default limit.
      delegated_from: n % 17 === 0 ? null : `p${n - (n % 17)}`,
      session_id: `p${n} 0`,
      instance: `p${n}-1`,
      expires_at: null,
      lineage: [],
    };
  });
  saveTable(base, { allocations, rest: {} });
  return statSync(tablePaths(base).file).size;
}

async function measureAll(
  workspace: Workspace,
  options: { seconds: number; processes: number; sizes: readonly number[] },
): Promise<Line[]> {
  const { seconds, processes, sizes } = options;
  const owners = Array.from({ length: OWNERS }, () =>
    Bun.spawn(["sleep", "86400"], { env: workspace.env(), stdio: ["ignore", "ignore", "ignore"] }),
  );
  const workers = await Promise.all(
    Array.from({ length: processes }, async () => await Worker.start(workspace)),
  );
  const lines: Line[] = [];
  for (const allocations of sizes) {
    const pids = owners.map(({ pid }) => pid);
    const bytes = fill(workspace, allocations, pids);
    for (const crowd of [1, processes]) {
      for (const work of WORK) {
        console.error(`measuring: ${work}, ${allocations} allocations, ${crowd} processes …`);
        const orders = workers.slice(0, crowd).map((worker, n) => {
          const order: Order = { work, base: workspace.runtime, name: `p${n}`, bytes };
          return { worker, order };
        });
        await Promise.all(orders.map(({ worker, order }) => worker.measure(order)));
        const from = now() + LEAD_MS;
        const until = from + seconds * 1000;
        const results = await Promise.all(
          orders.map(({ worker, order }) => worker.measure({ ...order, from, until })),
        );
        const counts = results.map(({ spans }) => spans.length);
        const spans = results.flatMap((result) => result.spans);
        if (spans.length === 0) {
          throw new Error(
            `no operation ended within ${seconds} s: the machine is busy, or --seconds`,
          );
        }
        lines.push({
          work,
          allocations,
          processes: crowd,
          perSecond: Math.round(spans.length / seconds),
          span: summarize(spans),
          share: [Math.min(...counts), Math.max(...counts)],
        });
      }
    }
  }
  for (const worker of workers) await worker.end();
  for (const owner of owners) owner.kill();
  return lines;
}

function render(lines: readonly Line[]): string {
  const least = (line: Line): number =>
    lines.find(
      ({ work, allocations, processes }) =>
        work === "write" && allocations === line.allocations && processes === line.processes,
    )?.perSecond ?? Number.NaN;
  const rows = lines.map((line) => [
    line.work,
    String(line.allocations),
    String(line.processes),
    String(line.perSecond),
    (line.perSecond / least(line)).toFixed(2),
    ...[line.span.median, line.span.p90, line.span.max].map((ms) => ms.toFixed(2)),
    `${line.share[0]} to ${line.share[1]}`,
  ]);
  const headings = [
    "work",
    "allocations",
    "processes",
    "per second",
    "of write",
    "median ms",
    "p90 ms",
    "max ms",
    "per process",
  ];
  return renderColumns(headings, rows);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "2" },
      processes: { type: "string", default: "8" },
      sizes: { type: "string", default: "10,100,1000" },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const seconds = Number(values.seconds);
  const processes = Number(values.processes);
  const sizes = values.sizes.split(",").map(Number);
  const isCount = (value: number): boolean => Number.isInteger(value) && value > 0;
  const fits = sizes.every((size) => isCount(size) && size >= processes);
  if (!(seconds > 0 && seconds < 15) || !isCount(processes) || !fits) {
    throw new Error(`${USAGE}\n(at most 15 seconds; a table has at least one entry per process)`);
  }
  const workspace = new Workspace(process.execPath, values.runtime);
  ensurePrivateDirectory(workspace.runtime);
  const measuredOn = machine();
  const lines = await measureAll(workspace, { seconds, processes, sizes });
  const host = measuredOn.after();
  if (values.json) return console.log(JSON.stringify({ machine: host, lines }, null, 2));
  console.log(`${host.processors} processors, Bun ${host.bun}\n`);
  console.log(render(lines));
}

await runBench(main);
