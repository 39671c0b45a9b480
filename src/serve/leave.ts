/**
 * How a Pod leaves, in an order that loses nothing and gives paths back last (spec protocol 8.4,
 * registry-and-spawn I5, W50). It begins when nothing new is accepted and the run has ended: the
 * controller sees to both. No step can keep the later ones from being done.
 */
import { messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { settlesWithin } from "../base/process.ts";

/** How long the parent has to take the last reports, and clients their last events. */
export const LAST_REPORTS_MS = 5000;
export const LAST_EVENTS_MS = 1000;
/** Limits in milliseconds: for shells to end, for the disk to take what is to be recorded. */
export interface LeavingLimits {
  readonly shellsMs: number;
  readonly recordMs: number;
}

const LIMITS: LeavingLimits = { shellsMs: 5000, recordMs: 5000 };

/** Process groups that the Pod's tools have started and that must not outlive it. */
export interface Shells {
  /** Ends them with a grace; resolves when none is left. */
  end(): Promise<void>;
  /** Kills them at once and without waiting: this process is about to exit. */
  kill(): void;
}

/** For a Pod whose tools start no processes. */
export const NO_SHELLS: Shells = { end: () => Promise.resolve(), kill: () => undefined };

/** The steps, in the order in which they are done. Each is called once. */
export interface LeavingSteps {
  /** Ends of children are no news from now on. */
  readonly ignoreChildren: () => void;
  readonly shells: Shells;
  /** Puts everything on disk that a later process needs. */
  readonly record: () => Promise<void>;
  /** Tells clients and the parent, each within its limit; the socket is gone afterwards. */
  readonly tell: () => Promise<void>;
  /** Closes the files of the session. */
  readonly close: () => Promise<void>;
  /** Removes the directory and gives the allocation back. */
  readonly release: () => Promise<void>;
}

/** Does all steps; never rejects. */
export async function leaveInOrder(
  steps: LeavingSteps,
  { shellsMs, recordMs }: LeavingLimits = LIMITS,
): Promise<void> {
  await step("children", async () => steps.ignoreChildren());
  await step("shells", async () => {
    if (await settlesWithin(steps.shells.end(), shellsMs)) return;
    log("warn", "shells did not end in time and are killed");
    steps.shells.kill();
  });
  await step("record", async () => {
    await settlesWithin(steps.record(), recordMs);
  });
  await step("farewell", steps.tell);
  await step("session", async () => {
    await settlesWithin(steps.close(), recordMs);
  });
  await step("registry", steps.release);
}

async function step(name: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    log("error", `could not leave cleanly (${name}): ${messageOf(error)}`);
  }
}
