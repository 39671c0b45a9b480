/**
 * A Pod as a process: the lines by which others learn that it is ready, and signals. The first
 * SIGINT, SIGTERM, SIGHUP or SIGQUIT ends it like a client's request, the second ends it at once (W49).
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { messageOf } from "../base/errors.ts";
import { duplicateOnto } from "../base/libc.ts";
import { log, moveLog, writeLine } from "../base/log.ts";
import { readyLine } from "../spawn/launch.ts";
import type { RunningPod } from "./pod.ts";

const STDOUT = 1;

/** Gives the process its name back, when it was started by the kernel's link to its file (proc(5), `comm`). */
export function nameProcess(): void {
  try {
    if (readFileSync("/proc/self/comm", "utf8") === "exe\n")
      writeFileSync("/proc/self/comm", "pod");
  } catch {
    // No /proc: it has the name of its file.
  }
}

/** Says that the socket accepts: two lines on standard error, and to a spawner on its pipe. */
export function announceReady(pod: RunningPod): void {
  const { name, socket, instance } = pod.self;
  if (pod.log !== undefined) moveLog(pod.log);
  writeLine(`INSOMNIA-READY\t${name}\t${socket}`);
  writeLine(`pod: ${name} listening on ${JSON.stringify(socket)}`);
  if (!pod.announces) return;
  try {
    writeSync(STDOUT, readyLine(instance, socket));
  } catch (error) {
    log("warn", `the spawner went away before it could be told: ${messageOf(error)}`);
  }
  // The pipe has done its work; whatever is printed from now on goes nowhere.
  const nowhere = openSync("/dev/null", "w");
  duplicateOnto(nowhere, STDOUT);
  closeSync(nowhere);
}

/**
 * Takes what to do on the first signal, and does it at once when that has already come; `force` is
 * called before the second one ends the process.
 */
export type OnFirstSignal = (act: (signal: NodeJS.Signals) => void, force?: () => void) => void;

/**
 * Catches signals from now on, before there is a Pod to end: one that comes while it starts ends it
 * as soon as it has started, so that nothing half-made stays.
 */
export function catchSignals(): OnFirstSignal {
  let first: NodeJS.Signals | undefined;
  let action: ((signal: NodeJS.Signals) => void) | undefined;
  let last: (() => void) | undefined;
  const ignored = ignoredSignals();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
    // `nohup` and shells without job control ask for that.
    if (ignored.has(constants.signals[signal])) continue;
    process.on(signal, () => {
      if (first !== undefined) {
        try {
          last?.();
        } finally {
          process.exit(128 + constants.signals[signal]);
        }
      }
      first = signal;
      action?.(signal);
    });
  }
  return (act, force) => {
    action = act;
    last = force;
    if (first !== undefined) act(first);
  };
}

/** Numbers of the signals that whoever started this process wants ignored (proc(5), `SigIgn`). */
function ignoredSignals(): ReadonlySet<number> {
  let mask = 0n;
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    mask = BigInt(`0x${/^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  } catch {
    // No /proc: none is known.
  }
  const all = Array.from({ length: 64 }, (_, index) => index + 1);
  return new Set(all.filter((number) => ((mask >> BigInt(number - 1)) & 1n) === 1n));
}

/** A broken promise of our own code ends the process with a record of it; the parent sees the exit. */
export function exitOnInternalFailure(): void {
  const fail = (error: unknown): never => {
    log(
      "error",
      `internal failure: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
}
