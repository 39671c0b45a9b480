/**
 * Glob and Grep on a large tree beside `find` and beside ripgrep, or `grep -r` where ripgrep is not
 * installed: same tree, same run, warm caches, one after the other. Options: `--files N` (100,000),
 * `--rounds N` (5), `--dir DIR` where the tree is made, `--json`.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { ProbeCall, ProbeResult } from "./search-probe.ts";
import { summarize } from "./stats.ts";

const LIMIT_MS = 300_000;
const FILES_PER_DIRECTORY = 100;

interface Comparison {
  readonly title: string;
  readonly tool: string;
  readonly input: Record<string, unknown>;
  readonly beside: readonly string[];
  /** Most times the other's time that we aim at. */
  readonly aim: number;
}

const { values } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    files: { type: "string", default: "100000" },
    rounds: { type: "string", default: "5" },
    dir: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});
const files = Number(values.files);
const rounds = Number(values.rounds);
const root = realpathSync(mkdtempSync(join(values.dir, "pod-search-")));
process.once("exit", () => rmSync(root, { recursive: true, force: true }));
process.once("SIGINT", () => process.exit(130)).once("SIGTERM", () => process.exit(143));

const tree = join(root, "tree");
makeTree(tree, files);
const probe = await buildProbe(join(root, "search-probe"));
const searcher = Bun.which("rg") === null ? "grep" : "rg";
const comparisons = comparisonsOf(tree, searcher);
const asking = startProbe(probe, tree);
const rows = [];
for (const comparison of comparisons) {
  const call: ProbeCall = { tool: comparison.tool, input: comparison.input };
  const first = await asking.ask(call);
  timeOf(comparison.beside); // its caches are warm too
  const own: number[] = [];
  const other: number[] = [];
  // A B A B: a busy machine is twice as slow from one second to the next.
  for (let round = 0; round < rounds; round += 1) {
    own.push((await asking.ask(call)).time);
    other.push(timeOf(comparison.beside));
  }
  rows.push({
    title: comparison.title,
    first: Math.round(first.time),
    median: Math.round(summarize(own).median),
    beside: comparison.beside[0],
    other: Math.round(summarize(other).median),
    ratio: summarize(own.map((time, round) => time / (other[round] ?? Number.NaN))).median,
    aim: comparison.aim,
    summary: first.summary,
  });
}
asking.end();
if (values.json) console.log(JSON.stringify({ files, rounds, rows }, null, 2));
else {
  console.log(
    `${files} files, ${rounds} rounds, milliseconds; beside ripgrep: ${searcher === "rg" ? "yes" : "not installed, grep -r instead"}\n`,
  );
  for (const row of rows) {
    const met = row.ratio <= row.aim ? "met" : "MISSED";
    console.log(
      `${row.title.padEnd(46)} ${String(row.median).padStart(8)} (first ${row.first})  ${row.beside} ${row.other}  x${row.ratio}  aim x${row.aim} ${met}`,
    );
  }
}

function makeTree(path: string, count: number): void {
  mkdirSync(path);
  writeFileSync(join(path, ".ignore"), "*.tmp\n");
  const filler = "const value = compute(left, right); // nothing to see in this line\n".repeat(12);
  for (let index = 0; index < count; index += 1) {
    const directory = Math.floor(index / FILES_PER_DIRECTORY);
    const where = join(path, `group-${directory % 20}`, `part-${directory}`);
    if (index % FILES_PER_DIRECTORY === 0) mkdirSync(where, { recursive: true });
    const kind = index % 10 === 0 ? "md" : index % 10 === 1 ? "json" : "ts";
    const text = index % 1000 === 7 ? `${filler}// the needle no ${index}\n` : filler;
    writeFileSync(join(where, `${index % 5000 === 0 ? "special" : "file"}-${index}.${kind}`), text);
  }
}

function comparisonsOf(path: string, by: string): Comparison[] {
  const lines = by === "rg" ? ["rg", "-n"] : ["grep", "-rnIE"];
  const names = by === "rg" ? ["rg", "-l"] : ["grep", "-rlI"];
  const find = ["find", path, "-type", "f", "-name"];
  return [
    {
      title: "Glob, 20 of all names match",
      tool: "Glob",
      input: { pattern: "**/special-*" },
      beside: [...find, "special-*"],
      aim: 2,
    },
    {
      title: "Glob, four fifths match, newest 1000 shown",
      tool: "Glob",
      input: { pattern: "*.ts" },
      beside: [...find, "*.ts", "-printf", "%T@ %p\\n"],
      aim: 2,
    },
    {
      title: "Grep, a word, names of files",
      tool: "Grep",
      input: { pattern: "needle", head_limit: 0 },
      beside: [...names, "needle", path],
      aim: 10,
    },
    {
      title: "Grep, a pattern, lines",
      tool: "Grep",
      input: { pattern: "need(le|les) no [0-9]+", output_mode: "content", head_limit: 0 },
      beside: [...lines, "need(le|les) no [0-9]+", path],
      aim: 10,
    },
    {
      title: "Grep, a word nowhere, ignoring case",
      tool: "Grep",
      input: { pattern: "haystack", "-i": true, head_limit: 0 },
      beside: [...names, "-i", "haystack", path],
      aim: 10,
    },
  ];
}

async function buildProbe(outfile: string): Promise<string> {
  const here = import.meta.dir;
  const entry = join(here, "search-probe.ts");
  const command = [
    process.execPath,
    join(here, "../build.ts"),
    "--entry",
    entry,
    "--outfile",
    outfile,
  ];
  const build = Bun.spawn(command, { stdio: ["ignore", "ignore", "inherit"], timeout: LIMIT_MS });
  if ((await build.exited) !== 0) throw new Error("the probe could not be built");
  return outfile;
}

/** The probe as somebody to ask, one call at a time. */
function startProbe(program: string, path: string) {
  const child = Bun.spawn([program, path], {
    stdio: ["pipe", "pipe", "inherit"],
    timeout: 4 * LIMIT_MS,
  });
  process.once("exit", () => child.kill());
  const lines = linesOf(child.stdout);
  return {
    ask: async (call: ProbeCall): Promise<ProbeResult> => {
      child.stdin.write(`${JSON.stringify(call)}\n`);
      await child.stdin.flush();
      const { value } = await lines.next();
      if (value === undefined) throw new Error("the probe ended");
      return JSON.parse(value) as ProbeResult;
    },
    end: () => void child.stdin.end(),
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  return undefined;
}

function timeOf(command: readonly string[]): number {
  const start = performance.now();
  Bun.spawnSync([...command], { stdout: "ignore", stderr: "ignore", timeout: LIMIT_MS });
  return performance.now() - start;
}
