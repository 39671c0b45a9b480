/**
 * Processes that a Pod's commands left behind, found by the mark in their environment and by the
 * session they are in. The first line of defence is the keeper in each shell (tools/shell), which the
 * kernel lets end everything of its own domain; this is for kernels that cannot, and for the moment
 * after a Pod was killed, when somebody must wait until its commands are gone.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { Environment } from "../base/paths.ts";
import { looksUntil, readStat } from "../base/process.ts";

/** Name of the variable that every command has; its value names the Pod's process and the command. */
const SHELL_MARK = "INSOMNIA_SHELL_OF";

/**
 * The mark of one command of the Pod with this pid, as it stands in the environment; without a number
 * that of all its commands. Pids of live Pods differ.
 */
export function shellMark(podPid: number, command?: number): string {
  return `${SHELL_MARK}=${podPid}${command === undefined ? "" : `.${command}`}`;
}

/** True in the environment of a Pod's command, until it drops the mark. */
export function isCommandOfPod(env: Environment): boolean {
  return env[SHELL_MARK] !== undefined;
}

/** Live processes with the mark. Those of other users cannot be looked at, and are not ours. */
export function markedProcesses(mark: string): number[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && hasMark(pid, mark) && readStat(pid)?.ended === false);
}

function hasMark(pid: number, mark: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
    return environment.some((entry) => entry === mark || entry.startsWith(`${mark}.`));
  } catch {
    return false; // gone, or not ours
  }
}

/** Kills what has the mark until nothing has; false when something is left after `ms` milliseconds. */
export async function clearMarked(mark: string, ms: number): Promise<boolean> {
  return await looksUntil(() => {
    const pids = markedProcesses(mark);
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // gone meanwhile
      }
    }
    return pids.length === 0;
  }, ms);
}
