/**
 * All shell commands of one Pod: started under its scope of that moment, noted there as writers until
 * nothing of them is left, ended with the Pod. The Pod's directories for them are made when the first is
 * announced.
 */
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { ioError, PodError } from "../../base/errors.ts";
import { tryFlock } from "../../base/libc.ts";
import { log } from "../../base/log.ts";
import type { Environment, PodPaths } from "../../base/paths.ts";
import { settlesWithin } from "../../base/process.ts";
import {
  type Confinement,
  decideConfinement,
  type SandboxPolicy,
} from "../../sandbox/confinement.ts";
import type { KernelSupport } from "../../sandbox/landlock.ts";
import { shellMark } from "../../sandbox/marked-processes.ts";
import { commandScopes } from "../../sandbox/replaceable.ts";
import type { Ruleset } from "../../sandbox/ruleset.ts";
import type { ScopeRule } from "../../scope/rule.ts";
import type { LiveScope } from "../live-scope.ts";
import { ToolError } from "../tool.ts";
import { Ahead } from "./ahead.ts";
import { type RunningCommand, startCommand } from "./command.ts";
import { commandEnvironment } from "./environment.ts";
import { CommandOutput } from "./output.ts";
import { makeRoom, type Room } from "./room.ts";
import { canonicalPaths, planRules } from "./rules.ts";
import { Spills } from "./spills.ts";
import type { ShellPlace } from "./starter.ts";
import { trustedBash } from "./trusted-bash.ts";

/** What the shells of one Pod share. */
export interface ShellDependencies {
  readonly scope: LiveScope;
  /** Where every command starts. */
  readonly cwd: string;
  readonly env: Environment;
  readonly paths: PodPaths;
  /** Directory for the rooms of Pods (room.ts); undefined: the Pod's own runtime directory. */
  readonly rooms?: string | undefined;
  readonly policy: SandboxPolicy;
  readonly support: KernelSupport;
  /** Called before a confined command starts that can use local sockets. */
  readonly opensSockets: () => void;
  /** The command that starts this program; undefined where there is no trampoline. */
  readonly trampoline: () => readonly string[] | undefined;
  /** Directories of the program itself. */
  readonly guarded: readonly string[];
  /** What other Pods may write now. */
  readonly foreign: () => readonly ScopeRule[];
  /** Names of variables with the keys of the Pod's model. */
  readonly secrets: readonly string[];
  /** How long a trampoline waits for the next command, in milliseconds (0: none does); default `AHEAD_MS` (ahead.ts). */
  readonly aheadMs?: number;
}

/** A command that was started. */
export interface Shell {
  readonly command: string;
  /** Milliseconds, `performance.now()`. */
  readonly started: number;
  readonly output: CommandOutput;
  readonly process: RunningCommand;
  /** What it may write; undefined when it is not confined. */
  readonly ruleset: Ruleset | undefined;
  /** Local sockets were closed to it. */
  readonly withoutSockets: boolean;
}

/** Longest command in bytes: the kernel takes 128 KiB for one argument (execve(2)), wrapper included. */
const MAX_COMMAND_BYTES = 100_000;

const LABEL_CHARACTERS = 60;
/** How long the end of a Pod waits for the removal of its temporary files. */
const ROOM_MS = 2000;

/** The commands of a Pod. */
export class Shells {
  readonly confinement: Confinement;
  readonly #deps: ShellDependencies;
  readonly #running = new Set<Shell>();
  readonly #spills = new Spills();
  #lock: number | undefined;
  #room: Room | undefined;
  #count = 0;
  readonly #ahead: Ahead;
  #closed = false;
  /** False for ever once something of a command could not be ended. */
  #clear = true;

  constructor(deps: ShellDependencies) {
    this.#deps = deps;
    this.confinement = decideConfinement(deps.policy, deps.support);
    this.#ahead = new Ahead(deps.aheadMs);
  }

  /** A command is likely to come soon: what can be started ahead of it is. Never throws. */
  prepare(): void {
    if (this.#closed || this.confinement.kind === "refused") return;
    if (this.#deps.trampoline() === undefined) return;
    try {
      this.#ahead.start(() => this.#place(this.#prepare()));
    } catch {
      // The command itself tries again, and says what is wrong.
    }
  }

  /**
   * Starts a command under the scope of this moment. `lasting` ones are not waited for when a part of
   * the scope is to be handed over. Throws `ToolError` when it cannot be started as the manifest wants.
   */
  async start(command: string, lasting: boolean): Promise<Shell> {
    const { confinement } = this;
    if (confinement.kind === "refused") throw new ToolError("execution_failed", confinement.why);
    if (Buffer.byteLength(command) > MAX_COMMAND_BYTES) {
      throw new ToolError(
        "invalid_argument",
        `command is longer than ${MAX_COMMAND_BYTES} bytes; write it to a file and run that`,
      );
    }
    if (command.includes("\0")) {
      throw new ToolError("invalid_argument", "command contains a NUL character");
    }
    return await this.#deps.scope.exclusive(async () => this.#start(command, lasting));
  }

  /** Ends all commands; false when something of one could not be ended. */
  async close(): Promise<boolean> {
    this.#closed = true;
    // A command that is just being started is in there first.
    await this.#deps.scope.exclusive(async () => {});
    const ends = await Promise.all([...this.#running].map((shell) => shell.process.end()));
    await this.#ahead.close();
    if (this.#lock !== undefined) closeSync(this.#lock);
    this.#lock = undefined;
    const room = this.#room?.close().catch((error: unknown) => {
      log("warn", "the temporary files of commands cannot be removed", error);
    });
    this.#room = undefined;
    // What takes longer is left to the next Pod that runs a command.
    if (room !== undefined) await settlesWithin(room, ROOM_MS);
    return this.#clear && ends.every((end) => end.clear);
  }

  #start(command: string, lasting: boolean): Shell {
    if (this.#closed) throw new PodError("cancelled", "the pod is ending");
    const { policy } = this.#deps;
    const shell = this.#findBash();
    const place = this.#place(this.#prepare());
    const { ruleset, kernel, writes } = planRules(
      this.confinement,
      this.#deps,
      this.#here.temporary,
    );
    // Where a key is missing, as in a manifest from another version, nothing is opened by that.
    const filters = policy.mode !== "off" && place.trampoline !== undefined;
    const denyLocalSockets = filters && policy.local_sockets !== "allow";
    if (policy.mode !== "off" && !denyLocalSockets) this.#deps.opensSockets();
    const output = new CommandOutput(() =>
      this.#spills.open(
        this.#here.shellOutput,
        [...this.#running].map((other) => other.output.path),
      ),
    );
    const started = performance.now();
    const process_ = startCommand({
      command,
      shell,
      place,
      waiting: this.#ahead.take(),
      ruleset: kernel,
      denyNetwork: filters && policy.network !== "allow",
      denyLocalSockets,
      sweep: kernel !== undefined && kernel.scoped !== 0 ? "domain" : "group",
      mark: shellMark(process.pid, (this.#count += 1)),
      output,
    });
    const result: Shell = {
      command,
      started,
      output,
      process: process_,
      ruleset,
      withoutSockets: denyLocalSockets,
    };
    this.#running.add(result);
    const ended = process_.ended.then((end) => {
      this.#running.delete(result);
      this.#clear &&= end.clear;
      output.close();
      this.prepare();
      return end.clear;
    });
    this.#deps.scope.addWriter({ scope: writes, label: labelOf(command), lasting, ended });
    return result;
  }

  /** Anew each time: another may be there, and another Pod may hold its directory, after an upgrade for one. */
  #findBash(): string {
    const { env, scope, policy, foreign } = this.#deps;
    const path = env.PATH ?? "/usr/bin:/bin";
    if (this.confinement.kind === "confined") {
      const scopes = commandScopes(scope.given(), policy.write);
      const found = trustedBash(path, scopes, foreign);
      if (found !== undefined) return found;
    }
    const any = Bun.which("bash", { PATH: path });
    if (any === null) {
      throw new ToolError("execution_failed", "spawn bash: there is no bash on PATH");
    }
    if (this.confinement.kind !== "confined" || policy.mode === "warn") return any;
    throw new ToolError(
      "execution_failed",
      "spawn bash: there is no bash, neither in /bin and /usr/bin nor on PATH, that commands could not " +
        "replace, so that nothing they start would be certain to end; leave its directory out of what Pods " +
        'may write (a deny rule of `write`), or set [sandbox] mode = "warn"',
    );
  }

  #place(lock: number): ShellPlace {
    const { cwd, env, paths, policy, secrets, trampoline } = this.#deps;
    const { temporary } = this.#here;
    return {
      cwd,
      env: commandEnvironment(env, { temporary, pass: policy.env, secrets }),
      trampoline: trampoline(),
      lock,
      specPath: join(paths.directory, `.spec-${crypto.randomUUID()}`),
    };
  }

  get #here(): Room {
    if (this.#room === undefined) throw new Error("no room before the first announcement");
    return this.#room;
  }

  /** Directories and lock, made once; returns the lock's descriptor. */
  #prepare(): number {
    const { paths, scope, rooms = join(paths.directory, "room") } = this.#deps;
    if (this.#lock !== undefined) return this.#lock;
    try {
      this.#room ??= makeRoom(rooms);
    } catch (error) {
      throw new PodError("internal", ioError(`create bash output dir in ${rooms}`, error).message);
    }
    const fd = openSync(
      paths.shellLock,
      constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
      0o600,
    );
    if (tryFlock(fd) !== "taken") {
      closeSync(fd);
      throw new PodError("internal", `${paths.shellLock} is locked by another process`);
    }
    this.#lock = fd;
    for (const target of canonicalPaths([this.#here.shellOutput])) {
      scope.addRead({ target, permission: "read", recursive: true });
    }
    return fd;
  }
}

function labelOf(command: string): string {
  const [line = ""] = command.split("\n");
  const characters = [...line];
  return characters.length <= LABEL_CHARACTERS
    ? line
    : `${characters.slice(0, LABEL_CHARACTERS - 3).join("")}...`;
}
