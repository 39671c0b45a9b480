/** A directory, a live scope over it and the file tools, as a Pod has them. */
import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { buildScope } from "../../src/scope/set.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { runTool, type Tool, type ToolOutcome } from "../../src/tools/tool.ts";
import { FileTracker } from "../../src/tools/tracker.ts";
import { temp, within } from "../support/temp.ts";

/** A recursive rule. */
export function rule(permission: "read" | "write", target: string): ScopeRule {
  return { target, permission, recursive: true };
}

/** A scope that grants writing below `root`, minus `deny`. */
export function scopeOf(root: string, ...deny: ScopeRule[]): LiveScope {
  return new LiveScope(buildScope([rule("write", root)], deny));
}

/** Tools over a fresh directory; `call` runs one as the loop does. */
export interface Bench extends AsyncDisposable {
  /** The writable root. */
  readonly root: string;
  /** A directory beside it that no rule mentions. */
  readonly outside: string;
  readonly scope: LiveScope;
  readonly tracker: FileTracker;
  /** Writes a file below the root (parents made) and returns its path. */
  file(name: string, content: string | Uint8Array): string;
  path(...names: string[]): string;
  call(tool: string, input: Record<string, unknown>, signal?: AbortSignal): Promise<ToolOutcome>;
}

/** Makes a bench; `deny` gets the root. */
export function bench(deny: (root: string) => ScopeRule[] = () => []): Bench {
  const directory = temp();
  const root = directory.join("work");
  const outside = directory.join("outside");
  mkdirSync(root);
  mkdirSync(outside);
  const scope = scopeOf(root, ...deny(root));
  const tracker = new FileTracker();
  const tools = fileTools({ scope, cwd: root, tracker });
  return {
    root,
    outside,
    scope,
    tracker,
    path: (...names) => [root, ...names].join("/"),
    file: (name, content) => writeBelow(root, name, content),
    call: (name, input, signal) => callOf(toolOf(tools, name), input, signal),
    [Symbol.asyncDispose]: async () => await directory[Symbol.asyncDispose](),
  };
}

/** Writes a file below `root` (parents made) and returns its path. */
export function writeBelow(root: string, name: string, content: string | Uint8Array): string {
  const path = `${root}/${name}`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

/** The tool of this name. */
export function toolOf(tools: readonly Tool[], name: string): Tool {
  const tool = tools.find((candidate) => candidate.name === name);
  if (tool === undefined) throw new Error(`no tool ${name}`);
  return tool;
}

/** Calls a tool as the loop does. */
export async function callOf(
  tool: Tool,
  input: Record<string, unknown>,
  signal = new AbortController().signal,
): Promise<ToolOutcome> {
  return await runTool(tool, input, { signal, callId: "c1" });
}

/** What a search found, by paths (or lines that begin with them) relative to the root, in its order. */
export async function searched(
  b: Bench,
  tool: "Glob" | "Grep",
  input: Record<string, unknown>,
): Promise<string[]> {
  const result = await b.call(tool, input);
  expect(result).toMatchObject({ isError: false });
  return linesOf(result).map((line) => line.replaceAll(`${b.root}/`, ""));
}

/** The outcome of a search that is cancelled as soon as it has begun. */
export async function cancelled(
  b: Bench,
  tool: "Glob" | "Grep",
  input: Record<string, unknown>,
): Promise<ToolOutcome> {
  const controller = new AbortController();
  const searching = b.call(tool, input, controller.signal);
  controller.abort();
  return await within(searching, 5000, "the cancelled search");
}

/** The longest time, in milliseconds, that the event loop had for nothing else during `work`. */
export async function longestPause(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const clock = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  await work();
  clearInterval(clock);
  return longest;
}

/** The summary of a refused call. */
export function refused(message: string): ToolOutcome {
  return { summary: `Tool execution failed: Invalid argument: ${message}`, isError: true };
}

/** The summary of a failed call. */
export function failed(message: string): ToolOutcome {
  return { summary: `Tool execution failed: Execution failed: ${message}`, isError: true };
}

/** Lines of a result's content. */
export function linesOf(outcome: ToolOutcome): string[] {
  return outcome.content === undefined ? [] : outcome.content.split("\n");
}
