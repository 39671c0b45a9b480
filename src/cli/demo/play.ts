/**
 * `pod demo`: a scripted tree of agents at work, with real processes, scopes, tools and signals. What
 * is shown comes from the Pods, the registry and the disk; what did not happen is said and makes the
 * exit code 1. However it ends, its Pods end with it and its directory is removed.
 */
import { EXIT, messageOf } from "../../base/errors.ts";
import type { Environment } from "../../base/paths.ts";
import type { Streams } from "../output.ts";
import { armLastResort, clearAway, Interruption } from "./end.ts";
import { makePlace, type Place } from "./place.ts";
import { judge, type Observations, spawnTimes } from "./report.ts";
import { Show } from "./show.ts";
import type { Story } from "./story.ts";
import { Screen } from "./view.ts";

/** How much of the scenario's waits is kept: all for a person, little for a pipe. */
const PACE = { terminal: 1, pipe: 0.12 } as const;

/**
 * Plays the demonstration. The exit code is 0 when everything happened as promised, 1 when not,
 * 128+n after a signal, and 0 when the reader of a pipe went away.
 */
export async function playDemo(env: Environment, streams: Streams): Promise<number> {
  const screen = new Screen(streams, env);
  using cut = new Interruption();
  streams.out.onClosed = () => cut.cut(EXIT.done);
  const pace = screen.isTerminal ? PACE.terminal : PACE.pipe;
  const place = makePlace(env, pace);
  const show = new Show(place, screen, cut.signal, pace);
  const net = armLastResort(place, () => show.lead);
  introduce(screen, place);
  let seen: Observations | undefined;
  let failure: unknown;
  try {
    seen = await show.play();
  } catch (error) {
    failure = error;
  }
  show.story.end();
  const interrupted = seen === undefined && cut.signal.aborted;
  if (interrupted) screen.section("Interrupted: stopping all its Pods (once more to force it)");
  const remains = await clearAway(place, show.lead, cut.hurry);
  net.disarm();
  const problems = remains.map((what) => `left behind: ${what}`);
  if (seen !== undefined) {
    const left = [...seen.left, ...remains];
    return await conclude(streams, screen, show.story, place.site, { ...seen, left });
  }
  if (!interrupted) problems.unshift(messageOf(failure));
  if (problems.length > 0) return await complain(streams, problems);
  screen.note("All are stopped and its directory is removed.");
  return cut.exitCode ?? EXIT.failed;
}

function introduce(screen: Screen, { directory }: Place): void {
  screen.note("pod demo: agents build a small site; every agent is a process of its own.", {
    style: "bold",
  });
  screen.note(
    "A script plays the model (no key, no network); all else is real. It happens below " +
      `${directory}, which is removed at the end.`,
  );
  screen.section();
}

/** Shows the files and the verdicts; returns the exit code. */
async function conclude(
  streams: Streams,
  screen: Screen,
  story: Story,
  site: string,
  seen: Observations,
): Promise<number> {
  screen.section("The files they wrote");
  const width = Math.max(0, ...seen.files.map(({ path }) => path.length));
  for (const { path, bytes, firstLine } of seen.files) {
    screen.row(`  ${path.padEnd(width)}  ${`${bytes}`.padStart(4)} bytes  ${firstLine}`);
  }
  screen.section("What you saw");
  const verdicts = judge(story, site, seen);
  for (const { promise, seen: what, problems } of verdicts) {
    const kept = problems.length === 0;
    screen.note(`${kept ? "✓" : "✗"} ${promise}`, { style: kept ? "green" : "red", indent: 2 });
    screen.note(kept ? what : problems.join("; "), { indent: 4 });
  }
  const times = spawnTimes(story).map((ms) => ms.toFixed(0));
  if (times.length > 0) {
    screen.note(`Spawning took ${times.join(", ")} ms, from call to accepted task.`, { indent: 2 });
  }
  const problems = verdicts.flatMap((verdict) => verdict.problems);
  if (problems.length > 0) return await complain(streams, problems);
  screen.section();
  screen.note('Try next, in a project of yours, with your key:  pod run "fix the failing tests"');
  return EXIT.done;
}

async function complain({ err }: Streams, problems: readonly string[]): Promise<number> {
  for (const problem of problems) err.write(`error: the demo failed: ${problem}\n`);
  await err.drain();
  return EXIT.failed;
}
