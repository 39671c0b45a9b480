/**
 * Glob and Grep on a large tree beside `find`, ripgrep where it is installed, and `grep -r`: same tree,
 * same run, warm caches, one after the other. The ratio is to the first that stands beside. Options:
 * `--files N` (100,000), `--rounds N` (5), `--dir DIR` where the tree is made, `--json`.
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
  /** Commands that do the same; the first is the yardstick. */
  readonly beside: readonly (readonly string[])[];
  /** Most times the yardstick's time that we aim at. */
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
const ripgrep = Bun.which("rg") !== null;
const asking = startProbe(probe, tree);
const rows = [];
for (const { title, tool, input, beside, aim } of comparisonsOf(tree, ripgrep)) {
  const call: ProbeCall = { tool, input };
  const first = await asking.ask(call);
  for (const command of beside) timeOf(command); // its caches are warm too
  const own: number[] = [];
  const others = beside.map((): number[] => []);
  // A B A B: a busy machine is twice as slow from one second to the next.
  for (let round = 0; round < rounds; round += 1) {
    own.push((await asking.ask(call)).time);
    for (const [index, command] of beside.entries()) others[index]?.push(timeOf(command));
  }
  const yardstick = others[0] ?? [];
  rows.push({
    title,
    first: Math.round(first.time),
    median: Math.round(summarize(own).median),
    beside: others.map(
      (times, index) => `${beside[index]?.[0]} ${Math.round(summarize(times).median)}`,
    ),
    ratio: summarize(own.map((time, round) => time / (yardstick[round] ?? Number.NaN))).median,
    aim,
    summary: first.summary,
  });
}
asking.end();
if (values.json) console.log(JSON.stringify({ files, rounds, ripgrep, rows }, null, 2));
else {
  console.log(
    `${files} files, ${rounds} rounds, milliseconds; ripgrep: ${ripgrep ? "here" : "not installed, so grep -r is the yardstick"}\n`,
  );
  for (const row of rows) {
    const met = row.ratio <= row.aim ? "met" : "MISSED";
    console.log(
      `${row.title.padEnd(32)} ${String(row.median).padStart(6)} (first ${row.first})  ${row.beside.join(", ").padEnd(20)}  x${row.ratio.toFixed(2)}  aim x${row.aim} ${met}  [${row.summary}]`,
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

/** What is searched for, the same for all: `rg` where it is, `grep -r` always. */
function comparisonsOf(path: string, ripgrep: boolean): Comparison[] {
  const find = ["find", path, "-type", "f", "-name"];
  const glob = (title: string, pattern: string, beside: readonly string[]): Comparison => ({
    title: `Glob, ${title}`,
    tool: "Glob",
    input: { pattern },
    beside: [beside],
    aim: 2,
  });
  const grep = (
    title: string,
    pattern: string,
    more: {
      readonly input?: Record<string, unknown>;
      readonly rg?: string[];
      readonly grep?: string[];
    },
  ): Comparison => ({
    title: `Grep, ${title}`,
    tool: "Grep",
    input: { pattern, head_limit: 0, ...more.input },
    beside: [
      ...(ripgrep ? [["rg", ...(more.rg ?? ["-l"]), pattern, path]] : []),
      ["grep", "-rIE", ...(more.grep ?? more.rg ?? ["-l"]), pattern, path],
    ],
    aim: 5,
  });
  const lines = { input: { output_mode: "content" }, rg: ["-n"] };
  return [
    glob("20 of all names", "**/special-*", [...find, "special-*"]),
    glob("four fifths, newest 1000", "*.ts", [...find, "*.ts", "-printf", "%T@ %p\\n"]),
    grep("rare word, files", "needle", {}),
    grep("rare pattern, lines", "need(le|les) no [0-9]+", lines),
    grep("either of two words, files", "needle|haystack", {}),
    grep("no fixed text, files", "[a-z]+ no [0-9]{2,}", {}),
    grep("no letter is sure, files", "\\b[A-Z]{3,}\\b", {}),
    grep("word nowhere, -i", "haystack", { input: { "-i": true }, rg: ["-l", "-i"] }),
    grep("common word, files", "compute", {}),
    grep("common word, count", "compute", { input: { output_mode: "count" }, rg: ["-c"] }),
    grep("rare word in *.md", "needle|value = ", {
      input: { glob: "*.md" },
      rg: ["-l", "-g", "*.md"],
      grep: ["-l", "--include=*.md"],
    }),
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
