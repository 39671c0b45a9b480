/** What is said of the end of a run: to clients, as events, and to the parent, as a report. */
import type { Event } from "../protocol/event.ts";
import type { PodId } from "../registry/registry.ts";
import type { RunEnd } from "../worker/loop.ts";
import { END_KEY, type Outgoing } from "./mailbox.ts";
import type { Ending } from "./state.ts";

/** The last events of a run, in their order; the very last is its `run_end`. */
export function endEvents(end: RunEnd, outcome: Ending["outcome"]): Event[] {
  const events: Event[] = [];
  if (outcome === "error" && end.outcome === "error") {
    events.push({ event: "error", data: { code: end.code, message: end.message } });
  } else if (outcome === "cancelled") {
    events.push({ event: "error", data: { code: "internal", message: "Cancelled" } });
  }
  // The reference has no word for an error or a cancel; the key beside says it (W3).
  const result = outcome === "limit_reached" || outcome === "paused" ? outcome : "finished";
  return [...events, { event: "run_end", data: { result, outcome } }];
}

/**
 * What the parent of `self` hears, under the id by which it is known from now on; undefined when it has
 * nothing to hear.
 */
export function endReport(end: RunEnd, { report }: Ending, self: PodId): Outgoing | undefined {
  if (report === undefined) return undefined;
  const sender = { pod_name: self.name, instance: self.instance };
  // Half an answer is none that a parent should take for a whole one.
  const remark = end.outcome === "finished" ? end.remark : undefined;
  return {
    id: `${END_KEY}${crypto.randomUUID()}`,
    event:
      report === "errored" || (report === "turn_ended" && remark !== undefined)
        ? { kind: "errored", ...sender, message: remark ?? errorText(end) }
        : { kind: report, ...sender },
  };
}

function errorText(end: RunEnd): string {
  if (end.outcome === "error") return end.message;
  return "the turn limit (max_turns) was reached";
}
