/**
 * The parts of one Pod that its conversation does not run through: identity, scope, mailbox, children,
 * tools, record. They are made in an order in which each finds what it is made of; whatever needs the
 * controller, which is made of them, asks for it when it is called.
 */
import { log } from "../base/log.ts";
import type { Environment, PodPaths } from "../base/paths.ts";
import type { Compaction } from "../controller/compaction.ts";
import type { Controller } from "../controller/controller.ts";
import { Mailbox } from "../controller/mailbox.ts";
import type { Recorder } from "../controller/recorder.ts";
import { RuntimeFiles } from "../controller/runtime-files.ts";
import { Uplink } from "../controller/uplink.ts";
import type { Membership } from "../registry/membership.ts";
import type { Registry } from "../registry/registry.ts";
import { earlierSessions } from "../session/replay.ts";
import { Children, type Spawner } from "../spawn/children.ts";
import type { SpawnContext } from "../spawn/context.ts";
import { Family } from "../spawn/family.ts";
import { LiveScope } from "../tools/live-scope.ts";
import type { Tool } from "../tools/tool.ts";
import { FileTracker } from "../tools/tracker.ts";
import type { OutputLimits } from "../worker/truncate.ts";
import { type Commands, commandsOf } from "./commands.ts";
import { makeCompaction } from "./compacting.ts";
import type { Configuration } from "./configuration.ts";
import { scopeOf } from "./join.ts";
import { makeRecording, parentOf, type Recording } from "./recording.ts";
import { systemPrompt } from "./settings.ts";
import { spawnContext } from "./spawning.ts";
import { toolsOf } from "./tools.ts";

/** What a Pod is made from: what it was told, and its place in the registry. */
export interface Origins {
  readonly configuration: Configuration;
  readonly registry: Registry;
  readonly membership: Membership;
  readonly env: Environment;
}

/** The parts; one of each in a process. */
export interface Parts {
  readonly self: Spawner;
  readonly paths: PodPaths;
  /** The session it started with. */
  readonly session: string;
  readonly scope: LiveScope;
  readonly membership: Membership;
  readonly mailbox: Mailbox;
  readonly uplink: Uplink;
  readonly children: Children;
  readonly family: Family;
  readonly context: SpawnContext;
  readonly commands: Commands;
  readonly tools: readonly Tool[];
  readonly output: OutputLimits;
  readonly files: RuntimeFiles;
  readonly recording: Recording;
  readonly recorder: Recorder;
  readonly compaction: Compaction;
  /** Hands over what went wrong before there was anybody to tell; from now on it is told at once. */
  readonly tellTroubles: () => void;
}

/** Makes the parts; `controller` must answer as soon as anything of them is used. */
export function makeParts(origins: Origins, controller: () => Controller): Parts {
  const { configuration, registry, membership, env } = origins;
  const { manifest, cwd } = configuration;
  const { paths, allocation } = membership;
  const session = allocation.session_id ?? "";
  const self: Spawner = {
    name: allocation.pod_name,
    instance: allocation.instance,
    socket: paths.socket,
  };
  const alert = (level: "warn" | "error", message: string): void =>
    controller().alert(level, "pod", message);
  const scope = new LiveScope(scopeOf(membership));
  const { mailbox, tellTroubles } = makeMailbox(configuration, session, alert);
  const output: OutputLimits = {
    defaultMaxBytes: manifest.worker.tool_output.default_max_bytes,
    perTool: manifest.worker.tool_output.per_tool,
  };
  const { uplink, children, family, context } = makeRelations(
    origins,
    { self, paths, scope, mailbox, output },
    controller,
    () => recorder,
  );
  const tracker = new FileTracker();
  const commands = commandsOf(
    { configuration, paths, scope, registry, self, env },
    {
      notify: (text) => controller().notice(text, true),
      warn: (message) => alert("warn", message),
    },
  );
  const tools = toolsOf({ cwd, env, scope, tracker, commands, context });
  const files = new RuntimeFiles(paths, self.name, self.instance);
  const recording = makeRecording(configuration, {
    self,
    session,
    scope: scopeOf(membership),
    systemPrompt: systemPrompt(configuration, scope, tools, (message) =>
      controller().alert("warn", "agents_md", message),
    ),
    moved: async (next) => {
      await registry.updateSession(self, next);
      mailbox.follow(next);
      files.writeStatus(controller().phase, next);
    },
    alert,
    tellModel: (text) => controller().notice(text, false),
  });
  const { recorder } = recording;
  const compaction = makeCompaction({
    configuration,
    recording,
    scope,
    tracker,
    env,
    emit: (event) => controller().publish(event),
    alert: (level, message) => controller().alert(level, "compactor", message),
  });
  return {
    self,
    paths,
    session,
    scope,
    membership,
    mailbox,
    uplink,
    children,
    family,
    context,
    commands,
    tools,
    output,
    files,
    recording,
    recorder,
    compaction,
    tellTroubles,
  };
}

/** The mailbox is read before there is a controller that could tell people of it. */
function makeMailbox(
  { store, restored }: Configuration,
  session: string,
  alert: (level: "error", message: string) => void,
): Pick<Parts, "mailbox" | "tellTroubles"> {
  const troubles: string[] = [];
  let tell = (message: string): void => void troubles.push(message);
  const trouble = (message: string): void => {
    log("warn", message);
    tell(message);
  };
  const earlier = restored === undefined ? [] : earlierSessions(session, restored.state);
  return {
    mailbox: new Mailbox(store, session, trouble, earlier),
    tellTroubles: () => {
      tell = (message) => alert("error", message);
      troubles.forEach(tell);
    },
  };
}

/** What binds a Pod to its parent and its children. */
type Relations = Pick<Parts, "uplink" | "children" | "family" | "context">;

/** Makes them; like `controller`, the recorder, whose prompt needs the tools they are for, comes later. */
function makeRelations(
  { configuration, registry, env }: Origins,
  own: Pick<Parts, "self" | "paths" | "scope" | "mailbox" | "output">,
  controller: () => Controller,
  recorder: () => Recorder,
): Relations {
  const { self, paths, scope, mailbox, output } = own;
  const hadParent = parentOf(configuration) !== null;
  const parent = configuration.parent?.socket;
  const uplink = new Uplink(self, registry, parent, mailbox, undefined, hadParent);
  const children = new Children(self, paths.children, scope);
  const family = new Family({
    self,
    registry,
    scope,
    children,
    notify: ({ id, text, wake }) => controller().notice(text, wake, id),
    report: (event) => uplink.report(event),
    inherited: ({ name, instance, scope: held }) => {
      const { starts } = recorder();
      if (starts.some((start) => start.instance === instance)) return;
      const task = "(taken over from a pod that ended)";
      recorder().childStarted({ name, instance, scope: [...held], task, at: Date.now() });
    },
    ended: (end) => recorder().childEnded(end),
  });
  const context = spawnContext(configuration, {
    self,
    registry,
    scope,
    children,
    family,
    env,
    output,
    lineage: () => recorder().lineage,
    record: recorder,
    report: (event) => uplink.report(event),
  });
  return { uplink, children, family, context };
}
