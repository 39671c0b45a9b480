/**
 * All shell commands of one Pod: started under its scope of that moment, noted there as writers until
 * nothing of them is left, ended with the Pod. The Pod's directories for them are made at the first.
 */
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { ioError, PodError } from "../../base/errors.ts";
import { removeFile } from "../../base/files.ts";
import { tryFlock } from "../../base/libc.ts";
import type { Environment, PodPaths } from "../../base/paths.ts";
import {
  type Confinement,
  decideConfinement,
  type SandboxPolicy,
} from "../../sandbox/confinement.ts";
import { fileView } from "../../sandbox/file-view.ts";
import type { KernelSupport } from "../../sandbox/landlock.ts";
import { shellMark } from "../../sandbox/remains.ts";
import { planRuleset, type Ruleset } from "../../sandbox/ruleset.ts";
import type { ConfineSpec } from "../../sandbox/spec.ts";
import { canonicalPath, type ScopeRule } from "../../scope/rule.ts";
import type { Scope } from "../../scope/set.ts";
import type { LiveScope } from "../live-scope.ts";
import { ToolError } from "../tool.ts";
import { type RunningCommand, startCommand } from "./command.ts";
import { commandEnvironment } from "./environment.ts";
import { CommandOutput } from "./output.ts";
import { makeRoom, type Room } from "./room.ts";
import { discard, isWaiting, type ShellPlace, startTrampoline, type Starting } from "./starter.ts";

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
  /** The command that starts this program; undefined where there is no trampoline. */
  readonly trampoline: () => readonly string[] | undefined;
  /** Directories of the program itself. */
  readonly guarded: readonly string[];
  /** What other Pods may write now. */
  readonly foreign: () => readonly ScopeRule[];
  /** Names of variables with the keys of the Pod's model. */
  readonly secrets: readonly string[];
  /** How long a trampoline waits for the next command, in milliseconds (0: none does); default `AHEAD_MS`. */
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
}

/** Longest command in bytes: the kernel takes 128 KiB for one argument (execve(2)), wrapper included. */
const MAX_COMMAND_BYTES = 100_000;

/** Files with long outputs that are kept; then those of commands that are over go, oldest first. */
export const MAX_SPILLS = 32;
/** How long a trampoline waits for the next command; after that a Pod is as it was before. */
const AHEAD_MS = 15_000;
const LABEL_CHARACTERS = 60;

/** The commands of a Pod. */
export class Shells {
  readonly confinement: Confinement;
  readonly #deps: ShellDependencies;
  readonly #running = new Set<Shell>();
  /** Paths of files with long outputs, oldest first. */
  readonly #spills: string[] = [];
  #lock: number | undefined;
  #room: Room | undefined;
  #count = 0;
  /** The trampoline for the next command, while commands come one after the other. */
  #next: { readonly starting: Starting; readonly timer: NodeJS.Timeout } | undefined;
  #closed = false;
  /** False for ever once something of a command could not be ended. */
  #clear = true;

  constructor(deps: ShellDependencies) {
    this.#deps = deps;
    this.confinement = decideConfinement(deps.policy, deps.support);
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
    const next = this.#takeNext();
    if (next !== undefined) {
      discard(next);
      await next.child.exited;
    }
    if (this.#lock !== undefined) closeSync(this.#lock);
    this.#lock = undefined;
    this.#room?.close();
    this.#room = undefined;
    return this.#clear && ends.every((end) => end.clear);
  }

  #start(command: string, lasting: boolean): Shell {
    if (this.#closed) throw new PodError("cancelled", "the pod is ending");
    const { env, policy } = this.#deps;
    const shell = Bun.which("bash", { PATH: env.PATH ?? "/usr/bin:/bin" });
    if (shell === null) {
      throw new ToolError("execution_failed", "spawn bash: there is no bash on PATH");
    }
    const place = this.#place(this.#prepare());
    const { ruleset, kernel, writes } = this.#plan();
    const output = new CommandOutput(() => this.#openSpill());
    const started = performance.now();
    const process_ = startCommand({
      command,
      shell,
      place,
      waiting: this.#takeNext(),
      ruleset: kernel,
      denyNetwork: policy.mode !== "off" && policy.network === "deny",
      sweep: kernel !== undefined && kernel.scoped !== 0 ? "domain" : "group",
      mark: shellMark(process.pid, (this.#count += 1)),
      output,
    });
    const result: Shell = { command, started, output, process: process_, ruleset };
    this.#running.add(result);
    const ended = process_.ended.then((end) => {
      this.#running.delete(result);
      this.#clear &&= end.clear;
      output.close();
      this.#startNext();
      return end.clear;
    });
    this.#deps.scope.addWriter({ scope: writes, label: labelOf(command), lasting, ended });
    return result;
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

  /** Starts the trampoline for a command that is likely to come; without one it ends after a while. */
  #startNext(): void {
    const { aheadMs = AHEAD_MS } = this.#deps;
    if (this.#closed || this.#next !== undefined || this.#lock === undefined) return;
    if (aheadMs === 0) return;
    const place = this.#place(this.#lock);
    if (place.trampoline === undefined) return;
    try {
      const starting = startTrampoline(place, place.trampoline);
      starting.child.unref();
      const timer = setTimeout(() => {
        const unused = this.#takeNext();
        if (unused !== undefined) discard(unused);
      }, aheadMs);
      timer.unref();
      this.#next = { starting, timer };
    } catch {
      // The next command tries itself, and says what is wrong.
    }
  }

  #takeNext(): Starting | undefined {
    if (this.#next === undefined) return undefined;
    const { starting, timer } = this.#next;
    this.#next = undefined;
    clearTimeout(timer);
    if (isWaiting(starting)) return starting;
    discard(starting);
    return undefined;
  }

  #plan(): {
    readonly ruleset: Ruleset | undefined;
    readonly kernel: ConfineSpec["ruleset"];
    readonly writes: Scope;
  } {
    const { scope, policy, guarded, foreign } = this.#deps;
    const now = scope.current();
    if (this.confinement.kind !== "confined") {
      // Whatever it writes: nothing can be handed over while it runs.
      const everything: ScopeRule = { target: "/", permission: "write", recursive: true };
      return { ruleset: undefined, kernel: undefined, writes: { allow: [everything], deny: [] } };
    }
    const { support } = this.confinement;
    const extra = policy.write;
    const ruleset = planRuleset(
      {
        scope: now,
        extra,
        foreign: foreign(),
        guarded: canonical(guarded),
        own: canonical([this.#here.temporary]),
        handled: support.fs,
      },
      fileView,
    );
    const extras = extra.map(
      (target) => ({ target, permission: "write", recursive: true }) as const,
    );
    return {
      ruleset,
      kernel: {
        fs: support.fs,
        net: policy.network === "deny" ? support.net : 0,
        scoped: support.scoped,
        rules: ruleset.rules,
      },
      writes: { allow: [...now.allow, ...extras], deny: now.deny },
    };
  }

  get #here(): Room {
    if (this.#room === undefined) throw new Error("no room before the first command");
    return this.#room;
  }

  /** Directories and lock, at the first command; returns the lock's descriptor. */
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
    for (const target of canonical([this.#here.shellOutput])) {
      scope.addRead({ target, permission: "read", recursive: true });
    }
    return fd;
  }

  /** A Pod that works for weeks must not fill the disk with what nobody reads any more. */
  #forgetSpills(): void {
    const inUse = [...this.#running].map(({ output }) => output.path);
    while (this.#spills.length > MAX_SPILLS) {
      const at = this.#spills.findIndex(
        (path, index) => index < this.#spills.length - 1 && !inUse.includes(path),
      );
      if (at < 0) return;
      for (const path of this.#spills.splice(at, 1)) removeFile(path);
    }
  }

  #openSpill(): { readonly fd: number; readonly path: string } {
    const name = `bash-${crypto.randomUUID().replaceAll("-", "").slice(0, 6)}.log`;
    const path = join(this.#here.shellOutput, name);
    const fd = openSync(path, "wx", 0o600);
    this.#spills.push(path);
    this.#forgetSpills();
    return { fd, path };
  }
}

/** As the kernel sees them; a path that cannot be resolved is left out. */
function canonical(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const result = canonicalPath(path);
    return result.ok ? [result.path] : [];
  });
}

function labelOf(command: string): string {
  const [line = ""] = command.split("\n");
  const characters = [...line];
  return characters.length <= LABEL_CHARACTERS
    ? line
    : `${characters.slice(0, LABEL_CHARACTERS - 3).join("")}...`;
}
