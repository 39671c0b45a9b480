/**
 * Which faults are tried: each (operation, call, way) once and in an order that `POD_SEED` decides,
 * a part of them by default, all and more with `POD_FUZZ=1`, or one with `POD_FAULT`.
 */
import { generator } from "../registry/random.ts";
import type { Call, Fault } from "../support/tracer/protocol.ts";

export const FUZZ = process.env.POD_FUZZ === "1";
export const SEED = Number(process.env.POD_SEED ?? 1);

/** One fault to try. */
export interface Choice {
  readonly operation: string;
  readonly fault: Fault;
  /** The call as it was when nothing went wrong. */
  readonly call: Call;
}

/** `registry/join:3:after (rename /run/pods.json)`: what to set `POD_FAULT` to, and what it means. */
export function describe({ operation, fault, call }: Choice): string {
  return `POD_FAULT=${operation}:${fault.index}:${fault.how} (${call.name} ${call.path})`;
}

/** Everything that can be tried, from what each operation does when nothing goes wrong. */
export function allChoices(
  recorded: ReadonlyMap<string, readonly Call[]>,
  ways: (call: Call) => readonly Fault["how"][],
): Choice[] {
  const all: Choice[] = [];
  for (const [operation, calls] of recorded) {
    for (const [index, call] of calls.entries()) {
      for (const how of ways(call)) all.push({ operation, fault: { index, how }, call });
    }
  }
  return all;
}

/**
 * The choices of this run, in the seed's order: `some` of them by default, spread over the
 * operations, and at least `atLeast` with `POD_FUZZ`, which begins again when all were tried.
 */
export function choose(all: readonly Choice[], some: number, atLeast: number): Choice[] {
  const wanted = process.env.POD_FAULT;
  if (wanted !== undefined) {
    // Other files have other operations; but a call of ours that does not exist is a mistake.
    const ours = all.filter(({ operation }) => wanted.startsWith(`${operation}:`));
    const chosen = ours.filter(({ operation, fault }) =>
      wanted.startsWith(`${operation}:${fault.index}:${fault.how}`),
    );
    if (ours.length > 0 && chosen.length === 0) throw new Error(`no such fault: ${wanted}`);
    return chosen;
  }
  const random = generator(SEED);
  const shuffled = all
    .map((choice) => ({ choice, key: random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ choice }) => choice);
  if (FUZZ) {
    const chosen = [...shuffled];
    while (chosen.length < atLeast && all.length > 0) {
      const again = all[Math.floor(random() * all.length)];
      if (again !== undefined) chosen.push(again);
    }
    return chosen;
  }
  // One of each operation in turn, so that a small number still touches each.
  const piles = new Map<string, Choice[]>();
  for (const choice of shuffled) {
    piles.set(choice.operation, [...(piles.get(choice.operation) ?? []), choice]);
  }
  const chosen: Choice[] = [];
  while (chosen.length < Math.min(some, all.length)) {
    for (const pile of piles.values()) {
      const next = pile.shift();
      if (next !== undefined && chosen.length < some) chosen.push(next);
    }
  }
  return chosen;
}

/**
 * Tries every choice, two at a time; collects what failed, with what replays it, and throws all of
 * it at the end. `lane` is made once for each of the two.
 */
export async function tryAll<Lane extends AsyncDisposable & { reset?(): Promise<void> }>(
  choices: readonly Choice[],
  lane: () => Promise<Lane> | Lane,
  attempt: (choice: Choice, lane: Lane) => Promise<void>,
): Promise<void> {
  const queue = [...choices];
  const failures: string[] = [];
  const work = async (): Promise<void> => {
    await using own = await lane();
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        await attempt(next, own);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        await own.reset?.();
        failures.push(`POD_SEED=${SEED} ${describe(next)}: ${why}`);
      }
      if (failures.length >= MAX_FAILURES) return;
    }
  };
  await Promise.all([work(), work()]);
  if (failures.length > 0) throw new Error(`${failures.length} failed:\n${failures.join("\n")}`);
}

/** After so many the rest is not tried: they tend to have one cause. */
const MAX_FAILURES = 20;
