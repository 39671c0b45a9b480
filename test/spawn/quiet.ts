/** Whether a real Pod has done all that it was asked for, as its socket says. */
import type { Event } from "../../src/protocol/event.ts";
import { request } from "../../src/transport/client.ts";

/** What a Pod says of itself. */
async function statusOf(socket: string): Promise<Extract<Event, { event: "status" }>["data"]> {
  const until = (event: Event): boolean => event.event === "status";
  const answer = await request(socket, { method: "status" }, { timeoutMs: 5000, until });
  if (answer.event !== "status") throw new Error("no status");
  return answer.data;
}

/** True when it is idle, nothing waits, and it has had this many runs. */
export async function isQuiet(socket: string, runs: number): Promise<boolean> {
  const status = await statusOf(socket);
  return status.state === "idle" && status.pending === 0 && status.runs === runs;
}
