/**
 * The searching tools alone, compiled by `build.ts` as the program is: each line of standard input is
 * a call of Glob or Grep below the directory of the first argument, each line of standard output its
 * time. Started by `search.ts`.
 */
import { VERSION } from "../src/base/version.ts";
import { fileTools } from "../src/tools/file-tools.ts";
import { LiveScope } from "../src/tools/live-scope.ts";
import { runTool } from "../src/tools/tool.ts";

/** One call. */
export interface ProbeCall {
  readonly tool: string;
  readonly input: Record<string, unknown>;
}

/** What became of it, with its time in milliseconds. */
export interface ProbeResult {
  readonly summary: string;
  readonly time: number;
}

const [, , root = ""] = Bun.argv;
if (root === "" || root === "--version") {
  console.log(VERSION); // what the build's smoke test expects
} else {
  const scope = new LiveScope({
    allow: [{ target: root, permission: "read", recursive: true }],
    deny: [],
  });
  const tools = fileTools({ scope, cwd: root });
  const signal = new AbortController().signal;
  for await (const line of console) {
    if (line === "") break; // the end of the input
    const { tool: name, input } = JSON.parse(line) as ProbeCall;
    const tool = tools.find((candidate) => candidate.name === name);
    if (tool === undefined) throw new Error(`no tool ${name}`);
    const start = performance.now();
    const { summary } = await runTool(tool, input, { signal, callId: "c" });
    const result: ProbeResult = { summary, time: performance.now() - start };
    console.log(JSON.stringify(result));
  }
}
