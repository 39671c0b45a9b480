/**
 * Proof of death. An allocation is dead when its process is proven gone: by identity (pid, start
 * time, boot), else by its life lock; a reservation also when it has expired (W4, W5, W6, W38). A Pod
 * that was killed is not dead before the shell commands it had started are.
 * Doubt means alive: an unanswered connect is never proof.
 */
import { errnoCode, messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { identityOf, type ProcessIdentity, stateOf } from "../base/process.ts";
import { type Allocation, isReservation, ownerOf } from "./allocation.ts";
import { commandsLive, lifeState } from "./life.ts";

/** True when nothing can act for this allocation any more. `now` is in milliseconds since the epoch. */
export function isDead(base: string, entry: Allocation, now: number): boolean {
  if (hasExpired(entry, now)) return true;
  const owner = ownerOf(entry);
  const state = stateOf(owner);
  if (state === "dead") return isReservation(entry) || !commandsLive(base, entry.pod_name);
  // Pid and start time agree: this is the process that registered.
  if (state === "alive" && owner.start !== null) return false;
  // A reservation's lock belongs to a child that may not have started; it says nothing.
  if (isReservation(entry)) return false;
  // Another kernel's locks may not reach here through a shared file system.
  if (owner.boot !== identityOf(process.pid).boot) return false;
  try {
    return lifeState(base, entry.pod_name) === "free";
  } catch (error) {
    log("warn", `cannot tell whether pod \`${entry.pod_name}\` lives`, messageOf(error));
    return false;
  }
}

/**
 * The cheap half of the proof, a tenth of the cost: sees that there is no such process. Misses a
 * zombie and a pid that went to somebody else. `here` is any identity made by this process.
 */
export function isPlainlyDead(
  base: string,
  entry: Allocation,
  now: number,
  here: ProcessIdentity,
): boolean {
  const { pid, boot, machine, pidNamespace } = ownerOf(entry);
  const local =
    boot === here.boot && machine === here.machine && pidNamespace === here.pidNamespace;
  if (!local || pid <= 0) return isDead(base, entry, now);
  if (hasExpired(entry, now)) return true;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    if (errnoCode(error) !== "ESRCH") return false;
    return isReservation(entry) || !commandsLive(base, entry.pod_name);
  }
}

function hasExpired(entry: Allocation, now: number): boolean {
  return isReservation(entry) && entry.expires_at !== null && now > entry.expires_at;
}
