/**
 * How often a race is run: few rounds in the default run, the full number of issue 3 under
 * `POD_FUZZ=1`. `POD_SEED` decides what varies from round to round, and is told when a round fails.
 */
import { generator } from "../registry/random.ts";

/** True for the full counts. */
export const FULL = process.env.POD_FUZZ === "1";

/** Seed of everything that varies. */
export const SEED = Number(process.env.POD_SEED ?? 1);

/** Number of rounds. */
export function rounds(full: number, reduced: number): number {
  return FULL ? full : reduced;
}

/** Time that a test of many rounds may take. Milliseconds. */
export const LIMIT_MS = FULL ? 900_000 : 120_000;

/** What is drawn from the seed. */
export interface Draw {
  /** A whole number from 0 to `below - 1`. */
  number(below: number): number;
  /** One of the values. */
  of<Value>(values: readonly [Value, ...Value[]]): Value;
}

/** A source of draws of its own; `stream` keeps the tests of one seed apart. */
export function draws(stream: number): Draw {
  const random = generator(SEED * 1009 + stream);
  const number = (below: number): number => Math.floor(random() * below);
  return { number, of: (values) => values[number(values.length)] ?? values[0] };
}

/** Runs `round` `count` times; a failure names the round and the seed. */
export async function eachRound(
  count: number,
  round: (index: number) => Promise<void>,
): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    try {
      await round(index);
    } catch (error) {
      console.error(`round ${index} of ${count} failed, POD_SEED=${SEED}`);
      throw error;
    }
  }
}

/** A span of time that is to end at the same moment as something whose length varies. */
export interface Aim {
  /** The next span, a little off. Milliseconds, 0 or more. */
  next(): number;
  /** Says that the last one was too short or too long: the next one is aimed better. */
  was(outcome: "short" | "long"): void;
}

/**
 * Begins with `first`, scatters by `step` to both sides, and corrects by `step`, twice as much each time
 * that the correction before was in the same direction: a busy machine is slower at once, and by far.
 */
export function aimAt(first: number, step: number, draw: Draw): Aim {
  let span = first;
  let correction = 0;
  return {
    next: () => Math.max(0, Math.round(span - step + draw.number(2 * step + 1))),
    was: (outcome) => {
      const direction = outcome === "short" ? 1 : -1;
      const again = Math.sign(correction) === direction;
      correction = again
        ? Math.sign(correction) * Math.min(Math.abs(correction) * 2, step * 16)
        : step * direction;
      span = Math.max(0, span + correction);
    },
  };
}
