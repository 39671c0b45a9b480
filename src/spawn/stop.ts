/**
 * Ends a Pod for certain: asks, waits, and escalates, with the identity checked before every
 * signal. Says "ended" only on proof of death, of the Pod and of what it started in its group; write
 * access is given back by the caller after that and never before (W50, W51, I5). Used by the StopPod
 * tool and by the commands for people.
 */
import { basename, dirname } from "node:path";
import { podPaths } from "../base/paths.ts";
import { looksUntil, type ProcessIdentity, settlesWithin, stateOf } from "../base/process.ts";
import { isLockHeld } from "../registry/life.ts";
import { deliver } from "../transport/client.ts";
import { clearCommands, clearGroup, signalPod } from "./group.ts";

/** Limits of each step (spec registry-and-spawn W50). */
export interface StopLimits {
  readonly askMs: number;
  readonly termMs: number;
  readonly killMs: number;
}

/** 10 s after asking, 3 s after SIGTERM, 2 s after SIGKILL. */
export const STOP_LIMITS: StopLimits = { askMs: 10_000, termMs: 3000, killMs: 2000 };

/** How long the connection and the acknowledgement of `shutdown` may take. */
const ASK_TIMEOUT_MS = 5000;

/** How long a Pod that cannot be asked is given before it is signalled. */
const UNREACHABLE_PATIENCE_MS = 1000;

/** Who is to end. */
interface StopTarget {
  readonly socket: string;
  readonly owner: ProcessIdentity;
  /** The kernel's report, when it is our own child. */
  readonly exited?: Promise<unknown>;
}

/** `forced`: a signal was needed. `alive`: it, or a command of it, could not be ended; its scope must be kept. */
export type StopResult = "ended" | "forced" | "alive";

/** Ends the Pod; never rejects. */
export async function stopPod(
  target: StopTarget,
  limits: StopLimits = STOP_LIMITS,
): Promise<StopResult> {
  const directory = dirname(target.socket);
  const paths = podPaths(dirname(directory), basename(directory));
  if (stateOf(target.owner) === "dead") {
    // Who has been dead for a while has no group any more: its number may be a stranger's by now.
    return isLockHeld(paths.shellLock) ? "alive" : "ended";
  }
  const result = await endLeader(target, limits);
  if (result === "alive") return "alive";
  const { pid } = target.owner;
  const clear =
    (await clearGroup(pid, limits.killMs)) && (await clearCommands(pid, paths, limits.killMs));
  return clear ? result : "alive";
}

async function endLeader(target: StopTarget, limits: StopLimits): Promise<StopResult> {
  const timeoutMs = Math.min(ASK_TIMEOUT_MS, limits.askMs);
  const asked = deliver(target.socket, { method: "shutdown" }, { timeoutMs });
  // An unreachable Pod may still be alive: failure to ask is not proof of anything.
  const unreachable = await asked.then(
    () => false,
    () => true,
  );
  // Its socket goes before its process does: a Pod that is just ending is not forced.
  const patience = unreachable ? Math.min(UNREACHABLE_PATIENCE_MS, limits.askMs) : limits.askMs;
  if (await diesWithin(target, patience)) return "ended";
  if (await endedBySignal(target, "SIGTERM", limits.termMs)) return "forced";
  if (await endedBySignal(target, "SIGKILL", limits.killMs)) return "forced";
  return "alive";
}

async function endedBySignal(
  target: StopTarget,
  signal: "SIGTERM" | "SIGKILL",
  limitMs: number,
): Promise<boolean> {
  const state = stateOf(target.owner);
  // Another machine's or namespace's pid means a stranger here.
  if (state === "unknown") return false;
  if (state === "alive") {
    signalPod(target.owner.pid, signal);
    // A stopped process hears of SIGTERM only when it goes on.
    signalPod(target.owner.pid, "SIGCONT");
  }
  return await diesWithin(target, limitMs);
}

/** Proof of death within a limit; by looking where the kernel does not report it. */
async function diesWithin(target: StopTarget, limitMs: number): Promise<boolean> {
  const isDead = (): boolean => stateOf(target.owner) === "dead";
  if (target.exited === undefined) return await looksUntil(isDead, limitMs, { firstMs: 2 });
  return (await settlesWithin(target.exited, limitMs)) || isDead();
}
