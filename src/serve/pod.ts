/**
 * Starts one Pod: joins the registry, puts the parts together, shows itself in files and at its socket
 * (spec protocol 8). How it is taken apart again is in `leave.ts`.
 */
import { log } from "../base/log.ts";
import { type Environment, noteDirectories, podPaths, resolveBases } from "../base/paths.ts";
import type { Controller } from "../controller/controller.ts";
import { renderManifest } from "../manifest/render.ts";
import type { Event } from "../protocol/event.ts";
import { Registry } from "../registry/registry.ts";
import { surroundingWarnings } from "../registry/surroundings.ts";
import { hasOpenSockets } from "../sandbox/open-sockets.ts";
import { describeRules } from "../scope/rule.ts";
import type { Children, Spawner } from "../spawn/children.ts";
import { listenPrivately, type PodServer } from "../transport/server.ts";
import type { ComingBack } from "./coming-back.ts";
import { configure, named, type PodOptions } from "./configuration.ts";
import { makeController } from "./conversing.ts";
import { join } from "./join.ts";
import { type EndReason, leaveInOrder, leavingSteps } from "./leave.ts";
import { makeParts, type Origins } from "./parts.ts";
import { resumeRecording } from "./recording.ts";

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
  /** The file that is its log from now on, when whoever started it only hears of its start. */
  readonly log: string | undefined;
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
      return await assemble({ configuration, registry, membership, env }, options);
    } catch (error) {
      await membership.leave();
      throw named("failed to start pod controller", error);
    }
  } catch (error) {
    restored?.log.close();
    throw error;
  }
}

/** What a listener makes of an event is its own affair: the Pod goes on, and ends, all the same. */
function tell(listener: (event: Event) => void, event: Event): void {
  try {
    listener(event);
  } catch (error) {
    log("error", `an event (${event.event}) could not be shown`, error);
  }
}

async function assemble(origins: Origins, options: PodOptions): Promise<RunningPod> {
  const { configuration, registry, membership } = origins;
  const { manifest, cwd, base, parent, restored } = configuration;
  const listeners = new Set<(event: Event) => void>();
  let server: PodServer | undefined;
  const broadcast = (event: Event): void => {
    server?.broadcast(event);
    for (const listener of listeners) tell(listener, event);
  };
  const ended = Promise.withResolvers<EndReason>();
  let reason: EndReason | undefined;
  const why = (): EndReason => reason ?? "client request";
  const parts = makeParts(origins, () => controller);
  const { self, session, mailbox, uplink, children, family, files, recording } = parts;
  // Loaded by those that need it: most Pods are new and stay with the children they have.
  let reviver: Promise<ComingBack> | undefined;
  const comingBack = (): Promise<ComingBack> =>
    (reviver ??= import("./coming-back.ts").then(
      ({ ComingBack: Made }) => new Made(parts.context, restored),
    ));
  const back = restored === undefined ? undefined : await comingBack();
  const controller: Controller = makeController({
    configuration,
    parts,
    back,
    comingBack,
    broadcast,
    finish: () => {
      void (async () => {
        // Who is brought back from now on would be left behind; also one that is still being loaded for that.
        await (await reviver?.catch(() => undefined))?.close();
        await leaveInOrder(leavingSteps({ ...parts, server }, why, broadcast));
        ended.resolve(why());
      })();
    },
  });
  parts.tellTroubles();

  // Whoever finds the socket finds these files too (spec protocol 8.1, 8.2).
  files.writeStatic(await renderManifest(manifest));
  await resumeRecording(recording, configuration, (level, message) =>
    controller.alert(level, "pod", message),
  );
  for (const text of back?.apart ?? []) controller.alert("warn", "pod", text);
  files.writeStatus(controller.phase, session);
  files.writeHistory(recording.history.items);
  server = listenPrivately({
    path: self.socket,
    hearsGone: () => !hasOpenSockets(noteDirectories(base, resolveBases(origins.env))),
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
    for (const text of surroundingWarnings(origins.env, base))
      controller.alert("warn", "pod", text);
  }

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
    log:
      parent === undefined && options.recorded !== undefined
        ? podPaths(base, self.name).stderr
        : undefined,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    shutdown: (cause) => {
      reason ??= cause;
      controller.shutdown();
    },
    ended: ended.promise,
  };
}
