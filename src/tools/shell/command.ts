/**
 * One shell command as a process: started through the trampoline, followed to its end, ended as a
 * whole. "Ended" means that nothing of it runs any more and all output is here: the keeper in the
 * shell (wrapper.ts) holds the output open until it has cleared up, and the kernel reports the rest.
 */
import { closeSync } from "node:fs";
import { messageOf, PodError } from "../../base/errors.ts";
import {
  groupExists,
  livingMembers,
  looksUntil,
  settlesWithin,
  signalGroup,
} from "../../base/process.ts";
import { clearMarked } from "../../sandbox/marked-processes.ts";
import type { ConfineSpec } from "../../sandbox/spec.ts";
import type { CommandOutput } from "./output.ts";
import {
  type Answer,
  discard,
  giveOrder,
  type ShellPlace,
  startDirectly,
  startTrampoline,
  type Starting,
  takeAnswer,
} from "./starter.ts";
import { KEEPER_ARGUMENTS, type Sweep, wrapCommand } from "./wrapper.ts";

/** Time between SIGTERM and SIGKILL (W17). */
const TERM_GRACE_MS = 2000;
/** How long the kernel may take to end what was killed, and the last output to arrive. */
const CLEAR_MS = 3000;
/** How long output that is there already may take to be read. */
const LAST_OUTPUT_MS = 1;

const NO_ANSWER: Answer = { refusal: undefined, keeper: "none" };

/** What to run. */
interface CommandRequest {
  readonly command: string;
  /** Absolute path of bash. */
  readonly shell: string;
  readonly place: ShellPlace;
  /** A trampoline of this place that waits already. */
  readonly waiting: Starting | undefined;
  readonly ruleset: ConfineSpec["ruleset"];
  readonly denyNetwork: boolean;
  readonly denyLocalSockets: boolean;
  readonly sweep: Sweep;
  /** What the command's environment is marked with (sandbox/marked-processes.ts). */
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
  try {
    return new Command(request, begin(request));
  } catch (error) {
    throw new PodError("spawn_failed", `spawn bash: ${messageOf(error)}`, { cause: error });
  }
}

function begin(request: CommandRequest): Starting {
  const { place, ruleset, mark } = request;
  const argv = ["bash", "-c", wrapCommand(request.command, request.sweep)];
  if (place.trampoline === undefined) {
    return startDirectly(place, [request.shell, ...argv.slice(1)], mark);
  }
  const order: ConfineSpec = {
    parent: process.pid,
    cwd: place.cwd,
    program: request.shell,
    argv,
    mark,
    ...(ruleset === undefined ? {} : { ruleset }),
    ...(request.sweep === "domain" ? { keeper: KEEPER_ARGUMENTS } : {}),
    denyNetwork: request.denyNetwork,
    denyLocalSockets: request.denyLocalSockets,
  };
  // One that waited may have been ended by somebody just now: then as if there had been none.
  if (request.waiting !== undefined && tryOrder(request.waiting, order) === undefined) {
    return request.waiting;
  }
  const starting = startTrampoline(place, place.trampoline);
  const failure = tryOrder(starting, order);
  if (failure !== undefined) throw failure;
  return starting;
}

/** Undefined when the order was given; else what went wrong, and the trampoline is let go. */
function tryOrder(starting: Starting, order: ConfineSpec): unknown {
  try {
    giveOrder(starting, order);
    return undefined;
  } catch (error) {
    discard(starting);
    return error;
  }
}

class Command implements RunningCommand {
  readonly pid: number;
  readonly ended: Promise<CommandEnd>;
  readonly #request: CommandRequest;
  readonly #child: Bun.Subprocess;
  #control: number | undefined;
  /** Set once the command is being ended: until when others of its group may still run. */
  #graceEnd: number | undefined;

  constructor(request: CommandRequest, { child, output, control, spec }: Starting) {
    this.#request = request;
    this.#child = child;
    this.#control = control;
    this.pid = child.pid;
    child.ref();
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
    const complete = await settlesWithin(drained, CLEAR_MS);
    const { refusal, keeper } = spec === undefined ? NO_ANSWER : takeAnswer(spec);
    const byDomain = this.#request.sweep === "domain";
    let clear = byDomain && (keeper === "cleared" || (keeper === "none" && complete));
    if (!clear) {
      const none = await clearMarked(this.#request.mark, CLEAR_MS);
      // In a domain only the keeper knows: what has dropped the mark is found by nobody else.
      clear = none && !byDomain;
    }
    // Somebody may keep the pipe open for ever; we need not.
    if (!complete && !(await settlesWithin(drained, clear ? LAST_OUTPUT_MS : 0))) {
      await reader.cancel().catch(() => undefined);
    }
    closeSync(output);
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
    await looksUntil(() => !groupLives(this.pid), this.#graceEnd - performance.now());
  }
}

function groupLives(leader: number): boolean {
  if (!groupExists(leader)) return false;
  return process.platform !== "linux" || livingMembers(leader).length > 0;
}
