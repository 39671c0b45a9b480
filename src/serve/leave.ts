/**
 * How a Pod leaves, in an order that loses nothing and gives paths back last (spec protocol 8.4,
 * registry-and-spawn I5, W50). It begins when nothing new is accepted and the run has ended: the
 * controller sees to both. No step can keep the later ones from being done.
 */
import { messageOf } from "../base/errors.ts";
import { log } from "../base/log.ts";
import { settlesWithin } from "../base/process.ts";
import type { Event } from "../protocol/event.ts";
import type { PodServer } from "../transport/server.ts";
import type { Parts } from "./parts.ts";

/** Why a Pod ended. */
export type EndReason = "client request" | "signal";

/** How long the parent has to take the last reports, and clients their last events. */
const LAST_REPORTS_MS = 5000;
const LAST_EVENTS_MS = 1000;
/** Limits in milliseconds: for shell commands to end, for the disk to take what is to be recorded. */
interface LeavingLimits {
  readonly commandsMs: number;
  readonly recordMs: number;
}

const LIMITS: LeavingLimits = { commandsMs: 5000, recordMs: 5000 };

/** The steps, in the order in which they are done. Each is called once. */
export interface LeavingSteps {
  /** Ends of children are no news from now on. */
  readonly ignoreChildren: () => void;
  /** Ends what the Pod's tools have started; true when nothing of it can write any more. */
  readonly endCommands: () => Promise<boolean>;
  /** Puts everything on disk that a later process needs. */
  readonly record: () => Promise<void>;
  /** Tells clients and the parent, each within its limit; the socket is gone afterwards. */
  readonly tell: () => Promise<void>;
  /** Closes the files of the session. */
  readonly close: () => Promise<void>;
  /** Removes the directory and gives the allocation back. */
  readonly release: () => Promise<void>;
}

/** What of a Pod has something to end, to tell or to give back; without a socket nobody is told at one. */
type LeavingParts = Pick<
  Parts,
  "self" | "family" | "commands" | "compaction" | "recorder" | "mailbox" | "uplink" | "membership"
> & { readonly server: PodServer | undefined };

/** The steps of a Pod that is made of these parts; `reason` is asked late, `broadcast` reaches its clients. */
export function leavingSteps(
  parts: LeavingParts,
  reason: () => EndReason,
  broadcast: (event: Event) => void,
): LeavingSteps {
  const { self, compaction, mailbox, uplink } = parts;
  return {
    ignoreChildren: () => parts.family.close(),
    endCommands: () => parts.commands.close(),
    record: async () => {
      compaction.close();
      await compaction.settled();
      await parts.recorder.close(reason());
      await mailbox.synced();
    },
    tell: async () => {
      let closed: Promise<void> | undefined;
      try {
        broadcast({ event: "shutdown" });
        uplink.report({ kind: "shut_down", pod_name: self.name, instance: self.instance });
        closed = parts.server?.close({ flushMs: LAST_EVENTS_MS });
        await uplink.flush(LAST_REPORTS_MS);
      } finally {
        // An open socket would keep the process alive for ever.
        await (closed ?? parts.server?.close({ flushMs: LAST_EVENTS_MS }));
      }
    },
    close: () => mailbox.close(),
    release: () => parts.membership.leave(),
  };
}

/** Does all steps; never rejects. */
export async function leaveInOrder(
  steps: LeavingSteps,
  { commandsMs, recordMs }: LeavingLimits = LIMITS,
): Promise<void> {
  await step("children", async () => steps.ignoreChildren());
  let quiet = false;
  await step("commands", async () => {
    const ending = steps.endCommands();
    quiet = (await settlesWithin(ending, commandsMs)) && (await ending);
  });
  await step("record", async () => {
    await settlesWithin(steps.record(), recordMs);
  });
  await step("farewell", steps.tell);
  await step("session", async () => {
    await settlesWithin(steps.close(), recordMs);
  });
  if (quiet) return await step("registry", steps.release);
  // Their keepers end them when this process is gone, and until then they count as this Pod's life.
  log("error", "a shell command could not be ended yet; its paths are given back when it has");
}

async function step(name: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    log("error", `could not leave cleanly (${name}): ${messageOf(error)}`);
  }
}
