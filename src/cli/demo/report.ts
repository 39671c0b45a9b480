/**
 * What a demonstration has shown, judged: the figures and the four promises, each from what the Pods,
 * the registry and the disk said. A promise that was not seen kept is said to be broken.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FILES, PODS, TRESPASS } from "./scenario.ts";
import type { Story } from "./story.ts";
import { writtenFile } from "./words.ts";

/** What was measured and seen outside of the story. */
export interface Observations {
  /** Milliseconds from the SIGKILL to the parent's model being told. */
  readonly noticeMs: number;
  /** Who held the file that was refused to the trespasser, as the registry said then. */
  readonly holder: string | undefined;
  /** Milliseconds that stopping the whole tree took. */
  readonly stopMs: number;
  readonly stopped: readonly string[];
  /** Everything that was still there after the last Pod had been stopped. */
  readonly left: readonly string[];
  readonly files: readonly FinalFile[];
}

/** A file of the workspace. */
interface FinalFile {
  readonly path: string;
  readonly bytes: number;
  readonly firstLine: string;
}

/** A promise of the program with what was seen of it, and what was not as it should be. */
interface Verdict {
  readonly promise: string;
  readonly seen: string;
  readonly problems: readonly string[];
}

/** The files below the workspace, in order. */
export function finalFiles(site: string): FinalFile[] {
  return readdirSync(site, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const content = readFileSync(path);
      const [firstLine = ""] = content.toString("utf8").split("\n");
      return { path: path.slice(site.length + 1), bytes: content.length, firstLine };
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Judges the four promises. */
export function judge(story: Story, site: string, seen: Observations): Verdict[] {
  return [
    writesNeverMeet(story, site, seen),
    endIsNeverMissed(story, seen),
    nothingIsLeft(seen),
    everythingCanBeStopped(story, seen),
  ];
}

/** Milliseconds of each spawn, from the SpawnPod call to its result. */
export function spawnTimes(story: Story): number[] {
  return story
    .results(({ tool, isError }) => tool === "SpawnPod" && !isError)
    .flatMap(({ tookMs }) => (tookMs === undefined ? [] : [tookMs]));
}

function writesNeverMeet(story: Story, site: string, seen: Observations): Verdict {
  const problems: string[] = [];
  const writers = new Map<string, string>();
  for (const result of story.results(({ tool }) => tool === "Write")) {
    const file = writtenFile(result, site);
    if (file === undefined) continue;
    const earlier = writers.get(file.path);
    if (earlier !== undefined && earlier !== result.pod) {
      problems.push(`${file.path} was written by ${earlier} and by ${result.pod}`);
    }
    writers.set(file.path, result.pod);
    const found = seen.files.find(({ path }) => path === file.path);
    if (found?.bytes !== file.bytes) problems.push(`${file.path} is not what ${result.pod} wrote`);
  }
  for (const { path } of seen.files) {
    if (!writers.has(path)) problems.push(`${path} was written by nobody that we know`);
  }
  if (trespass(story)?.isError !== true) problems.push(`${TRESPASS} was not refused to a stranger`);
  if (seen.holder !== PODS.writer) problems.push(`${TRESPASS} was not held by ${PODS.writer}`);
  const secondHolder = story.result(
    ({ tool, input }) => tool === "SpawnPod" && input.name === PODS.refused,
  );
  if (secondHolder?.isError !== true) problems.push("a directory was given to two agents");
  return {
    promise: "Two agents never write the same path",
    seen: `${PODS.styler} was refused ${TRESPASS}: ${seen.holder ?? "nobody"} holds it; docs/ was lent only once.`,
    problems,
  };
}

/** The attempt to write in another Pod's directory. */
export function trespass(story: Story) {
  return story.result(
    ({ pod, tool, input }) =>
      pod === PODS.styler && tool === "Write" && String(input.file_path).endsWith(`/${TRESPASS}`),
  );
}

function endIsNeverMissed(story: Story, seen: Observations): Verdict {
  const finished = [PODS.writer, PODS.styler, PODS.successor];
  const told = story.happenings.flatMap((h) =>
    h.kind === "told" && h.pod === PODS.lead ? [h.text] : [],
  );
  const missed = finished.filter(
    (pod) => !told.some((text) => text.includes(`\`${pod}\` finished`)),
  );
  return {
    promise: "A child's end is never missed",
    seen: `${PODS.lead} was told ${seen.noticeMs.toFixed(0)} ms after kill -9, and of ${finished.length - missed.length} finished turns.`,
    problems: missed.map((pod) => `${PODS.lead} was not told that ${pod} finished`),
  };
}

function nothingIsLeft({ left, files }: Observations): Verdict {
  const lost = FILES.filter((path) => !files.some((file) => file.path === path));
  return {
    promise: "Nothing is left behind, nothing is lost",
    seen: "No process, no allocation, no directory; the killed agent's work was kept.",
    problems: [
      ...left.map((what) => `left behind: ${what}`),
      ...lost.map((path) => `${path} is missing`),
    ],
  };
}

function everythingCanBeStopped(story: Story, seen: Observations): Verdict {
  const all = [PODS.lead, PODS.writer, PODS.styler, PODS.tester, PODS.successor];
  const watched = all.filter((pod) => story.isKnown(pod)).length;
  const alive = all.filter((pod) => pod !== PODS.tester);
  const missing = alive.filter((pod) => !seen.stopped.includes(pod));
  return {
    promise: "You can see and stop everything",
    seen: `${watched} Pods were watched over their sockets; ${seen.stopped.length} were stopped in ${seen.stopMs.toFixed(0)} ms.`,
    problems: missing.map((pod) => `${pod} could not be stopped`),
  };
}
