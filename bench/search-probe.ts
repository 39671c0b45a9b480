/**
 * The searching tools alone, compiled by `build.ts` as the program is: calls of Glob and Grep on a
 * directory, several times each, times as JSON on standard output. Started by `search.ts`.
 */
import { VERSION } from "../src/base/version.ts";
import { fileTools } from "../src/tools/file-tools.ts";
import { LiveScope } from "../src/tools/live-scope.ts";
import { runTool } from "../src/tools/tool.ts";

/** One call, and how often to make it. */
export interface ProbeCall {
  readonly tool: string;
  readonly input: Record<string, unknown>;
  readonly rounds: number;
}

/** What became of one call: the summary, and milliseconds of each round. */
export interface ProbeResult {
  readonly summary: string;
  readonly times: readonly number[];
}

const [, , first = "", calls = "[]"] = Bun.argv;
if (first === "" || first === "--version") {
  console.log(VERSION); // what the build's smoke test expects
} else {
  const scope = new LiveScope({
    allow: [{ target: first, permission: "read", recursive: true }],
    deny: [],
  });
  const tools = fileTools({ scope, cwd: first });
  const results: ProbeResult[] = [];
  const signal = new AbortController().signal;
  for (const { tool: name, input, rounds } of JSON.parse(calls) as ProbeCall[]) {
    const tool = tools.find((candidate) => candidate.name === name);
    if (tool === undefined) throw new Error(`no tool ${name}`);
    const times: number[] = [];
    let summary = "";
    for (let round = 0; round < rounds; round += 1) {
      const start = performance.now();
      ({ summary } = await runTool(tool, input, { signal, callId: "c" }));
      times.push(performance.now() - start);
    }
    results.push({ summary, times });
  }
  console.log(JSON.stringify(results));
}
