/**
 * The work behind the `Bash` tools, loaded with the first command: a command from start to the words
 * of its result (spec worker-and-tools 3.9), and the table of those that go on in the background.
 */
import { PodError } from "../../base/errors.ts";
import {
  describeCut,
  describeWritable,
  looksRefused,
  reasonsIn,
} from "../../sandbox/confinement.ts";
import { ToolError, type ToolOutput } from "../tool.ts";
import type { CommandEnd } from "./command.ts";
import type { Shell, Shells } from "./shells.ts";

/** Commands that may run in the background at a time. */
const MAX_BACKGROUND = 16;
/** Background commands that can still be read after their end; the oldest are forgotten. */
const MAX_ENDED = 32;
const SUMMARY_CHARACTERS = 80;
/** A duration from here on is worth a word. */
const SHOWN_DURATION_MS = 1000;

interface Background {
  readonly id: string;
  readonly shell: Shell;
  /** Bytes of output that the model has seen. */
  seen: number;
  end: CommandEnd | undefined;
  endedAfterMs: number;
  /** Ended by the model or with the Pod: no news. */
  killed: boolean;
}

/** The commands of one Pod as its model sees them. */
export class BashSession {
  readonly #shells: Shells;
  readonly #notify: (text: string) => void;
  readonly #table = new Map<string, Background>();
  #last = 0;
  /** Background commands that are being started. */
  #starting = 0;
  #closed = false;

  /** `notify` tells the model about the end of a background command. */
  constructor(shells: Shells, notify: (text: string) => void) {
    this.#shells = shells;
    this.#notify = notify;
  }

  /** A command has been announced. */
  prepare(): void {
    this.#shells.prepare();
  }

  /** Runs a command to its end, its time limit or a cancel. */
  async run(command: string, seconds: number, signal: AbortSignal): Promise<ToolOutput> {
    return await runForeground(await this.#shells.start(command, false), seconds, signal);
  }

  /** Starts a command that goes on. */
  async startBackground(command: string): Promise<ToolOutput> {
    const running = [...this.#table.values()].filter((entry) => entry.end === undefined);
    if (running.length + this.#starting >= MAX_BACKGROUND) {
      throw new ToolError(
        "invalid_argument",
        `${MAX_BACKGROUND} background commands run already; end one with KillBash first`,
      );
    }
    // Calls of one answer come at the same time: the place is taken before anything is waited for.
    this.#starting += 1;
    const entry = await this.#shells
      .start(command, true)
      .then((shell) => this.#keep(shell))
      .finally(() => (this.#starting -= 1));
    return {
      summary: `$ ${firstLine(command)} (running in background as ${entry.id})`,
      content: "Read its output with BashOutput, end it with KillBash; it ends with this Pod.",
    };
  }

  /** What a background command wrote since the last look. */
  read(id: string): ToolOutput {
    const entry = this.#find(id);
    const { output } = entry.shell;
    const { text, skipped } = output.since(entry.seen);
    entry.seen = output.bytes;
    const where = output.where === undefined ? "" : `, ${output.where}`;
    const note = skipped === 0 ? "" : `[${skipped} bytes left out here${where}]\n`;
    const content = note + text;
    return { summary: summaryOf(entry), ...(content === "" ? {} : { content }) };
  }

  /** Ends a background command with all it started. */
  async kill(id: string): Promise<ToolOutput> {
    const entry = this.#find(id);
    if (entry.end !== undefined) return { summary: `already over: ${summaryOf(entry)}` };
    entry.killed = true;
    const end = await entry.shell.process.end();
    if (end.clear) return { summary: `killed ${id}` };
    throw new ToolError("execution_failed", `something of ${id} could not be ended`);
  }

  /** Ends all commands; false when something of one could not be ended. */
  async close(): Promise<boolean> {
    this.#closed = true;
    return await this.#shells.close();
  }

  #keep(shell: Shell): Background {
    const entry: Background = {
      id: `bash_${(this.#last += 1)}`,
      shell,
      seen: 0,
      end: undefined,
      endedAfterMs: 0,
      killed: false,
    };
    this.#table.set(entry.id, entry);
    void shell.process.ended.then((end) => this.#ended(entry, end));
    return entry;
  }

  #ended(entry: Background, end: CommandEnd): void {
    entry.end = end;
    entry.endedAfterMs = performance.now() - entry.shell.started;
    const over = [...this.#table.values()].filter((other) => other.end !== undefined);
    for (const old of over.slice(0, Math.max(0, over.length - MAX_ENDED))) {
      this.#table.delete(old.id);
    }
    if (entry.killed || this.#closed) return;
    this.#notify(
      `Background command \`${entry.id}\` has ended: ${summaryOf(entry)}. ` +
        "Read what it wrote with BashOutput.",
    );
  }

  #find(id: string): Background {
    const entry = this.#table.get(id);
    if (entry !== undefined) return entry;
    const known = [...this.#table.keys()];
    const there = known.length === 0 ? "there is none" : `there are: ${known.join(", ")}`;
    throw new ToolError("invalid_argument", `no background command \`${id}\`; ${there}`);
  }
}

async function runForeground(
  shell: Shell,
  seconds: number,
  signal: AbortSignal,
): Promise<ToolOutput> {
  const { promise: stop, resolve } = Promise.withResolvers<"timeout" | "cancelled">();
  const timer = setTimeout(() => resolve("timeout"), seconds * 1000);
  const onAbort = (): void => resolve("cancelled");
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const first = await Promise.race([shell.process.ended, stop]);
    if (first === "cancelled") {
      await shell.process.end();
      throw new PodError("cancelled", "the run was cancelled; the command was ended");
    }
    const end = first === "timeout" ? await shell.process.end() : first;
    return resultOf(shell, end, first === "timeout" ? seconds : undefined);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

function resultOf(shell: Shell, end: CommandEnd, timedOutAfter: number | undefined): ToolOutput {
  if (end.refusal !== undefined) {
    throw new ToolError("execution_failed", `spawn bash: ${end.refusal}`);
  }
  const duration = performance.now() - shell.started;
  const how =
    timedOutAfter === undefined
      ? describeEnd(end, duration)
      : ` (timed out after ${timedOutAfter}s)`;
  const shown = timedOutAfter === undefined ? shell.output.shown() : shell.output.shownPartial();
  const content = [
    shown?.text,
    end.clear ? undefined : "[something that this command started could not be ended]",
    limitsOf(shell, shown?.text ?? ""),
  ].filter((part) => part !== undefined);
  return {
    summary: `$ ${firstLine(shell.command)}${how}`,
    ...(content.length === 0 ? {} : { content: joinParts(content) }),
  };
}

/** What the model should know of the rules that a command had. */
function limitsOf({ ruleset, withoutSockets }: Shell, output: string): string | undefined {
  const refused = looksRefused(output);
  const texts = [
    ...(ruleset === undefined && !withoutSockets ? [] : reasonsIn(output, withoutSockets)),
    ruleset === undefined ? undefined : refused ? describeWritable(ruleset) : describeCut(ruleset),
  ].filter((text) => text !== undefined);
  return texts.length === 0 ? undefined : `[${texts.join("; ")}]`;
}

/** One part is shown as it is; further ones start on lines of their own. */
function joinParts(parts: readonly string[]): string {
  return parts.reduce((all, part) => (all.endsWith("\n") ? all + part : `${all}\n${part}`));
}

/** `` (exit 7)``, `` (terminated by signal SIGSEGV, 2.5s)``, `` (3.0s)``, or nothing. */
function describeEnd({ code, signal }: CommandEnd, durationMs: number): string {
  const parts = [
    ...(signal === null ? [] : [`terminated by signal ${signal}`]),
    ...(code === null || code === 0 ? [] : [`exit ${code}`]),
    ...(durationMs < SHOWN_DURATION_MS ? [] : [`${(durationMs / 1000).toFixed(1)}s`]),
  ];
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

function summaryOf({ id, shell, end, endedAfterMs, killed }: Background): string {
  const command = `${id} $ ${firstLine(shell.command)}`;
  if (end === undefined) return `${command} (running)`;
  if (end.refusal !== undefined) return `${command} (not started: ${end.refusal})`;
  const how = describeEnd(end, endedAfterMs);
  return `${command}${killed ? " (killed)" : how === "" ? " (exit 0)" : how}`;
}

/** The first line, at most 80 characters (spec 3.9). */
function firstLine(command: string): string {
  const [line = ""] = command.split("\n");
  const characters = [...line];
  if (characters.length <= SUMMARY_CHARACTERS) return line;
  return `${characters.slice(0, SUMMARY_CHARACTERS - 3).join("")}...`;
}
