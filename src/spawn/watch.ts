/**
 * The watch over a Pod that another process started: its socket's end tells of its end. The kernel wakes
 * us, nothing polls; only after the end-of-file the process is given a bounded time to be gone.
 */
import { log } from "../base/log.ts";
import { idle, type LookPauses, looksUntil, stateOf } from "../base/process.ts";
import { connectPod } from "../transport/client.ts";
import type { ChildRecord } from "./children.ts";

/** Limits of the watch over Pods that another process started. Milliseconds. */
export interface WatchLimits {
  readonly connectMs: number;
  /** How long the end of a watched connection may take to become the end of the process. */
  readonly endMs: number;
  /** First pause before a Pod that lives on is connected to again; it doubles. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
}

const WATCH_LIMITS: WatchLimits = {
  connectMs: 5000,
  endMs: 5000,
  retryMs: 1000,
  maxRetryMs: 60_000,
};

/** Between looks at a Pod whose connection has ended. */
const LOOK_PAUSES: LookPauses = { firstMs: 2, maxMs: 100, keepsAlive: false };

/** How a Pod that another process started has gone: announced, without a word, or out of sight. */
export type Parting = "announced" | "silent" | "unseen";

/**
 * Resolves when the Pod of this record is dead, with how it went; undefined when it is not `isOurs` any
 * more. One that lives on without its connection is connected to again, ever less often.
 */
export async function watchOther(
  record: ChildRecord,
  isOurs: () => boolean,
  limits: WatchLimits = WATCH_LIMITS,
): Promise<Parting | undefined> {
  for (let pause = limits.retryMs; isOurs(); pause = Math.min(pause * 2, limits.maxRetryMs)) {
    const parting = await untilDisconnected(record.socket, limits);
    const isDead = (): boolean => stateOf(record.owner) === "dead";
    if (await looksUntil(isDead, limits.endMs, LOOK_PAUSES)) return parting;
    log("warn", `pod \`${record.name}\` (pid ${record.owner.pid}) lives on unconnected`);
    await idle(pause);
  }
  return undefined;
}

async function untilDisconnected(socket: string, limits: WatchLimits): Promise<Parting> {
  let parting: Parting = "unseen";
  try {
    await using client = await connectPod(socket, { timeoutMs: limits.connectMs });
    client.unref();
    parting = "silent";
    // It is ours now, perhaps after it had nobody: what it has to report comes here (W52).
    await client.send({ method: "parent_changed" });
    // All is read: a connection whose events pile up would not notice its end.
    for (;;) {
      const event = await client.next(Number.POSITIVE_INFINITY);
      if (event === undefined) break;
      if (event.event === "shutdown") parting = "announced";
    }
  } catch {
    // Not connectable, or a line that is too long: the process itself is looked at then.
  }
  return parting;
}
