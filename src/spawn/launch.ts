/**
 * Starts a Pod as a detached process of its own session and waits, without polling, for the first
 * of: ready, exit, time limit, cancel. Knows nothing of the registry; the caller undoes what it
 * reserved. The handshake: the child writes one JSON line to the pipe it has as standard output.
 */
import { messageOf, PodError } from "../base/errors.ts";
import { listedAs, settlesWithin, signalGroup } from "../base/process.ts";
import { clearGroup } from "./group.ts";

/** How a process ended. */
export interface ExitInfo {
  readonly code: number | null;
  readonly signal: string | null;
}

/** `exit code 3`, `signal SIGKILL`: for messages. */
export function describeExit(exit: ExitInfo): string {
  return exit.signal === null ? `exit code ${exit.code ?? "unknown"}` : `signal ${exit.signal}`;
}

/** A started child: its pid leads its own session and process group. */
export interface Launched {
  readonly pid: number;
  /** Resolves when the kernel reports the end; never rejects. */
  readonly exited: Promise<ExitInfo>;
  /**
   * The end of what it wrote to its standard error, trimmed, where that is a pipe; else empty. Waits a
   * moment for the last words, which may come an instant after the end of the process.
   */
  said(): Promise<string>;
  /** Waits for the ready line of this instance. Call once. */
  ready(limits: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<Readiness>;
}

/** What ended the wait for readiness. */
type Readiness =
  | { readonly kind: "ready" }
  | { readonly kind: "exited"; readonly exit: ExitInfo }
  | { readonly kind: "timeout" }
  | { readonly kind: "cancelled" };

/** What to start. */
interface LaunchRequest {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly instance: string;
  /** Open descriptor for the child's standard error, or a pipe that is read until it is ready. */
  readonly stderr: number | "pipe";
}

/** The line by which a child says that its socket accepts; written to standard output. */
export function readyLine(instance: string, socket: string): string {
  return `${JSON.stringify({ ready: { instance, pid: process.pid, socket } })}\n`;
}

/** Most bytes read from a child before its ready line; a child that babbles is not ours. */
const MAX_HANDSHAKE_BYTES = 64 * 1024;

/** Starts the child. Throws `spawn_failed` when the program cannot be started at all. */
export function launch(request: LaunchRequest): Launched {
  const [program = "", ...args] = request.command;
  let child: Bun.Subprocess<"ignore", "pipe", number | "pipe">;
  try {
    child = Bun.spawn([program, ...args], {
      ...listedAs(program),
      cwd: request.cwd,
      env: { ...request.env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: request.stderr,
      detached: true, // setsid: a terminal's Ctrl-C stays away, and the group can be signalled
    });
  } catch (error) {
    throw new PodError("spawn_failed", `failed to spawn \`${program}\`: ${messageOf(error)}`, {
      cause: error,
    });
  }
  child.unref();
  const exited = child.exited.then(
    (): ExitInfo =>
      child.signalCode === null
        ? { code: child.exitCode, signal: null }
        : { code: null, signal: String(child.signalCode) },
    (): ExitInfo => ({ code: null, signal: null }),
  );
  const words =
    child.stderr instanceof ReadableStream ? listenTo(child.stderr.getReader()) : undefined;
  const reader = child.stdout.getReader();
  const line = awaitReadyLine(reader, request.instance);
  return {
    pid: child.pid,
    exited,
    said: async () => (await words?.said()) ?? "",
    ready: async (limits) => {
      try {
        const outcome = await firstOf(line, exited, limits);
        if (outcome.kind !== "exited") words?.stop();
        return outcome;
      } finally {
        // Somebody below the child may hold the other end for ever; we need not hold ours.
        void reader.cancel().catch(() => undefined);
      }
    },
  };
}

/** Characters of a child's last words that are kept, and how long they are waited for. */
const MAX_SAID_CHARACTERS = 4096;
const LAST_WORDS_MS = 100;

/** Reads a stream to its end and keeps the end of it; `said` gives it and lets go of the stream. */
function listenTo(reader: Reader): { said(): Promise<string>; stop(): void } {
  const decoder = new TextDecoder();
  let text = "";
  const ended = (async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || value === undefined) return;
      text = (text + decoder.decode(value, { stream: true })).slice(-MAX_SAID_CHARACTERS);
    }
  })().catch(() => undefined);
  const stop = (): void => void reader.cancel().catch(() => undefined);
  return {
    said: async () => {
      await settlesWithin(ended, LAST_WORDS_MS);
      // Somebody below the child may hold the other end for ever.
      stop();
      return text.trim();
    },
    stop,
  };
}

async function firstOf(
  line: Promise<boolean>,
  exited: Promise<ExitInfo>,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Readiness> {
  const { promise, resolve } = Promise.withResolvers<Readiness>();
  const timer = setTimeout(() => resolve({ kind: "timeout" }), limits.timeoutMs);
  const onAbort = (): void => resolve({ kind: "cancelled" });
  limits.signal.addEventListener("abort", onAbort, { once: true });
  if (limits.signal.aborted) onAbort();
  // End-of-file without a ready line decides nothing: the exit or the limit will.
  void line.then((ready) => ready && resolve({ kind: "ready" }));
  void exited.then((exit) => resolve({ kind: "exited", exit }));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    limits.signal.removeEventListener("abort", onAbort);
  }
}

/** The part of a stream's reader that the handshake needs. */
interface Reader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<unknown>;
}

/** True at the ready line of `instance`; false when the pipe ends or the child babbles. */
async function awaitReadyLine(reader: Reader, instance: string): Promise<boolean> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (let bytes = 0; bytes <= MAX_HANDSHAKE_BYTES;) {
      const { done, value } = await reader.read();
      if (done || value === undefined) return false;
      bytes += value.length;
      text += decoder.decode(value, { stream: true });
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      if (lines.some((line) => isReadyFor(line, instance))) return true;
    }
    return false;
  } catch {
    return false;
  } finally {
    // Lets the pipe go at once, so that neither side keeps the other's descriptor.
    void reader.cancel().catch(() => undefined);
  }
}

function isReadyFor(line: string, instance: string): boolean {
  try {
    const value = JSON.parse(line) as { ready?: { instance?: unknown } } | null;
    return value?.ready?.instance === instance;
  } catch {
    return false;
  }
}

/** Grace given to a group between SIGTERM and SIGKILL, and to the kernel after SIGKILL. */
const TERM_GRACE_MS = 2000;
const KILL_WAIT_MS = 2000;

/**
 * Ends a child of this process with its whole group: SIGTERM, a grace, SIGKILL. True when the
 * leader's end was seen and nothing of its group can run any more.
 */
export async function endGroup(child: Launched, graceMs: number = TERM_GRACE_MS): Promise<boolean> {
  signalGroup(child.pid, "SIGTERM");
  if (!(await settlesWithin(child.exited, graceMs))) {
    signalGroup(child.pid, "SIGKILL");
    if (!(await settlesWithin(child.exited, KILL_WAIT_MS))) return false;
  }
  // Also after a clean end of the leader: members that ignored SIGTERM are in the same group.
  return await clearGroup(child.pid, KILL_WAIT_MS);
}
