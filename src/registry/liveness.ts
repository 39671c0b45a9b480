/**
 * Proof of death. An allocation is dead when its process is proven gone: by identity (pid, start
 * time, boot), else by its life lock; a reservation also when it has expired (W4, W5, W6, W38).
 * Doubt means alive: an unanswered connect is never proof.
 */
import { stateOf } from "../base/process.ts";
import { type Allocation, isReservation, ownerOf } from "./allocation.ts";
import { lifeState } from "./life.ts";

/** True when nothing can act for this allocation any more. `now` is in milliseconds since the epoch. */
export function isDead(base: string, entry: Allocation, now: number): boolean {
  if (isReservation(entry) && entry.expires_at !== null && now > entry.expires_at) return true;
  const owner = ownerOf(entry);
  const state = stateOf(owner);
  if (state === "dead") return true;
  // Pid and start time agree: this is the process that registered.
  if (state === "alive" && owner.start !== null) return false;
  // A reservation's lock belongs to a child that may not have started; it says nothing.
  if (isReservation(entry)) return false;
  return lifeState(base, entry.pod_name) === "free";
}
