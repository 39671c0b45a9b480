/**
 * A scripted tree of three levels is killed with SIGKILL at random moments, whole or in part, also
 * while it comes back, and brought back with `pod resume --tree`, again and again in the same world.
 * `POD_FUZZ=1` does it 200 times, otherwise a few; `POD_SEED` decides whom it hits and when.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isReservation } from "../../src/registry/allocation.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { generator } from "../registry/random.ts";
import { eventually, startWorld, type World } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";
import {
  command,
  FULL,
  give,
  hasFinished,
  kill,
  noticesOf,
  readSession,
  resume,
  resumeAndKill,
  runToEnd,
  SEED,
  sessionFile,
  settled,
  userTexts,
  WAIT_MS,
} from "./killing.ts";

const ROUNDS = FULL ? 200 : 6;
const TREE = ["root", "mid", "leaf"] as const;
/** Latest moment of a kill after the work was given out. */
const LATEST_MS = 90;
/** Latest moment of a kill after the return was begun. */
const LATEST_RETURN_MS = 250;

const placeOf = (work: string): Record<(typeof TREE)[number], string> => ({
  root: join(work, "own"),
  mid: join(work, "a"),
  leaf: join(work, "a/b"),
});

function rulesFor(work: string): ScenarioRule[] {
  const spawn = (name: string, task: string, target: string) => ({
    tool: "SpawnPod",
    input: { name, task, scope: [{ target, permission: "write" }] },
  });
  const write = (path: string) => ({
    tool: "Write",
    input: { file_path: path, content: "once" },
  });
  const steps = (pod: string, place: string): ScenarioRule[] => [
    // Two calls in one answer, a third one in the next.
    {
      pod,
      match: "^step (\\w+)$",
      text: "I begin with two of three.",
      chunk_delay_ms: 2,
      calls: [write(join(place, "$1-1")), write(join(place, "$1-2"))],
    },
    { pod, match: "Created \\S*/(\\w+)-2 ", calls: [write(join(place, "$1-3"))] },
  ];
  const place = placeOf(work);
  return [
    // First: what stands before it in the conversation must not lead to new steps.
    { match: "^ping \\d+$", text: "pong" },
    { pod: "root", match: "^go$", calls: [spawn("mid", "build", place.mid)] },
    { pod: "mid", match: "^build$", calls: [spawn("leaf", "rest", place.leaf)] },
    { pod: "root", match: "^extra (\\w+)$", calls: [spawn("x-$1", "step $1", join(work, "x/$1"))] },
    { pod: "root", match: "^drop (\\S+)$", calls: [{ tool: "StopPod", input: { name: "$1" } }] },
    ...TREE.flatMap((pod) => steps(pod, place[pod])),
    ...steps("x-*", join(work, "x")),
    { text: "that is all", chunk_delay_ms: 1 },
  ];
}

/** The files that steps have written, by their name. */
function written(work: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const directory of [...Object.values(placeOf(work)), join(work, "x")]) {
    for (const name of readdirSync(directory)) {
      if (/-\d$/.test(name)) files.set(name, join(directory, name));
    }
  }
  return files;
}

/** Ids of all notices that this child finished a turn, whoever was its parent then. */
function finishedTurns(world: World, child: string): Set<string> {
  const words = `Pod \`${child}\` finished a turn.`;
  return new Set(
    TREE.flatMap((name) =>
      noticesOf(readSession(world, world.allocation(name)?.session_id ?? ""), words),
    ),
  );
}

test(
  `a tree killed at ${ROUNDS} random moments comes back: sessions intact, nothing lost or run twice, every scope once`,
  async () => {
    const random = generator(SEED);
    await using world = startWorld();
    const { work } = world;
    const place = placeOf(work);
    for (const directory of [...Object.values(place), join(work, "x")]) {
      mkdirSync(directory, { recursive: true });
    }
    await world.start({ command, rules: rulesFor(work) });
    await give(world, "root", "go");
    await eventually(() => world.allocation("leaf")?.session_id != null, "the whole tree", WAIT_MS);
    await settled(world);

    const counts = {
      all: 0,
      taken: 0,
      twice: 0,
      cutCalls: 0,
      ranUnanswered: 0,
      torn: 0,
      endedKilled: 0,
      alone: 0,
    };
    for (let round = 0; round < ROUNDS; round += 1) {
      const what = `round ${round} of seed ${SEED}`;
      const extra = `e${round}`;
      const working = TREE.filter(() => random() < 0.7);
      const withExtra = random() < 0.35;
      mkdirSync(join(work, "x", extra), { recursive: true });
      const heard = new Map(TREE.map((name) => [name, finishedTurns(world, name)]));
      const given = await Promise.all(
        working.map(async (name) => {
          const text = name === "root" && withExtra ? `extra ${extra}` : `step ${name}r${round}`;
          return { name, text, taken: await give(world, name, text) };
        }),
      );
      // A random moment is what is wanted here: nothing is waited for.
      await Bun.sleep(random() * LATEST_MS);
      const all = random() < 0.5;
      const living = world.registry.peek().filter((entry) => !isReservation(entry));
      const picked = living.filter(() => random() < 0.5);
      const victims = picked.length > 0 ? picked : living.slice(0, 1);
      await kill(world, all ? world.processes() : victims.map(({ pid }) => pid), all);
      const killed = new Set((all ? living : victims).map(({ pod_name }) => pod_name));
      const before = (all ? living : victims).map(({ pod_name, session_id }) => {
        const path = sessionFile(world, session_id ?? "");
        return {
          name: pod_name,
          path,
          bytes: existsSync(path) ? readFileSync(path) : Buffer.alloc(0),
        };
      });
      const tags = given
        .filter(({ name }) => killed.has(name))
        .map(({ name }) => `${name}r${round}`);
      const done = new Map(
        [...written(work)].filter(([name]) => tags.some((tag) => name.startsWith(`${tag}-`))),
      );
      for (const path of done.values()) rmSync(path);
      counts.all += all ? 1 : 0;

      if (all && random() < 0.5) {
        await resumeAndKill(world, random() * LATEST_RETURN_MS);
        counts.twice += 1;
      }
      if (all && round % 2 === 1) {
        // A person brings one of them back first, as a root: the tree takes it in.
        await resume(world, round % 4 === 1 ? ["leaf"] : ["mid"]);
        counts.alone += 1;
      }
      await resume(world);
      await settled(world);
      for (const name of TREE) await runToEnd(world, name, `ping ${round}`);

      // Every scope is there once, with whom it was.
      const table = world.registry.peek().filter(({ pod_name }) => !pod_name.startsWith("x-"));
      const held = table.map((entry) => [
        entry.pod_name,
        entry.delegated_from,
        entry.scope_allow.map(({ target }) => target),
      ]);
      expect([what, held.toSorted()]).toEqual([
        what,
        [
          ["leaf", "mid", [place.leaf]],
          ["mid", "root", [place.mid]],
          ["root", null, [work]],
        ],
      ]);
      // What was acknowledged is in the log, once, and what was not at most once.
      for (const { name, text, taken } of given) {
        const state = readSession(world, world.allocation(name)?.session_id ?? "");
        const found = userTexts(state).filter((other) => other === text).length;
        counts.taken += taken ? 1 : 0;
        if (taken) expect([what, text, found]).toEqual([what, text, 1]);
        else expect([what, text, found <= 1]).toEqual([what, text, true]);
      }
      // A parent hears of every turn that it waits for, once: of the ping, and of the task unless the
      // child was killed before its log had the end of it, in which case it is told of that.
      for (const name of ["mid", "leaf"] as const) {
        const known = heard.get(name) ?? new Set();
        const news = [...finishedTurns(world, name)].filter((id) => !known.has(id)).length;
        const task = given.find((one) => one.name === name);
        const bytes = before.find((one) => one.name === name)?.bytes;
        const ended =
          task === undefined
            ? false
            : bytes === undefined
              ? task.taken
              : hasFinished(bytes, task.text);
        counts.endedKilled += ended && bytes !== undefined ? 1 : 0;
        expect({ what, name, ended, news }).toMatchObject({ news: ended ? 2 : 1 });
      }
      for (const { pod_name, instance, delegated_from: parent } of all ? living : victims) {
        if (parent === null || killed.has(parent) || pod_name.startsWith("x-")) continue;
        const state = readSession(world, world.allocation(parent)?.session_id ?? "");
        const ends = noticesOf(state, `Pod \`${pod_name}\` died unexpectedly`);
        const own = ends.filter((id) => id === `exit:${instance}`);
        expect([what, pod_name, own.length]).toEqual([what, pod_name, 1]);
      }
      // What stood in a log stands there still, and whole lines only were taken for good.
      for (const { name, path, bytes } of before) {
        const good = bytes.subarray(0, bytes.lastIndexOf(10) + 1);
        if (good.length === 0) continue;
        counts.torn += good.length < bytes.length ? 1 : 0;
        const now = readFileSync(path);
        expect([what, name, now.subarray(0, good.length).equals(good)]).toEqual([what, name, true]);
      }
      for (const { pod_name, session_id } of table) {
        const { items } = readSession(world, session_id ?? "");
        expect([what, pod_name, pairingFault(items)]).toEqual([what, pod_name, undefined]);
        const calls = items.filter((item) => item.type === "tool_call");
        const results = new Map(
          items.flatMap((item) =>
            item.type === "tool_result" ? [[item.call_id, item.summary]] : [],
          ),
        );
        // No report was told twice.
        const notices = items.flatMap((item) =>
          item.type === "message" ? (item.notice ?? []) : [],
        );
        expect([what, notices.length]).toEqual([what, new Set(notices).size]);
        // No step was asked for, or called, more often than once.
        const paths = calls.flatMap(({ name, arguments: text }) =>
          name === "Write" ? [(JSON.parse(text) as { file_path: string }).file_path] : [],
        );
        expect([what, paths.length]).toEqual([what, new Set(paths).size]);
        if (!killed.has(pod_name)) continue;
        for (const call of calls) {
          const path = (JSON.parse(call.arguments) as { file_path?: string }).file_path ?? "";
          const file = path.slice(path.lastIndexOf("/") + 1);
          if (!tags.some((tag) => file.startsWith(`${tag}-`))) continue;
          const summary = results.get(call.call_id) ?? "";
          const ran = done.has(file);
          // A recorded success was one, and what ran without one is said to be uncertain.
          if (summary.startsWith("Created")) expect([what, file, ran]).toEqual([what, file, true]);
          else
            expect([what, file, summary]).toEqual([
              what,
              file,
              expect.stringContaining("It may or may not have taken effect"),
            ]);
          counts.cutCalls += summary.startsWith("Created") ? 0 : 1;
          counts.ranUnanswered += ran && !summary.startsWith("Created") ? 1 : 0;
        }
        // Nothing ran that was not recorded before.
        const own = [...done.keys()].filter((file) => file.startsWith(`${pod_name}r`));
        const recorded = new Set(paths.map((path) => path.slice(path.lastIndexOf("/") + 1)));
        expect([what, own.filter((file) => !recorded.has(file))]).toEqual([what, []]);
      }
      // Nothing ran again: what was deleted is still gone.
      const again = [...written(work).keys()].filter((name) =>
        tags.some((tag) => name.startsWith(`${tag}-`)),
      );
      expect([what, again]).toEqual([what, []]);

      // One that was stopped for good does not come back.
      for (const { pod_name } of world.registry.peek()) {
        if (pod_name.startsWith("x-")) await runToEnd(world, "root", `drop ${pod_name}`);
      }
      expect([
        what,
        world.registry
          .peek()
          .map(({ pod_name }) => pod_name)
          .sort(),
      ]).toEqual([what, ["leaf", "mid", "root"]]);
    }
    if (FULL) console.log(`killed ${ROUNDS} times: ${JSON.stringify(counts)}`);
    if (FULL) expect(counts.cutCalls).toBeGreaterThan(0);
  },
  FULL ? 3_000_000 : 120_000,
);
