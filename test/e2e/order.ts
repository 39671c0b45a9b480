/** One order to a Pod whose scripted model does with tools what it is told. */
import { isPodError } from "../../src/base/errors.ts";
import type { Event } from "../../src/protocol/event.ts";
import { eventually, type RootPod } from "../support/pod.ts";

/** What a tool said. */
export type ToolResult = Extract<Event, { event: "tool_result" }>["data"];

/** Gives the order, waits for the end of the run that it starts, and returns what the tools of it said. */
export async function order(pod: RootPod, text: string): Promise<ToolResult[]> {
  const before = pod.events.length;
  // A child's notice may have started a run of its own just now.
  await eventually(async () => {
    try {
      await pod.run(text);
      return true;
    } catch (error) {
      if (isPodError(error) && error.data.wire === "already_running") return false;
      throw error;
    }
  }, "an idle pod");
  const since = (): readonly Event[] => pod.events.slice(before);
  await eventually(() => {
    const last = since().findLastIndex((event) => event.event === "tool_result");
    return last >= 0 && since().some(({ event }, at) => at > last && event === "run_end");
  }, `the end of: ${text}`);
  return since().flatMap((event) => (event.event === "tool_result" ? [event.data] : []));
}
