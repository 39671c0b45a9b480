/**
 * Puts one Pod together and takes it apart again. Starting: join the registry, files, tools, socket.
 * Ending, in this order: no new clients, the parent is told, clients get what is queued, directory
 * and allocation go last (spec protocol 8, registry-and-spawn I5).
 */
import { log } from "../base/log.ts";
import { messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { attachmentsFor } from "../controller/attachments.ts";
import { Controller } from "../controller/controller.ts";
import { RuntimeFiles } from "../controller/runtime-files.ts";
import { Uplink } from "../controller/uplink.ts";
import { renderManifest } from "../manifest/render.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { Event } from "../protocol/event.ts";
import { joinAsChild, joinAsRoot, type Membership } from "../registry/membership.ts";
import { Registry } from "../registry/registry.ts";
import { surroundingWarnings } from "../registry/surroundings.ts";
import { canonicalPath, describeRules } from "../scope/rule.ts";
import type { Scope } from "../scope/set.ts";
import { Children, type Spawner } from "../spawn/children.ts";
import type { SpawnContext } from "../spawn/context.ts";
import { listPodsTool, stopPodTool } from "../spawn/control-tools.ts";
import { Family } from "../spawn/family.ts";
import { spawnPodTool } from "../spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../spawn/talk-tools.ts";
import { fileTools } from "../tools/file-tools.ts";
import { globalExcludesFile } from "../tools/git-excludes.ts";
import { LiveScope } from "../tools/live-scope.ts";
import { ScopedFiles } from "../tools/scoped-fs.ts";
import { bashTools } from "../tools/shell/bash.ts";
import { listenPrivately, type PodServer } from "../transport/server.ts";
import { History } from "../worker/history.ts";
import { runTurns } from "../worker/loop.ts";
import { outputLimit, type OutputLimits } from "../worker/truncate.ts";
import {
  assertReadableCwd,
  type Configuration,
  configure,
  named,
  type PodOptions,
  rootScope,
} from "./configuration.ts";
import { commandsOf } from "./commands.ts";
import {
  childManifest,
  greetingOf,
  newBoundaries,
  spawnCommand,
  systemPrompt,
} from "./settings.ts";
import { requestOptions } from "./request-options.ts";
import { ToolOutputFiles } from "./tool-output.ts";

/** How long the parent has to take the last reports, and clients their last events. */
const LAST_REPORTS_MS = 5000;
const LAST_EVENTS_MS = 1000;

/** Why a Pod ended. */
export type EndReason = "client request" | "signal";

/** A Pod that listens. */
export interface RunningPod {
  readonly self: Spawner;
  readonly cwd: string;
  /** The registry it is in; one per process. */
  readonly registry: Registry;
  readonly controller: Controller;
  readonly children: Children;
  /** Set for a child: it must announce itself to its spawner. */
  readonly isChild: boolean;
  /** Hears every event that clients get; returns how to stop listening. */
  subscribe(listener: (event: Event) => void): () => void;
  /** Ends the Pod; the first reason counts. */
  shutdown(reason: EndReason): void;
  /** Resolves when everything is given back. */
  readonly ended: Promise<EndReason>;
}

/** Starts a Pod. Throws `PodError`s worded for the terminal; what was begun is undone then. */
export async function startPod(
  options: PodOptions,
  env: Environment,
  cwd: string,
): Promise<RunningPod> {
  const configuration = await configure(options, env, cwd);
  const registry = new Registry(configuration.base);
  const session = Bun.randomUUIDv7();
  const membership = await join(configuration, registry, session);
  try {
    return await assemble(configuration, registry, membership, session, env);
  } catch (error) {
    await membership.leave();
    throw named("failed to start pod controller", error);
  }
}

async function join(
  configuration: Configuration,
  registry: Registry,
  session: string,
): Promise<Membership> {
  const { manifest, instance, cwd, parent } = configuration;
  const self = { name: manifest.pod.name, instance };
  if (parent === undefined) {
    try {
      return await joinAsRoot(registry, self, rootScope(configuration), session);
    } catch (error) {
      throw named("failed to create pod", error);
    }
  }
  try {
    const membership = await joinAsChild(registry, self, session);
    try {
      assertExactScope(membership, parent.launch === undefined ? undefined : manifest);
      assertReadableCwd(scopeOf(membership), cwd);
    } catch (error) {
      await membership.leave();
      throw error;
    }
    return membership;
  } catch (error) {
    throw named("failed to create spawned pod", error);
  }
}

function scopeOf({ allocation }: Membership): Scope {
  return { allow: allocation.scope_allow, deny: allocation.scope_deny };
}

/**
 * A child has exactly what was reserved: its targets still mean what they meant (no directory became
 * a link since), and its manifest says nothing else (W19, W21).
 */
function assertExactScope(membership: Membership, manifest: Manifest | undefined): void {
  const { allow, deny } = scopeOf(membership);
  for (const { target } of [...allow, ...deny]) {
    const now = canonicalPath(target);
    if (!now.ok || now.path !== target) {
      throw new PodError("denied", `scope target ${target} was replaced since it was reserved`);
    }
  }
  if (manifest === undefined || Bun.deepEquals(manifest.scope, { allow, deny })) return;
  throw new PodError("denied", "the scope in the launch file differs from the reservation");
}

async function assemble(
  configuration: Configuration,
  registry: Registry,
  membership: Membership,
  session: string,
  env: Environment,
): Promise<RunningPod> {
  const { manifest, model, models, cwd, base, parent } = configuration;
  const prompts = configuration.prompts.catalog;
  const { paths, allocation } = membership;
  const self: Spawner = {
    name: allocation.pod_name,
    instance: allocation.instance,
    socket: paths.socket,
  };
  const scope = new LiveScope(scopeOf(membership));
  const uplink = new Uplink(self, registry, parent?.socket);
  const children = new Children(self, paths.children, scope);
  const family = new Family({
    self,
    registry,
    scope,
    children,
    notify: ({ text, wake }) => controller.notice(text, wake),
    report: (event) => uplink.report(event),
  });
  const output: OutputLimits = {
    defaultMaxBytes: manifest.worker.tool_output.default_max_bytes,
    perTool: manifest.worker.tool_output.per_tool,
  };
  const context: SpawnContext = {
    self,
    cwd,
    registry,
    scope,
    children,
    family,
    limits: {
      maxDepth: manifest.limits.max_depth,
      maxChildren: manifest.limits.max_children,
      readyTimeoutMs: manifest.limits.ready_timeout_ms,
    },
    // Asked anew for each child: the program may be replaced or removed meanwhile.
    get command() {
      return spawnCommand(env);
    },
    env: {
      ...models.childEnvironment,
      INSOMNIA_RUNTIME_DIR: base,
      // Keeps JavaScriptCore from touching heap in advance that an idle Pod never needs (0.7 MiB).
      BUN_JSC_useWarmUpMarkedBlocks: "0",
    },
    store: configuration.store,
    prompts: configuration.promptDirectories,
    maxOutputBytes: outputLimit(output, "ReadPodOutput"),
    models,
    childManifest: (child) => childManifest(configuration, child),
    report: (event) => uplink.report(event),
  };
  const commands = commandsOf(
    { configuration, paths, scope, registry, self, env },
    {
      notify: (text) => controller.notice(text, true),
      warn: (message) => controller.alert("warn", "pod", message),
    },
  );
  const tools = [
    ...fileTools({
      scope,
      cwd,
      globalExcludes: () => globalExcludesFile({ home: env.HOME, config: env.XDG_CONFIG_HOME }),
    }),
    ...bashTools(commands.session),
    spawnPodTool(context),
    sendToPodTool(context),
    readPodOutputTool(context),
    stopPodTool(context),
    listPodsTool(context),
  ];

  const listeners = new Set<(event: Event) => void>();
  let server: PodServer | undefined;
  const broadcast = (event: Event): void => {
    server?.broadcast(event);
    for (const listener of listeners) listener(event);
  };
  const history = new History();
  const outputs = new ToolOutputFiles(paths.directory, scope);
  const files = new RuntimeFiles(paths, self.name, self.instance);
  const readable = new ScopedFiles(scope);
  const turns = { current: 0 };
  const system = systemPrompt(configuration, scope, tools, (message) =>
    controller.alert("warn", "agents_md", message),
  );
  const ended = Promise.withResolvers<EndReason>();
  let reason: EndReason | undefined;
  const controller = new Controller({
    self,
    session,
    history,
    files,
    greeting: () => greetingOf(configuration, self, scope, tools),
    broadcast,
    runTurns: async (signal) => {
      await commands.announce();
      return await runTurns(
        {
          model: model.stream,
          tools,
          history,
          system,
          options: requestOptions(manifest),
          maxTurns: manifest.worker.max_turns,
          output,
          news: () => newBoundaries(system, history, scope),
          takeNotices: () => controller.takeNotices(),
          emit: (event) => controller.publish(event),
          turns,
          spill: (_callId, content) => outputs.keep(content),
          interrupted: prompts.render("interrupt_tool_result_summary"),
        },
        signal,
      );
    },
    attach: (segments, warn) =>
      attachmentsFor(
        segments,
        async (path) => (await readable.read(absolute(path, cwd))).bytes,
        warn,
      ),
    childEvent: (event) => family.handle(event),
    report: (event) => uplink.report(event),
    unreported: () => uplink.waiting,
    finish: () => void leave(),
    wrapNotice: (message) => prompts.render("notify_wrapper", { message }),
  });

  if (manifest.compaction !== undefined) {
    controller.alert("warn", "compactor", "[compaction] has no effect yet in this version");
  }
  files.writeStatic(await renderManifest(manifest));
  files.writeStatus("idle", session);
  files.writeHistory([]);
  server = listenPrivately({
    path: paths.socket,
    handlers: {
      onOpen: (connection) => controller.opened(connection),
      onMethod: (connection, method) => controller.handle(connection, method),
    },
  });

  for (const { name, scope: held } of family.apply(membership.heirs)) {
    const text = `Pod \`${name}\`, which an earlier run of yours had spawned, lives on and keeps ${describeRules(held)}.`;
    controller.notice(text, false);
  }

  if (parent === undefined) {
    for (const text of surroundingWarnings(env, base)) controller.alert("warn", "pod", text);
  }

  const leave = async (): Promise<void> => {
    family.close();
    // Before anything is given back: nobody may write there any more.
    await commands.close();
    broadcast({ event: "shutdown" });
    uplink.report({ kind: "shut_down", pod_name: self.name, instance: self.instance });
    await Promise.all([uplink.flush(LAST_REPORTS_MS), server?.close({ flushMs: LAST_EVENTS_MS })]);
    try {
      await membership.leave();
    } catch (error) {
      log("error", `could not leave the registry cleanly: ${messageOf(error)}`);
    }
    ended.resolve(reason ?? "client request");
  };

  return {
    self,
    cwd,
    registry,
    controller,
    children,
    isChild: parent !== undefined,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    shutdown: (why) => {
      reason ??= why;
      controller.shutdown();
    },
    ended: ended.promise,
  };
}

/** Not normalised: what `..` means is for the scope check to decide. */
function absolute(path: string, cwd: string): string {
  return path.startsWith("/") ? path : `${cwd}/${path}`;
}
