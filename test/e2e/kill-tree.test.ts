/**
 * A scripted tree of three levels is killed with SIGKILL at random moments, whole or in part, and
 * brought back with `pod resume --tree`, again and again in the same world. `POD_FUZZ=1` does it 200
 * times, otherwise a few; `POD_FUZZ_SEED` repeats one sequence.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isPodError } from "../../src/base/errors.ts";
import type { Event, EventName } from "../../src/protocol/event.ts";
import { runMethod, type Method } from "../../src/protocol/method.ts";
import { isReservation } from "../../src/registry/allocation.ts";
import { Replay, type SessionState } from "../../src/session/replay.ts";
import { scanLog, withLog } from "../../src/session/scan.ts";
import { request } from "../../src/transport/client.ts";
import { pairingFault } from "../../src/worker/pairing.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, isRunning, startWorld, type World } from "../support/pod.ts";
import type { ScenarioRule } from "../support/root-pod.ts";

const full = process.env.POD_FUZZ === "1";
const ROUNDS = full ? 200 : 6;
const SEED = Number(process.env.POD_FUZZ_SEED ?? 20_261_125);
const TREE = ["root", "mid", "leaf"] as const;
/** Latest moment of a kill after the work was given out. */
const LATEST_MS = 90;
const WAIT_MS = 30_000;
const command = [podBinary()];

/** A small generator of numbers below 1 that a seed repeats (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

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

function sessionFile(world: World, session: string): string {
  return join(world.home, ".insomnia/sessions", `${session}.jsonl`);
}

/** What a log says; fails when it is not whole. */
function readSession(world: World, session: string): SessionState {
  return withLog(sessionFile(world, session), session, (fd) => {
    const replay = new Replay();
    const end = scanLog(fd, ({ entry }) => replay.add(entry));
    expect(end.kind).toBe("whole");
    return replay.state();
  });
}

async function ask(world: World, name: string, method: Method, until?: EventName): Promise<Event> {
  const socket = world.allocation(name)?.socket ?? "";
  return await request(socket, method, {
    timeoutMs: WAIT_MS,
    ...(until === undefined ? {} : { until: (event) => event.event === until }),
  });
}

async function isAtRest(world: World, name: string): Promise<boolean> {
  const answer = await ask(world, name, { method: "status" }, "status");
  // One whose run was cut off comes back paused.
  return answer.event === "status" && answer.data.state !== "running" && answer.data.pending === 0;
}

/** Everything in the registry is at rest, twice in a row. */
async function settled(world: World): Promise<void> {
  let calm = 0;
  await eventually(
    async () => {
      const { table } = await world.registry.reclaim();
      if (table.some(isReservation)) return false;
      try {
        const states = await Promise.all(table.map(({ pod_name }) => isAtRest(world, pod_name)));
        calm = states.every(Boolean) ? calm + 1 : 0;
      } catch (error) {
        if (!isPodError(error)) throw error;
        calm = 0; // one that is just ending
      }
      return calm >= 2;
    },
    "the tree at rest",
    WAIT_MS,
  );
}

/** Gives a task; a Pod that is busy, or dies at this moment, does not take it. */
async function give(world: World, name: string, text: string): Promise<boolean> {
  try {
    await ask(world, name, runMethod(text));
    return true;
  } catch (error) {
    if (!isPodError(error)) throw error;
    return false;
  }
}

async function runToEnd(world: World, name: string, text: string): Promise<void> {
  await eventually(() => give(world, name, text), `pod ${name} taking "${text}"`, WAIT_MS);
  await settled(world);
}

/** Kills these processes at once, and for "all" whatever they have just started. */
async function kill(world: World, pids: readonly number[], all: boolean): Promise<void> {
  let victims = pids;
  do {
    for (const pid of victims) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // gone already
      }
    }
    await eventually(() => victims.every((pid) => !isRunning(pid)), "the end of the killed");
    victims = all ? world.processes() : [];
  } while (victims.length > 0);
}

async function resume(world: World): Promise<void> {
  const { stdout, stderr, code } = await world.cli("resume", "root", "--tree");
  expect({ code, stderr, stdout }).toMatchObject({ code: 0, stderr: "" });
}

test(
  `a tree killed at ${ROUNDS} random moments comes back: sessions intact, nothing run twice, every scope once`,
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

    const counts = { all: 0, cutCalls: 0, ranUnanswered: 0, torn: 0 };
    for (let round = 0; round < ROUNDS; round += 1) {
      const what = `round ${round} of seed ${SEED}`;
      const extra = `e${round}`;
      const working = TREE.filter(() => random() < 0.7);
      const withExtra = random() < 0.35;
      mkdirSync(join(work, "x", extra), { recursive: true });
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
    if (full) console.log(`killed ${ROUNDS} times: ${JSON.stringify(counts)}`);
    if (full) expect(counts.cutCalls).toBeGreaterThan(0);
  },
  full ? 3_000_000 : 120_000,
);
