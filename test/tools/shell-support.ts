/** A Pod's surroundings without the Pod: a live scope, a runtime directory, and the Bash tools over them. */
import { mkdirSync } from "node:fs";
import { podPaths } from "../../src/base/paths.ts";
import type { SandboxPolicy } from "../../src/sandbox/confinement.ts";
import { type KernelSupport, kernelSupport } from "../../src/sandbox/landlock.ts";
import { noteOpenSockets } from "../../src/sandbox/open-sockets.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { buildScope } from "../../src/scope/set.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { bashTools } from "../../src/tools/shell/bash.ts";
import { BashSession } from "../../src/tools/shell/bash-session.ts";
import { type ShellDependencies, Shells } from "../../src/tools/shell/shells.ts";
import type { Tool, ToolOutcome } from "../../src/tools/tool.ts";
import { podBinary } from "../support/binary.ts";
import { temp } from "../support/temp.ts";
import { callOf, rule, toolOf, writeBelow } from "./support.ts";

/** What commands of the tests may do unless a test says otherwise. */
export const ENFORCE: SandboxPolicy = {
  mode: "enforce",
  write: [],
  network: "allow",
  local_sockets: "deny",
  env: [],
};

/** True where the whole of the confinement is there; the tests of it make no sense elsewhere. */
export const CONFINES = kernelSupport().abi >= 6;

/** What a bench can be made with. */
export interface ShellBenchOptions {
  readonly policy?: Partial<SandboxPolicy>;
  /** Places beside the scope. */
  readonly write?: (root: string) => string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly deny?: (root: string) => ScopeRule[];
  readonly support?: KernelSupport;
  readonly more?: Partial<ShellDependencies>;
}

/** Bash over a fresh directory. */
export interface ShellBench extends AsyncDisposable {
  /** The writable root and working directory. */
  readonly root: string;
  readonly outside: string;
  readonly runtime: string;
  /** Where temporary directories are made. */
  readonly rooms: string;
  readonly scope: LiveScope;
  readonly shells: Shells;
  readonly notices: string[];
  file(name: string, content: string): string;
  tool(name: string): Tool;
  call(tool: string, input: Record<string, unknown>, signal?: AbortSignal): Promise<ToolOutcome>;
  bash(command: string, more?: Record<string, unknown>): Promise<ToolOutcome>;
  /** Ends all commands, as the end of the Pod does. */
  close(): Promise<boolean>;
}

/** Makes a bench; its end ends every command. */
export function shellBench(options: ShellBenchOptions = {}): ShellBench {
  const directory = temp();
  const [root, outside, runtime] = ["work", "outside", "run"].map((name) => directory.join(name));
  if (root === undefined || outside === undefined || runtime === undefined) throw new Error();
  const paths = podPaths(runtime, "me");
  const rooms = directory.join("rooms");
  for (const path of [root, outside, runtime, paths.directory]) mkdirSync(path, { mode: 0o700 });
  const scope = new LiveScope(buildScope([rule("write", root)], options.deny?.(root) ?? []));
  const notices: string[] = [];
  const shells = new Shells({
    scope,
    cwd: root,
    env: options.env ?? { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: directory.path },
    paths,
    rooms,
    policy: { ...ENFORCE, write: options.write?.(root) ?? [], ...options.policy },
    support: options.support ?? kernelSupport(),
    opensSockets: () => noteOpenSockets([runtime]),
    trampoline: () => (process.platform === "linux" ? [podBinary()] : undefined),
    guarded: [runtime, rooms],
    foreign: () => [],
    secrets: [],
    ...options.more,
  });
  const session = new BashSession(shells, (text) => notices.push(text));
  const tools = [...fileTools({ scope, cwd: root }), ...bashTools(() => session)];
  const bench: ShellBench = {
    root,
    outside,
    runtime,
    rooms,
    scope,
    shells,
    notices,
    file: (name, content) => writeBelow(root, name, content),
    tool: (name) => toolOf(tools, name),
    call: (name, input, signal) => callOf(bench.tool(name), input, signal),
    bash: (command, more = {}) => bench.call("Bash", { command, ...more }),
    close: () => session.close(),
    [Symbol.asyncDispose]: async () => {
      const clear = await session.close();
      await directory[Symbol.asyncDispose]();
      if (!clear) throw new Error("a command could not be ended");
    },
  };
  return bench;
}

/** The file that a result names as the place of its whole output; empty when it names none. */
export function pathIn(content: string | undefined): string {
  return / at (\/\S+)\]/.exec(content ?? "")?.[1] ?? "";
}
