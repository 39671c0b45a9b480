/** Entries of a session log as a recorder makes them: extensions of ours, and the end of a run. Pure. */
import type { Usage } from "../model/model.ts";
import type { Entry } from "../session/entry.ts";
import { CUT_OFF, DOMAIN, type EndReport } from "../session/setup.ts";
import type { RunEnd } from "../worker/loop.ts";
import type { AbortReason } from "./state.ts";

/** Characters of a title. */
const TITLE_CHARACTERS = 200;

/** An entry of ours. */
export function extension(domain: string, payload: unknown, ts: number): Entry {
  return { kind: "extension", ts, domain, payload };
}

/** The first line of what a Pod is told, as its title in lists. */
export function titleOf(text: string): string {
  const line = text.split("\n", 1)[0] ?? "";
  return line.length <= TITLE_CHARACTERS
    ? line
    : `${line.slice(0, TITLE_CHARACTERS).toWellFormed()}…`;
}

/** Tokens of a request that was made with so many items. */
export function usageEntry(usage: Usage, historyLength: number, ts: number): Entry {
  return {
    kind: "llm_usage",
    ts,
    history_len: historyLength,
    input_total_tokens: usage.input ?? 0,
    cache_read_tokens: usage.cacheRead ?? 0,
    cache_write_tokens: usage.cacheWrite ?? 0,
    output_tokens: usage.output ?? 0,
  };
}

/** The end of a run that was told to end for `abort`, after so many requests of the session. */
export function endEntries(
  end: RunEnd,
  abort: AbortReason,
  report: EndReport | undefined,
  { turns, ts }: { readonly turns: number; readonly ts: number },
): Entry[] {
  return [
    // First: a write that is cut short leaves a run without an end, never an end without its report.
    ...(report === undefined ? [] : [extension(DOMAIN.report, report, ts)]),
    { kind: "turn_end", ts, turn_count: turns },
    endEntry(end, abort, ts),
  ];
}

/** The end of a run that was cut off with its process, or by the end of its Pod. */
export function cutOffEntry(ts: number): Entry {
  return { kind: "run_errored", ts, interrupted: true, message: CUT_OFF };
}

/** How a run ended, in the words of spec worker-and-tools 1.7. */
function endEntry(end: RunEnd, abort: AbortReason, ts: number): Entry {
  switch (end.outcome) {
    case "finished":
    case "limit_reached":
      return { kind: "run_completed", ts, interrupted: false, result: end.outcome };
    case "paused":
      return { kind: "run_completed", ts, interrupted: true, result: "paused" };
    case "cancelled":
      if (abort === "pause") {
        return { kind: "run_completed", ts, interrupted: true, result: "paused" };
      }
      if (abort === "shutdown") return cutOffEntry(ts);
      return { kind: "run_errored", ts, interrupted: true, message: "Cancelled" };
    case "error":
      return { kind: "run_errored", ts, interrupted: true, message: end.message };
  }
}
