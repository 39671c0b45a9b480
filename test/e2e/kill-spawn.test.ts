/**
 * A tree is killed with SIGKILL while it is being spawned, at random moments, and brought back: what
 * a log says was spawned is there, with its task. `POD_FUZZ=1` does it 100 times, otherwise a few;
 * `POD_SEED` decides when.
 */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { SessionState } from "../../src/session/replay.ts";
import { generator } from "../registry/random.ts";
import { startWorld, type World } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";
import {
  command,
  FULL,
  give,
  kill,
  readSession,
  resume,
  runToEnd,
  SEED,
  settled,
  userTexts,
} from "./killing.ts";

const ROUNDS = FULL ? 100 : 4;
/** Latest moment of a kill after the root got its task. */
const LATEST_MS = 400;

function rulesFor(work: string): ScenarioRule[] {
  const spawn = (name: string, task: string, target: string) => ({
    tool: "SpawnPod",
    input: { name, task, scope: [{ target, permission: "write" }] },
  });
  return [
    { match: "^ping$", text: "pong" },
    { pod: "root", match: "^go$", calls: [spawn("mid", "build", join(work, "a"))] },
    { pod: "mid", match: "^build$", calls: [spawn("leaf", "rest", join(work, "a/b"))] },
    { text: "that is all" },
  ];
}

/** Results of calls so far. */
const resultsOf = ({ items }: SessionState): string =>
  items.flatMap((item) => (item.type === "tool_result" ? [item.summary] : [])).join("\n");

function stateOf(world: World, name: string): SessionState | undefined {
  const session = world.allocation(name)?.session_id;
  return session == null ? undefined : readSession(world, session);
}

test(
  `a tree killed at ${ROUNDS} random moments of its making comes back with all that was acknowledged`,
  async () => {
    const random = generator(SEED);
    const counts = { mid: 0, leaf: 0 };
    for (let round = 0; round < ROUNDS; round += 1) {
      const what = `round ${round} of seed ${SEED}`;
      await using world = startWorld();
      mkdirSync(join(world.work, "a/b"), { recursive: true });
      await world.start({ command, rules: rulesFor(world.work) });
      expect([what, await give(world, "root", "go")]).toEqual([what, true]);
      // A random moment is what is wanted here: nothing is waited for.
      await Bun.sleep(random() * LATEST_MS);
      await kill(world, world.processes(), true);
      await resume(world);
      await settled(world);
      for (const [parent, child, task] of [
        ["root", "mid", "build"],
        ["mid", "leaf", "rest"],
      ] as const) {
        const state = stateOf(world, parent);
        if (state === undefined) continue;
        const said = resultsOf(state);
        const there = stateOf(world, child);
        if (said.includes(`spawned pod \`${child}\``)) {
          counts[child] += 1;
          expect([what, child, there === undefined ? [] : userTexts(there)]).toEqual([
            what,
            child,
            [task],
          ]);
        } else if (there === undefined && said !== "") {
          // It is not there, and the parent's model was not told otherwise.
          expect([what, said]).toEqual([what, expect.stringContaining("It may or may not")]);
        }
      }
      const root = stateOf(world, "root");
      expect([what, root === undefined ? [] : userTexts(root)]).toEqual([what, ["go"]]);
      // Nothing of what was under way is in the way.
      await runToEnd(world, "root", "ping");
    }
    if (FULL) console.log(`killed ${ROUNDS} times: ${JSON.stringify(counts)}`);
    if (FULL) expect(counts.leaf).toBeGreaterThan(0);
  },
  FULL ? 1_500_000 : 120_000,
);
