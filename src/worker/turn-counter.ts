/**
 * Where a session stands between its runs: the number of its next turn, and calls that wait to be executed.
 * One per Pod; runs change it, the record of the session keeps its number.
 */
import type { PlannedCall } from "./fold.ts";

/** Number of the next turn, 0-based over the session; a turn that fails or is cancelled keeps it. */
export interface TurnCounter {
  current: number;
  /** Calls that a hook holds back, nothing of whose response has run: a run that goes on executes them. */
  held?: readonly PlannedCall[];
}
