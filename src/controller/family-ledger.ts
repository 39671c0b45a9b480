/**
 * The children of a Pod as its session log knows them: those that were started and have not ended, and
 * the ends of others. Bounded, the newest stay. Writes nothing: it makes the entries that say so.
 */
import type { Entry } from "../session/entry.ts";
import type { SessionState } from "../session/replay.ts";
import {
  type ChildEnd,
  type ChildStart,
  DOMAIN,
  endsStart,
  MAX_CHILD_ENDS,
} from "../session/setup.ts";
import { extension } from "./log-entries.ts";

/** Starts and ends that a log has already. */
type Known = ReadonlySet<ChildStart | ChildEnd>;

/** What one session knows of its Pod's children. */
export class FamilyLedger {
  #starts: readonly ChildStart[];
  #ends: readonly ChildEnd[];

  /** `state` is that of the session that is gone on with. */
  constructor(state?: Pick<SessionState, "childStarts" | "childEnds">) {
    this.#starts = state?.childStarts ?? [];
    this.#ends = state?.childEnds ?? [];
  }

  /** Children that were started and have not ended. */
  get starts(): readonly ChildStart[] {
    return this.#starts;
  }

  /** A child was started. */
  started(start: ChildStart, ts: number): Entry {
    this.#starts = [...this.#starts, start].slice(-MAX_CHILD_ENDS);
    return extension(DOMAIN.childStarted, start, ts);
  }

  /** A child has ended. */
  ended(end: ChildEnd, ts: number): Entry {
    this.#ends = [...this.#ends, end].slice(-MAX_CHILD_ENDS);
    this.#starts = this.#starts.filter((start) => !endsStart(end, start));
    return extension(DOMAIN.childEnded, end, ts);
  }

  /** What it knows now. */
  known(): Known {
    return new Set([...this.#starts, ...this.#ends]);
  }

  /** All that it knows, or what it has learnt since it knew `before`, for a new log. */
  entries(ts: number, before: Known = new Set()): Entry[] {
    const isNew = (one: ChildStart | ChildEnd): boolean => !before.has(one);
    return [
      ...this.#ends.filter(isNew).map((end) => extension(DOMAIN.childEnded, end, ts)),
      ...this.#starts.filter(isNew).map((start) => extension(DOMAIN.childStarted, start, ts)),
    ];
  }
}
