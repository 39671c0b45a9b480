/**
 * The processes a Pod leaves or takes along: those of the session that a spawned Pod leads. Signals
 * go to a whole group only where the Pod leads its session, which SpawnPod sees to; a root in
 * somebody's shell shares its group with strangers. Identity is the caller's to check.
 */
import { existsSync } from "node:fs";
import { errnoCode } from "../base/errors.ts";
import type { PodPaths } from "../base/paths.ts";
import { groupExists, livingMembers, looksUntil, readStat, signalGroup } from "../base/process.ts";
import { isLockHeld } from "../registry/life.ts";
import { clearMarked, shellMark } from "../sandbox/marked-processes.ts";

/** Signals a live Pod: with its group when it leads a session of its own, else the process alone. */
export function signalPod(pid: number, signal: NodeJS.Signals): void {
  if (pid <= 1) return;
  const stat = readStat(pid);
  // Without /proc a group of that number is the best evidence there is.
  const leads = stat === null ? groupExists(pid) : stat.session === pid;
  if (leads) return signalGroup(pid, signal);
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoCode(error) !== "ESRCH" && errnoCode(error) !== "EPERM") throw error;
  }
}

/**
 * Kills what is left of the group of a Pod that has just been seen to die, so that nothing of it
 * writes any more. True when nothing is left; false when something survives SIGKILL for `ms`
 * milliseconds. A leader that lives under this number is a stranger, and its group is not touched.
 */
export async function clearGroup(leader: number, ms: number): Promise<boolean> {
  if (leader <= 1) return true;
  return await looksUntil(() => {
    if (!groupExists(leader)) return true;
    if (process.platform === "linux") {
      const members = livingMembers(leader);
      if (members.length === 0 || members.includes(leader)) return true;
    }
    signalGroup(leader, "SIGKILL");
    return false;
  }, ms);
}

/**
 * Waits until the shell commands of a Pod that has just been seen to die are gone, and kills what is
 * left of them: each has a session of its own. They end by themselves at once (tools/shell/wrapper.ts);
 * this makes sure before anybody else may write where they could. `paths` are those of the Pod.
 */
export async function clearCommands(leader: number, paths: PodPaths, ms: number): Promise<boolean> {
  // A Pod that left in order ended its commands before it removed its directory.
  if (leader <= 1 || !existsSync(paths.shellLock)) return true;
  const deadline = performance.now() + ms;
  if (!(await clearMarked(shellMark(leader), ms))) return false;
  // What dropped the mark is its keeper's to end, which holds the lock until it has.
  return await looksUntil(() => !isLockHeld(paths.shellLock), deadline - performance.now());
}
