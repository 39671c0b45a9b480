/**
 * One shell command as a process: started through the trampoline, followed to its end, ended as a
 * whole. "Ended" means that nothing of it runs any more and all output is here: the keeper in the
 * shell (wrapper.ts) holds the output open until it has cleared up, and the kernel reports the rest.
 */
import { closeSync, fstatSync, openSync, readSync, unlinkSync } from "node:fs";
import { messageOf, PodError } from "../../base/errors.ts";
import { writeAll } from "../../base/files.ts";
import { makePipe } from "../../base/libc.ts";
import { groupExists, livingMembers, settlesWithin, signalGroup } from "../../base/process.ts";
import { clearMarked } from "../../sandbox/remains.ts";
import { type ConfineSpec, REFUSAL_MARK } from "../../sandbox/spec.ts";
import type { CommandOutput } from "./output.ts";
import { type Sweep, wrapCommand } from "./wrapper.ts";

/** Time between SIGTERM and SIGKILL (W17). */
export const TERM_GRACE_MS = 2000;
/** How long the kernel may take to end what was killed, and the last output to arrive. */
const CLEAR_MS = 3000;
const FIRST_LOOK_MS = 1;
const MAX_LOOK_MS = 50;

/**
 * For a program that lives for milliseconds: no helper threads, no heap in advance (half a millisecond,
 * measured). The trampoline takes all `BUN_*` away again before the shell.
 */
const SHORT_LIVED = {
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_numberOfGCMarkers: "1",
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useWarmUpMarkedBlocks: "0",
} as const;

/** What to run. */
export interface CommandRequest {
  readonly command: string;
  /** Absolute path of bash. */
  readonly shell: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Program and arguments of the trampoline; undefined where there is none (not Linux). */
  readonly trampoline: readonly string[] | undefined;
  readonly ruleset: ConfineSpec["ruleset"];
  readonly denyNetwork: boolean;
  readonly sweep: Sweep;
  /** Descriptor of the Pod's lock for its commands (`shell.lock`). */
  readonly lock: number;
  /** A path that nobody else uses, for the order to the trampoline; it is gone when this returns. */
  readonly specPath: string;
  /** What the command's environment is marked with (sandbox/remains.ts). */
  readonly mark: string;
  readonly output: CommandOutput;
}

/** How the shell ended; `refusal` when it never came to be. */
export interface CommandEnd {
  readonly code: number | null;
  readonly signal: string | null;
  readonly refusal?: string;
  /** False when something of it could not be ended. */
  readonly clear: boolean;
}

/** A running command. */
export interface RunningCommand {
  readonly pid: number;
  /** Resolves when nothing of the command is left; never rejects. */
  readonly ended: Promise<CommandEnd>;
  /** Ends it and all it started: SIGTERM, a grace, SIGKILL. Resolves with its end. */
  end(graceMs?: number): Promise<CommandEnd>;
}

/** Starts a command; throws `spawn_failed` when the shell or its directory is not there. */
export function startCommand(request: CommandRequest): RunningCommand {
  const output = makePipe();
  const control = makePipe();
  const open = [output.write, control.read];
  let spec: number | undefined;
  try {
    const script = wrapCommand(request.command, request.sweep);
    const argv = ["bash", "-c", script];
    if (request.trampoline !== undefined) spec = writeSpec(request, argv);
    const program =
      request.trampoline === undefined
        ? [request.shell, ...argv.slice(1)]
        : [...request.trampoline, "__confine"];
    const child = Bun.spawn(program, {
      cwd: request.cwd,
      env: environmentOf(request),
      stdio: ["ignore", output.write, output.write, control.read, request.lock, spec ?? "ignore"],
      detached: true, // a session of its own: no terminal, and a group that can be signalled
    });
    return new Command(request, child, output.read, control.write, spec);
  } catch (error) {
    closeSync(output.read);
    closeSync(control.write);
    if (spec !== undefined) closeSync(spec);
    throw new PodError("spawn_failed", `spawn bash: ${messageOf(error)}`, { cause: error });
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

function environmentOf({ env, mark, trampoline }: CommandRequest): Record<string, string> {
  if (trampoline !== undefined) return { ...env, ...SHORT_LIVED };
  const [name = "", value = ""] = mark.split("=", 2);
  return { ...env, [name]: value };
}

/** Puts the order into a file that has no name any more when the trampoline reads it. */
function writeSpec(request: CommandRequest, argv: readonly string[]): number {
  const { ruleset } = request;
  const spec: ConfineSpec = {
    parent: process.pid,
    program: request.shell,
    argv,
    mark: request.mark,
    ...(ruleset === undefined ? {} : { ruleset }),
    denyNetwork: request.denyNetwork,
  };
  const fd = openSync(request.specPath, "wx+", 0o600);
  try {
    unlinkSync(request.specPath);
    writeAll(fd, JSON.stringify(spec));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

type Child = Bun.Subprocess;

class Command implements RunningCommand {
  readonly pid: number;
  readonly ended: Promise<CommandEnd>;
  readonly #request: CommandRequest;
  readonly #child: Child;
  #control: number | undefined;
  /** Set once the command is being ended: until when others of its group may still run. */
  #graceEnd: number | undefined;

  constructor(
    request: CommandRequest,
    child: Child,
    output: number,
    control: number,
    spec: number | undefined,
  ) {
    this.#request = request;
    this.#child = child;
    this.#control = control;
    this.pid = child.pid;
    this.ended = this.#follow(output, spec);
  }

  async end(graceMs: number = TERM_GRACE_MS): Promise<CommandEnd> {
    if (this.#graceEnd === undefined) {
      this.#graceEnd = performance.now() + graceMs;
      signalGroup(this.pid, "SIGTERM");
      signalGroup(this.pid, "SIGCONT"); // what is stopped hears of it only then
    }
    if (!(await settlesWithin(this.#child.exited, graceMs))) this.#kill();
    return await this.ended;
  }

  #kill(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      signalGroup(this.pid, "SIGKILL");
    }
  }

  /** Lets the keeper do its work. */
  #release(): void {
    if (this.#control === undefined) return;
    closeSync(this.#control);
    this.#control = undefined;
  }

  async #follow(output: number, spec: number | undefined): Promise<CommandEnd> {
    const reader = Bun.file(output).stream().getReader();
    const drained = this.#drain(reader);
    await this.#child.exited;
    await this.#graceForGroup();
    // Its number is free for others as soon as the group is empty, so this comes first.
    if (this.#request.sweep === "group") signalGroup(this.pid, "SIGKILL");
    this.#release();
    let clear = await settlesWithin(drained, CLEAR_MS);
    if (!clear || this.#request.sweep === "group") {
      clear = await clearMarked(this.#request.mark, CLEAR_MS);
      // Somebody may keep the pipe open for ever; we need not.
      if (!(await settlesWithin(drained, clear ? FIRST_LOOK_MS : 0))) {
        await reader.cancel().catch(() => undefined);
      }
    }
    closeSync(output);
    const refusal = spec === undefined ? undefined : takeRefusal(spec);
    const { exitCode, signalCode } = this.#child;
    return {
      code: signalCode === null ? exitCode : null,
      signal: signalCode === null ? null : String(signalCode),
      clear,
      ...(refusal === undefined ? {} : { refusal }),
    };
  }

  async #drain(reader: {
    read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  }): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || value === undefined) return;
        this.#request.output.add(value);
      }
    } catch {
      // Cancelled.
    }
  }

  /** When it was told to end, what the shell started gets the same time to do so in order. */
  async #graceForGroup(): Promise<void> {
    if (this.#graceEnd === undefined) return;
    for (
      let pause = FIRST_LOOK_MS;
      groupLives(this.pid);
      pause = Math.min(pause * 2, MAX_LOOK_MS)
    ) {
      if (performance.now() >= this.#graceEnd) return;
      await Bun.sleep(pause);
    }
  }
}

function groupLives(leader: number): boolean {
  if (!groupExists(leader)) return false;
  return process.platform !== "linux" || livingMembers(leader).length > 0;
}

/** What the trampoline wrote instead of becoming the shell, if it did. */
function takeRefusal(spec: number): string | undefined {
  try {
    const bytes = Buffer.alloc(fstatSync(spec).size);
    readSync(spec, bytes, 0, bytes.length, 0);
    const text = bytes.toString("utf8");
    return text.startsWith(REFUSAL_MARK) ? text.slice(REFUSAL_MARK.length) : undefined;
  } finally {
    closeSync(spec);
  }
}
