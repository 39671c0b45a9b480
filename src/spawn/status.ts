/** Asks a Pod what it is doing. No answer proves nothing; death is proven elsewhere. */
import { isPodError } from "../base/errors.ts";
import type { Event } from "../protocol/event.ts";
import { request } from "../transport/client.ts";

/** What a Pod says of itself. */
export type PodStatus = Extract<Event, { event: "status" }>["data"];

/** Who is asked: a socket, and which run of the name is meant to listen there. */
interface Asked {
  readonly socket: string;
  readonly instance: string;
}

/** The answer of exactly this run of the Pod; undefined when there is none in time. */
export async function statusOf(pod: Asked, timeoutMs: number): Promise<PodStatus | undefined> {
  try {
    const answer = await request(
      pod.socket,
      { method: "status" },
      { timeoutMs, until: (event) => event.event === "status" },
    );
    if (answer.event !== "status" || answer.data.instance !== pod.instance) return undefined;
    return answer.data;
  } catch (error) {
    if (isPodError(error)) return undefined;
    throw error;
  }
}
