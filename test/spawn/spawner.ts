/**
 * A spawner inside the test process: real registry, real sockets, real children, and the tools bound
 * to it. Children are real Pods from source unless `command` says otherwise. When it is disposed,
 * its children are stopped and the world around it must be empty.
 */
import { mkdirSync, readFileSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf } from "../../src/base/errors.ts";
import { parseResolvedManifest } from "../../src/manifest/render.ts";
import type { PodEvent } from "../../src/protocol/method.ts";
import type { Allocation } from "../../src/registry/allocation.ts";
import { joinAsChild, joinAsRoot, type Membership } from "../../src/registry/membership.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { buildScope, type Scope } from "../../src/scope/set.ts";
import { Children } from "../../src/spawn/children.ts";
import type { SpawnContext } from "../../src/spawn/context.ts";
import { Family, type Notice } from "../../src/spawn/family.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { runTool, type Tool, type ToolOutcome } from "../../src/tools/tool.ts";
import { listenPrivately } from "../../src/transport/server.ts";
import { eventually, startWorld, type World } from "../support/pod.ts";
import { type ScenarioRule, SOURCE_COMMAND } from "../support/root-pod.ts";
import { within } from "../support/temp.ts";

/** The program of test/spawn/fixtures/fake-child.ts with its steps. */
export function fakeChild(...steps: readonly string[]): string[] {
  return [process.execPath, resolve(import.meta.dir, "fixtures/fake-child.ts"), ...steps];
}

/** A child program that is a shell script. */
export function shellChild(script: string): string[] {
  return ["sh", "-c", script];
}

export interface SpawnerOptions {
  readonly name?: string;
  /** Last component of the runtime directory; default `run`. */
  readonly runtimeName?: string;
  /** Default: everything in the world's `work`, for writing. */
  readonly scope?: (world: World) => {
    readonly allow: readonly ScopeRule[];
    readonly deny?: readonly ScopeRule[];
  };
  readonly cwd?: string;
  readonly command?: readonly string[];
  readonly rules?: readonly ScenarioRule[];
  readonly readyTimeoutMs?: number;
  readonly maxChildren?: number;
  /** `ref`s that children may be given. */
  readonly models?: readonly string[];
  readonly maxDepth?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Where it lives, and what outlives it; default a world of its own, which ends with it. */
  readonly world?: World;
  /** Lives in the world of this spawner, as its child with all of this directory. */
  readonly parent?: { readonly spawner: TestSpawner; readonly target: string };
}

/** What must not change when something is refused. */
export interface Snapshot {
  readonly registry: unknown;
  readonly directories: readonly string[];
  readonly processes: readonly number[];
  readonly children: readonly string[];
  readonly denied: readonly string[];
}

export interface TestSpawner extends AsyncDisposable {
  readonly world: World;
  readonly context: SpawnContext;
  readonly membership: Membership;
  readonly notices: readonly Notice[];
  readonly reports: readonly PodEvent[];
  /** Calls a tool as the loop does. */
  call(tool: Tool, input: unknown, signal?: AbortSignal): Promise<ToolOutcome>;
  /** The first notice after the one found before whose text has `part`. */
  notice(part: string, ms?: number): Promise<string>;
  /** A directory below `work`, made now; its canonical path. */
  directory(name: string): string;
  entry(name: string): Allocation | undefined;
  snapshot(): Snapshot;
  access(path: string): string;
}

export const never: AbortSignal = new AbortController().signal;

/** A rule for a tool's input. */
export function grant(target: string, permission: "read" | "write" = "write") {
  return { target, permission };
}

/** A rule of a manifest or registry. */
export function rule(target: string, permission: "read" | "write" = "write"): ScopeRule {
  return { target, permission, recursive: true };
}

/** `<runtime>/<pod>/<file>` as JSON. */
export function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8")) as unknown;
}

export async function startSpawner(options: SpawnerOptions = {}): Promise<TestSpawner> {
  const world = options.world ?? options.parent?.spawner.world ?? startWorld(options.runtimeName);
  try {
    return await assemble(world, options);
  } catch (error) {
    if (options.parent === undefined && options.world === undefined) {
      await world[Symbol.asyncDispose]();
    }
    throw error;
  }
}

async function enter(
  world: World,
  self: { name: string; instance: string },
  options: SpawnerOptions,
): Promise<Membership> {
  const { parent } = options;
  const scope = options.scope?.(world);
  const session = Bun.randomUUIDv7();
  if (parent === undefined) {
    const rules = scope?.allow ?? [rule(world.work)];
    return await joinAsRoot(world.registry, self, buildScope(rules, scope?.deny ?? []), session);
  }
  const { context } = parent.spawner;
  const { limits } = context;
  const { table } = await world.registry.delegate(
    context.self,
    self,
    [rule(parent.target)],
    limits,
  );
  const membership = await joinAsChild(world.registry, self, session);
  context.family.apply(table);
  return membership;
}

async function assemble(world: World, options: SpawnerOptions): Promise<TestSpawner> {
  const name = options.name ?? "root";
  const { registry } = world;
  const membership = await enter(
    world,
    { name, instance: `${name}-${crypto.randomUUID()}` },
    options,
  );
  const { allocation, paths } = membership;
  const self = { name, instance: allocation.instance, socket: paths.socket };
  const granted: Scope = { allow: allocation.scope_allow, deny: allocation.scope_deny };
  const scope = new LiveScope(granted);
  const children = new Children(self, paths.children, scope);
  const notices: Notice[] = [];
  const reports: PodEvent[] = [];
  let changed = Promise.withResolvers<void>();
  let seen = 0;
  const family = new Family({
    self,
    registry,
    scope,
    children,
    notify: (notice) => {
      notices.push(notice);
      changed.resolve();
      changed = Promise.withResolvers();
    },
    report: (event) => reports.push(event),
  });
  const script = world.scenario(options.rules ?? [{ text: "ok" }]);
  const context: SpawnContext = {
    self,
    cwd: options.cwd ?? world.work,
    registry,
    scope,
    children,
    family,
    limits: {
      maxDepth: options.maxDepth ?? 4,
      maxChildren: options.maxChildren ?? 16,
      readyTimeoutMs: options.readyTimeoutMs ?? 10_000,
    },
    command: options.command ?? SOURCE_COMMAND,
    env: { ...world.env, ...options.env },
    store: join(world.home, "sessions"),
    record: { starts: [], childStarted: () => undefined, childEnded: () => undefined },
    lineage: "0196f3a2-7c1e-7b43-9f0a-5d1c2e3f4a5b",
    maxOutputBytes: 16_384,
    prompts: {},
    models: {
      allowed: options.models ?? [],
      keyVariables: [],
      forChild: (ref) =>
        Promise.resolve({
          table: { scheme: "script", script, ...(ref === undefined ? {} : { model_id: ref }) },
          unneeded: [],
        }),
      unneededBy: () => Promise.resolve([]),
    },
    childManifest: (child) =>
      parseResolvedManifest({
        pod: { name: child.name },
        model: child.model,
        ...(child.instruction === undefined ? {} : { worker: { instruction: child.instruction } }),
        scope: { allow: child.allow, deny: child.deny },
      }),
    report: (event) => reports.push(event),
  };
  const server = listenPrivately({
    path: paths.socket,
    handlers: {
      onMethod: async (connection, method) => {
        const { id = "" } = method;
        const believed = method.method === "pod_event" && (await family.handle(method.params));
        if (believed) connection.send({ event: "ack", data: { id } });
        else connection.send({ event: "error", data: { code: "internal", message: "no", id } });
      },
    },
  });
  return {
    world,
    context,
    membership,
    notices,
    reports,
    call: async (tool, input, signal = never) =>
      await runTool(tool, input, { signal, callId: crypto.randomUUID() }),
    async notice(part, ms = 10_000) {
      for (;;) {
        const index = notices.findIndex(({ text }, i) => i >= seen && text.includes(part));
        if (index >= 0) {
          seen = index + 1;
          return notices[index]?.text ?? "";
        }
        const told = notices.map(({ text }) => text).join(" | ");
        await within(changed.promise, ms, `a notice with "${part}"; told: ${told}`);
      }
    },
    directory(path) {
      const directory = join(world.work, path);
      mkdirSync(directory, { recursive: true });
      return realpathSync(directory);
    },
    entry: (pod) => world.allocation(pod),
    snapshot: () => ({
      registry: readJson(join(world.runtime, "pods.json")),
      directories: world.directories(),
      processes: world.processes(),
      children: children.list().map((record) => record.name),
      denied: scope.delegated.map((rule) => rule.target),
    }),
    access: (path) => scope.accessTo(path),
    async [Symbol.asyncDispose]() {
      const errors: unknown[] = [];
      const attempt = async (work: () => Promise<void>): Promise<void> => {
        try {
          await work();
        } catch (error) {
          errors.push(error);
        }
      };
      for (const record of children.list()) record.stopping = true;
      const alive = new Set(registry.peek().map((entry) => entry.instance));
      const ending = children
        .list()
        .filter((record) => record.direct && alive.has(record.instance));
      if (options.parent === undefined) await attempt(() => world.stopAll());
      // Their ends are heard before this Pod goes.
      const own = ending.filter(({ owner }) => owner.pid !== process.pid);
      for (const record of options.parent === undefined ? own : []) {
        await attempt(() =>
          eventually(() => record.phase === "ended", `the end of ${record.name}`),
        );
        await attempt(() => family.settled(record));
      }
      family.close();
      await attempt(() => server.close());
      await attempt(() => membership.leave());
      if (options.parent === undefined && options.world === undefined)
        await attempt(async () => await world[Symbol.asyncDispose]());
      if (errors.length > 0) throw new Error(errors.map(messageOf).join("; "));
    },
  };
}
