/**
 * From a reservation to a child that listens, for new children and for those that come back: its
 * directory, its launch file, its process, its word. Delivers no task and undoes nothing: the caller
 * has the `SpawnUndo` that knows what was begun.
 */
import { ioError, PodError } from "../base/errors.ts";
import { openPrivateLog } from "../base/files.ts";
import { podPaths } from "../base/paths.ts";
import { identityOf } from "../base/process.ts";
import { VERSION } from "../base/version.ts";
import type { Allocation } from "../registry/allocation.ts";
import { takeLife } from "../registry/life.ts";
import { ToolError } from "../tools/tool.ts";
import type { SpawnContext } from "./context.ts";
import { describeExit, launch, type Launched } from "./launch.ts";
import { writeLaunchFile } from "./launch-file.ts";
import type { SpawnUndo } from "./undo.ts";

/** What a child is started with besides its reservation. */
interface ChildStart {
  readonly cwd: string;
  readonly manifest: unknown;
  /** Variables with keys that its model does not need. */
  readonly unneeded?: readonly string[];
  /** Session it goes on with; none for a new child. */
  readonly session?: string;
}

/** Starts the process of a reservation; `undo` knows of it from then on. */
export function start(
  context: SpawnContext,
  entry: Allocation,
  { cwd, manifest, unneeded = [], session }: ChildStart,
  undo: SpawnUndo,
): Launched {
  const paths = podPaths(context.registry.base, entry.pod_name);
  const life = takeLife(context.registry.base, entry.pod_name);
  if (life === undefined) {
    throw new ToolError(
      "execution_failed",
      `${paths.directory} is still held by a process that is ending; retry in a moment`,
    );
  }
  undo.directoryMade();
  try {
    life.clear();
    undo.stderr = openLog(paths.stderr);
    writeLaunchFile(paths.launch, {
      version: 1,
      program: VERSION,
      name: entry.pod_name,
      instance: entry.instance,
      prompts: { ...context.prompts, packs: [...(context.prompts.packs ?? [])] },
      secrets: [...context.models.keyVariables],
      manifest,
      ...(session === undefined ? {} : { session }),
      store: context.store,
      parent: { name: context.self.name, lineage: context.lineage },
    });
  } finally {
    life.release(); // the child takes it
  }
  const child = launch({
    command: [
      ...context.command,
      "--adopt",
      "--callback",
      context.self.socket,
      "--launch",
      paths.launch,
    ],
    cwd,
    env: Object.fromEntries(
      Object.entries(context.env).filter(([variable]) => !unneeded.includes(variable)),
    ),
    instance: entry.instance,
    stderr: undo.stderr,
  });
  undo.child = child;
  undo.record = {
    name: entry.pod_name,
    instance: entry.instance,
    socket: entry.socket,
    scope: entry.scope_allow,
    callback: context.self.socket,
    direct: true,
    owner: identityOf(child.pid),
    exited: child.exited,
    phase: "starting",
    stopping: false,
    cursor: { item: undefined, offset: 0 },
  };
  context.children.add(undo.record);
  return child;
}

function openLog(path: string): number {
  try {
    return openPrivateLog(path, true);
  } catch (error) {
    throw ioError(`open ${path}`, error);
  }
}

/** Waits for the child's word; throws what went wrong, or `cancelled`. */
export async function becomeReady(
  context: SpawnContext,
  entry: Allocation,
  child: Launched,
  undo: SpawnUndo,
  signal: AbortSignal,
): Promise<void> {
  const { readyTimeoutMs } = context.limits;
  const outcome = await child.ready({ timeoutMs: readyTimeoutMs, signal });
  switch (outcome.kind) {
    case "ready":
      return;
    case "cancelled":
      throw cancelled();
    case "exited":
      throw new PodError(
        "spawn_failed",
        `spawned pod exited before it was ready (${describeExit(outcome.exit)})${undo.stderrBlock()}`,
      );
    case "timeout":
      throw new PodError(
        "spawn_failed",
        `spawned pod socket did not appear within ${readyTimeoutMs / 1000}s: ${entry.socket}` +
          undo.stderrBlock(),
      );
  }
}

/** Tells the parent of this Pod that a part of its scope now belongs to a child. */
export function reportDelegation(context: SpawnContext, entry: Allocation): void {
  context.report({
    kind: "scope_sub_delegated",
    parent_pod: context.self.name,
    sub_pod: entry.pod_name,
    sub_socket: entry.socket,
    scope: entry.scope_allow,
    instance: context.self.instance,
  });
}

/** What a spawn that was cancelled throws. */
export function cancelled(): PodError {
  return new PodError("cancelled", "the run was cancelled; the new pod was ended and undone");
}
