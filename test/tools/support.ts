/** A directory, a live scope over it and the file tools, as a Pod has them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { buildScope } from "../../src/scope/set.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { runTool, type ToolOutcome } from "../../src/tools/tool.ts";
import { FileTracker } from "../../src/tools/tracker.ts";
import { temp } from "../support/temp.ts";

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
    file(name, content) {
      const path = `${root}/${name}`;
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
      return path;
    },
    async call(name, input, signal = new AbortController().signal) {
      const tool = tools.find((candidate) => candidate.name === name);
      if (tool === undefined) throw new Error(`no tool ${name}`);
      return await runTool(tool, input, { signal, callId: "c1" });
    },
    [Symbol.asyncDispose]: async () => await directory[Symbol.asyncDispose](),
  };
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
