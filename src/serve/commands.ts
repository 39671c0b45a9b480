/**
 * The shell commands of one Pod: made when the first is announced, ended before the Pod leaves. Until then
 * nothing of the sandbox is loaded; only the first run asks the kernel what it can do, for the alert.
 */
import { existsSync } from "node:fs";
import {
  type Environment,
  noteDirectories,
  type PodPaths,
  resolveBases,
  roomsDirectory,
} from "../base/paths.ts";
import { selfCommand } from "../base/process.ts";
import type { Registry } from "../registry/registry.ts";
import { noteOpenSockets } from "../sandbox/open-sockets.ts";
import { writeRules } from "../scope/set.ts";
import type { Spawner } from "../spawn/children.ts";
import type { LiveScope } from "../tools/live-scope.ts";
import type { BashSession } from "../tools/shell/bash-session.ts";
import type { Configuration } from "./configuration.ts";

/** The Pod they belong to. */
interface CommandOwner {
  readonly configuration: Configuration;
  readonly paths: PodPaths;
  readonly scope: LiveScope;
  readonly registry: Registry;
  readonly self: Spawner;
  readonly env: Environment;
}

/** Who is told what. */
interface CommandVoices {
  /** The model: a background command has ended. */
  readonly notify: (text: string) => void;
  /** People: the kernel, or the manifest, confines less than could be. */
  readonly warn: (message: string) => void;
}

/** The commands of a Pod, loaded when needed. */
export interface Commands {
  readonly session: () => BashSession | Promise<BashSession>;
  /** Says once how commands are confined, if there is something to say. */
  announce(): Promise<void>;
  /** Ends all of them; true when nothing that they started can write any more. */
  close(): Promise<boolean>;
}

/** Binds them to their Pod; loads nothing. */
export function commandsOf(owner: CommandOwner, voices: CommandVoices): Commands {
  let made: Promise<BashSession> | undefined;
  let loaded: BashSession | undefined;
  let announced = false;
  return {
    session: () => loaded ?? (made ??= load(owner, voices).then((it) => (loaded = it))),
    announce: async () => {
      if (announced) return;
      announced = true;
      const { confinementAlert, decideConfinement } = await import("../sandbox/confinement.ts");
      const { kernelSupport } = await import("../sandbox/landlock.ts");
      const { sandbox } = owner.configuration.manifest;
      const alert = confinementAlert(decideConfinement(sandbox, kernelSupport()));
      if (alert !== undefined) voices.warn(alert);
      // Once for a family: what children may write, their root may.
      if (owner.configuration.parent !== undefined) return;
      const { commandScopes, isReplaceable } = await import("../sandbox/replaceable.ts");
      const scopes = commandScopes(owner.scope.given(), sandbox.write);
      const program = process.execPath;
      if (existsSync(program) && isReplaceable(program, scopes)) voices.warn(replaceable(program));
    },
    close: async () => made === undefined || (await (await made).close()),
  };
}

const replaceable = (program: string): string =>
  `${program}, this program, lies where its commands may write: what they put there is run by no ` +
  "Pod that lives, but by whoever starts pod the next time";

async function load(owner: CommandOwner, { notify }: CommandVoices): Promise<BashSession> {
  const [{ BashSession }, { Shells }, { kernelSupport }] = await Promise.all([
    import("../tools/shell/bash-session.ts"),
    import("../tools/shell/shells.ts"),
    import("../sandbox/landlock.ts"),
  ]);
  const { configuration, paths, scope, registry, self, env } = owner;
  const { manifest, cwd, guarded, models } = configuration;
  const shells = new Shells({
    scope,
    cwd,
    env,
    paths,
    rooms: roomsDirectory(resolveBases(env)),
    policy: manifest.sandbox,
    support: kernelSupport(),
    opensSockets: () => noteOpenSockets(noteDirectories(configuration.base, resolveBases(env))),
    trampoline: () => (process.platform === "linux" ? selfCommand() : undefined),
    guarded,
    foreign: () =>
      registry
        .peek()
        .filter((entry) => entry.pod_name !== self.name)
        .flatMap((entry) => writeRules(entry.scope_allow)),
    secrets: models.keyVariables,
  });
  return new BashSession(shells, notify);
}
