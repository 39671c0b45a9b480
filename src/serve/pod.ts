/**
 * Puts one Pod together: joins the registry, makes files, tools and socket (spec protocol 8). How it
 * is taken apart again is in `leave.ts`.
 */
import { lazily } from "../base/lazy.ts";
import { log } from "../base/log.ts";
import type { Environment } from "../base/paths.ts";
import { attachmentsFor } from "../controller/attachments.ts";
import { completionsOf } from "../controller/completions.ts";
import { Controller } from "../controller/controller.ts";
import { INITIAL_STATE, PAUSED_STATE } from "../controller/state.ts";
import { Mailbox } from "../controller/mailbox.ts";
import { RuntimeFiles } from "../controller/runtime-files.ts";
import { Uplink } from "../controller/uplink.ts";
import { renderManifest } from "../manifest/render.ts";
import type { Event } from "../protocol/event.ts";
import type { Membership } from "../registry/membership.ts";
import { Registry } from "../registry/registry.ts";
import { surroundingWarnings } from "../registry/surroundings.ts";
import { earlierSessions, isUnderWay } from "../session/replay.ts";
import { describeRules } from "../scope/rule.ts";
import { Children, type Spawner } from "../spawn/children.ts";
import { listPodsTool, stopPodTool } from "../spawn/control-tools.ts";
import { Family } from "../spawn/family.ts";
import { spawnPodTool } from "../spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../spawn/talk-tools.ts";
import { fileTools } from "../tools/file-tools.ts";
import { globalExcludesFile } from "../tools/git-excludes.ts";
import { LiveScope } from "../tools/live-scope.ts";
import { ScopedFiles } from "../tools/scoped-fs.ts";
import { bashTools } from "../tools/shell/bash.ts";
import { FileTracker } from "../tools/tracker.ts";
import { listenPrivately, type PodServer } from "../transport/server.ts";
import { runTurns } from "../worker/loop.ts";
import type { OutputLimits } from "../worker/truncate.ts";
import { commandsOf } from "./commands.ts";
import { type Configuration, configure, named, type PodOptions } from "./configuration.ts";
import { greetingOf, newBoundaries, systemPrompt } from "./settings.ts";
import { join, scopeOf } from "./join.ts";
import { makeCompaction } from "./compacting.ts";
import { type EndReason, leaveInOrder, leavingSteps } from "./leave.ts";
import { makeRecording, parentOf, resumeRecording } from "./recording.ts";
import { spawnContext } from "./spawning.ts";
import { ToolOutputFiles } from "./tool-output.ts";

/** A Pod that listens. */
export interface RunningPod {
  readonly self: Spawner;
  readonly cwd: string;
  /** The registry it is in; one per process. */
  readonly registry: Registry;
  readonly controller: Controller;
  readonly children: Children;
  /** Set when whoever started it waits for its word on standard output. */
  readonly announces: boolean;
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
  const { restored } = configuration;
  const session = restored?.log.id ?? Bun.randomUUIDv7();
  try {
    const membership = await join(configuration, registry, session);
    try {
      return await assemble(configuration, registry, membership, options, env);
    } catch (error) {
      await membership.leave();
      throw named("failed to start pod controller", error);
    }
  } catch (error) {
    restored?.log.close();
    throw error;
  }
}

async function assemble(
  configuration: Configuration,
  registry: Registry,
  membership: Membership,
  options: PodOptions,
  env: Environment,
): Promise<RunningPod> {
  const { manifest, model, cwd, base, parent, restored } = configuration;
  const prompts = configuration.prompts.catalog;
  const { paths, allocation } = membership;
  const session = allocation.session_id ?? "";
  const self: Spawner = {
    name: allocation.pod_name,
    instance: allocation.instance,
    socket: paths.socket,
  };
  const scope = new LiveScope(scopeOf(membership));
  // The mailbox is read before there is a controller that could tell people of it.
  const troubles: string[] = [];
  let tellTrouble = (message: string): void => void troubles.push(message);
  const trouble = (message: string): void => {
    log("warn", message);
    tellTrouble(message);
  };
  const earlier = restored === undefined ? [] : earlierSessions(session, restored.state);
  const mailbox = new Mailbox(configuration.store, session, trouble, earlier);
  const hadParent = parentOf(configuration) !== null;
  const uplink = new Uplink(self, registry, parent?.socket, mailbox, undefined, hadParent);
  const children = new Children(self, paths.children, scope);
  const family = new Family({
    self,
    registry,
    scope,
    children,
    notify: ({ id, text, wake }) => controller.notice(text, wake, id),
    report: (event) => uplink.report(event),
    ended: (end) => recorder.childEnded(end),
  });
  const output: OutputLimits = {
    defaultMaxBytes: manifest.worker.tool_output.default_max_bytes,
    perTool: manifest.worker.tool_output.per_tool,
  };
  const context = spawnContext(configuration, {
    self,
    registry,
    scope,
    children,
    family,
    env,
    output,
    lineage: () => recorder.lineage,
    record: () => recorder,
    report: (event) => uplink.report(event),
  });
  const tracker = new FileTracker();
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
      tracker,
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
  const outputs = new ToolOutputFiles(paths.directory, scope);
  const files = new RuntimeFiles(paths, self.name, self.instance);
  const readable = new ScopedFiles(scope);
  const alert = (level: "warn" | "error", message: string): void =>
    controller.alert(level, "pod", message);
  const recording = makeRecording(configuration, {
    self,
    session,
    scope: scopeOf(membership),
    systemPrompt: systemPrompt(configuration, scope, tools, (message) =>
      controller.alert("warn", "agents_md", message),
    ),
    moved: async (next) => {
      await registry.updateSession(self, next);
      mailbox.follow(next);
      files.writeStatus(controller.phase, next);
    },
    alert,
    tellModel: (text) => controller.notice(text, false),
  });
  const { history, recorder, turns, system } = recording;
  const compaction = makeCompaction({
    configuration,
    recording,
    scope,
    tracker,
    env,
    emit: (event) => controller.publish(event),
    alert: (level, message) => controller.alert(level, "compactor", message),
  });
  // Loaded by those that need it: most Pods are new and stay with the children they have.
  const comingBack = lazily(
    async () => new (await import("./coming-back.ts")).ComingBack(context, restored),
  );
  const back = restored === undefined ? undefined : await comingBack();
  const ended = Promise.withResolvers<EndReason>();
  let reason: EndReason | undefined;
  const controller = new Controller({
    self,
    initial: restored !== undefined && isUnderWay(restored.state) ? PAUSED_STATE : INITIAL_STATE,
    session: () => recorder.session,
    record: {
      begin: async () => {
        await compaction.giveWay();
        await recorder.begin(history);
      },
      settle: recorder.settle,
      end: async (end, abort, report) => {
        await recorder.end(end, abort, uplink.hasParents ? report : undefined);
        if (abort !== "shutdown") compaction.afterRun();
      },
    },
    recordInput: (segments, mark) => recorder.input(segments, mark),
    history,
    ...(restored === undefined ? {} : { typed: restored.state.typed }),
    files,
    mailbox,
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
          options: recording.options,
          maxTurns: manifest.worker.max_turns,
          output,
          news: () => newBoundaries(system, history, scope),
          spill: (_callId, content) => outputs.keep(content),
          interrupted: prompts.render("interrupt_tool_result_summary"),
          takeNotices: (keep) => {
            const notice = back?.takeNotice();
            if (notice !== undefined) controller.notice(notice, false);
            controller.takeNotices(keep);
          },
          emit: (event) => controller.publish(event),
          turns,
          settle: recorder.settle,
          recordEarly: recorder.early,
          recordUsage: (usage, length) => {
            compaction.record(usage, length);
            recorder.usage(usage, length);
          },
          compaction,
        },
        signal,
      );
    },
    attach: (segments, warn, signal) =>
      attachmentsFor(
        segments,
        async (path) => (await readable.read(absolute(path, cwd))).bytes,
        warn,
        signal,
      ),
    complete: (kind, prefix) =>
      completionsOf(kind, prefix, { cwd, mayRead: (path) => scope.accessTo(path) !== "none" }),
    childEvent: (event, id) => family.handle(event, id),
    report: ({ event, id }) => uplink.report(event, id),
    unreported: () => uplink.waiting,
    parentChanged: () => void uplink.parentChanged(),
    compact: () => compaction.request(controller.phase !== "running"),
    revive: async (request) =>
      await (await comingBack()).revive(request, () => controller.resume()),
    finish: () => void leave(),
    interruption: () => ({
      note: prompts.render("interrupt_system_note"),
      result: prompts.render("interrupt_tool_result_summary"),
    }),
    wrapNotice: (message) => prompts.render("notify_wrapper", { message }),
  });
  tellTrouble = (message) => controller.alert("error", "pod", message);
  troubles.forEach(tellTrouble);

  // Whoever finds the socket finds these files too (spec protocol 8.1, 8.2).
  files.writeStatic(await renderManifest(manifest));
  await resumeRecording(recording, configuration, alert);
  for (const text of back?.apart ?? []) alert("warn", text);
  files.writeStatus(controller.phase, session);
  files.writeHistory(history.items);
  server = listenPrivately({
    path: paths.socket,
    handlers: {
      onOpen: (connection) => controller.opened(connection),
      onMethod: (connection, method) => controller.handle(connection, method),
    },
  });

  for (const { name, scope: held } of family.apply(membership.heirs)) {
    const text = `Pod \`${name}\`, which an earlier run of yours had spawned, lives on and keeps ${describeRules(held)}.`;
    // The model of a Pod that came back is told of all its children at once.
    if (restored === undefined) controller.notice(text, false);
  }

  if (parent === undefined) {
    for (const text of surroundingWarnings(env, base)) controller.alert("warn", "pod", text);
  }

  const parts = {
    self,
    family,
    commands,
    compaction,
    recorder,
    mailbox,
    uplink,
    membership,
    server,
  };
  const leave = async (): Promise<void> => {
    const why = (): EndReason => reason ?? "client request";
    await leaveInOrder(leavingSteps(parts, why, broadcast));
    ended.resolve(why());
  };
  // A crash may have come between the input and the mailbox.
  for (const mark of restored?.state.runKeys ?? []) mailbox.see(mark);
  uplink.start(restored?.state.endReport);
  controller.begin();

  return {
    self,
    cwd,
    registry,
    controller,
    children,
    announces: parent !== undefined || options.recorded !== undefined,
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
