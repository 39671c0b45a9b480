/**
 * Allocations, directories and living processes held against each other: whoever is in one and not
 * in the others is a weakness. Life is judged by locks and identities, never by names or sockets.
 */
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, messageOf } from "../../base/errors.ts";
import { type HeldFlock } from "../../base/held-locks.ts";
import { isPodName, podPaths } from "../../base/paths.ts";
import { stateOf } from "../../base/process.ts";
import { type Allocation, isReservation, ownerOf } from "../../registry/allocation.ts";
import { lifeState } from "../../registry/life.ts";
import { isDead } from "../../registry/liveness.ts";
import { canonicalBase } from "../../registry/recovery.ts";
import { inspectTable } from "../../registry/table.ts";
import { statusOf } from "../../spawn/status.ts";
import { type Finding, listed, ok, problem, quoted, warning } from "./finding.ts";

/** How long a Pod may take to answer; they are asked at once. */
const STATUS_TIMEOUT_MS = 2000;
/** A Pod that is starting or ending is in one place and not yet in the other for an instant. */
const SETTLE_MS = 300;

/** One directory with a Pod's name. */
export interface PodDirectory {
  readonly name: string;
  readonly life: "held" | "free" | "absent" | "unknown";
  /** Who holds the life lock, if that can be seen. */
  readonly pid: number | undefined;
  /** True for a directory with nothing in it. */
  readonly empty: boolean;
  readonly uid: number;
  /** Paths below it whose mode is not private, with the mode they must have. */
  readonly open: readonly { readonly path: string; readonly mode: number }[];
  readonly error: string;
}

/** One allocation. */
interface EntryFacts {
  readonly entry: Allocation;
  readonly dead: boolean;
  /** It is another machine's or another pid namespace's: not ours to judge. */
  readonly unjudged: boolean;
  /** True when its Pod answers, or does not have to. */
  readonly answers: boolean;
}

/** Everything about the Pods of one base. */
export interface PodFacts {
  readonly base: string;
  readonly entries: readonly EntryFacts[];
  readonly directories: readonly PodDirectory[];
  /** Processes that hold the life lock of a deleted directory. */
  readonly hidden: readonly { readonly name: string; readonly pid: number }[];
  readonly now: number;
}

/**
 * Gathers them; a base that cannot be read throws. Looks twice when the first look shows a Pod in one
 * place only, because such Pods are mostly just starting or ending.
 */
export async function podFacts(
  base: string,
  flocks: () => readonly HeldFlock[],
): Promise<PodFacts> {
  const first = look(base, flocks());
  const isOdd =
    first.hidden.length > 0 ||
    first.directories.some(
      ({ name, life }) =>
        life !== "unknown" &&
        first.entries.some(({ pod_name }) => pod_name === name) === (life !== "held"),
    );
  if (isOdd) await Bun.sleep(SETTLE_MS);
  const { entries, ...rest } = isOdd ? look(base, flocks()) : first;
  const now = Date.now();
  const judged = await Promise.all(entries.map(async (entry) => await judge(base, entry, now)));
  return { base, ...rest, entries: judged, now };
}

function look(base: string, flocks: readonly HeldFlock[]) {
  const root = canonicalBase(base);
  const lives = flocks.flatMap(({ pid, path, deleted }) => {
    const [name = "", file, ...more] = path.slice(root.length + 1).split("/");
    return file === "lock" && more.length === 0 && isPodName(name) ? [{ name, pid, deleted }] : [];
  });
  const { allocations } = inspectTable(base);
  return {
    entries: allocations,
    directories: readdirSync(base)
      .filter(isPodName)
      .flatMap((name) => directoryOf(base, name, lives)),
    hidden: lives.filter(({ deleted }) => deleted).map(({ name, pid }) => ({ name, pid })),
  };
}

function directoryOf(
  base: string,
  name: string,
  lives: readonly { readonly name: string; readonly pid: number; readonly deleted: boolean }[],
): PodDirectory[] {
  const paths = podPaths(base, name);
  const pid = lives.find((life) => life.name === name && !life.deleted)?.pid;
  const blank = { name, pid, life: "unknown", empty: false, uid: -1, open: [], error: "" } as const;
  try {
    const info = lstatSync(paths.directory);
    if (!info.isDirectory()) return []; // told among the leftovers
    const wanted = [
      { path: paths.directory, mode: 0o700 },
      ...[paths.lock, paths.socket, paths.allocation].map((path) => ({ path, mode: 0o600 })),
    ];
    const known = { ...blank, uid: info.uid, open: wanted.filter(hasOtherMode) };
    try {
      const empty = readdirSync(paths.directory).length === 0;
      return [{ ...known, empty, life: lifeState(base, name) }];
    } catch (error) {
      return [{ ...known, error: messageOf(error) }];
    }
  } catch (error) {
    return errnoCode(error) === "ENOENT" ? [] : [{ ...blank, error: messageOf(error) }];
  }
}

function hasOtherMode({ path, mode }: { readonly path: string; readonly mode: number }): boolean {
  try {
    const info = lstatSync(path);
    return !info.isSymbolicLink() && (info.mode & 0o777) !== mode;
  } catch {
    return false;
  }
}

async function judge(base: string, entry: Allocation, now: number): Promise<EntryFacts> {
  const dead = !isPodName(entry.pod_name) ? false : isDead(base, entry, now);
  const unjudged = !dead && stateOf(ownerOf(entry)) === "unknown";
  const asked = !dead && !unjudged && !isReservation(entry);
  const answers = !asked || (await statusOf(entry, STATUS_TIMEOUT_MS)) !== undefined;
  return { entry, dead, unjudged, answers };
}

const FIX = "run: pod doctor --fix";

/** Findings on the Pods; pure. `me` is the user who asks. */
export function checkPods(facts: PodFacts, me: number | undefined): Finding[] {
  return [
    checkDeadEntries(facts),
    checkLostPods(facts),
    checkHiddenPods(facts.hidden, facts.entries),
    checkUnanswering(facts),
    checkOrphans(facts, me),
    checkModes(facts, me),
  ];
}

function checkDeadEntries({ base, entries, now }: PodFacts): Finding {
  const check = "allocations";
  const names = (some: readonly EntryFacts[]): string =>
    listed(some.map(({ entry }) => entry.pod_name));
  const dead = entries.filter((facts) => facts.dead);
  const expired = dead.filter(
    ({ entry }) => isReservation(entry) && (entry.expires_at ?? now) < now,
  );
  if (dead.length > 0) {
    const why = expired.length > 0 ? ` (${expired.length} of them expired reservations)` : "";
    return warning(check, `held for dead processes${why}: ${names(dead)}`, FIX, [
      { kind: "registry", base },
    ]);
  }
  const unjudged = entries.filter((facts) => facts.unjudged);
  if (unjudged.length > 0) {
    return warning(
      check,
      `of another machine, container or pid namespace, so that nobody here can tell whether they live: ${names(unjudged)}`,
      "end them where they run; give each machine and container a runtime directory of its own",
    );
  }
  return ok(check, `all ${entries.length} belong to live processes`);
}

function checkLostPods({ base, entries, directories }: PodFacts): Finding {
  const check = "live-pods";
  const known = new Set(entries.map(({ entry }) => entry.pod_name));
  const lost = directories.filter(({ name, life }) => life === "held" && !known.has(name));
  if (lost.length === 0) {
    const held = directories.filter(({ life }) => life === "held").length;
    return ok(check, `all ${held} that hold their directory are registered`);
  }
  const told = lost.map(({ name, pid }) => `${name} (pid ${pid ?? "unknown"})`);
  const ends = lost.map(({ name, pid }) =>
    pid === undefined ? `fuser -k ${quoted(podPaths(base, name).lock)}` : `kill ${pid}`,
  );
  return problem(
    check,
    `alive and not in the registry: ${listed(told)}`,
    `${FIX}; what is still listed then has no usable record: end it with ${listed(ends, 4)}`,
    [{ kind: "registry", base }],
  );
}

/** The finding on Pods without a directory; those among `entries` can still be stopped by name. */
export function checkHiddenPods(hidden: PodFacts["hidden"], entries: PodFacts["entries"]): Finding {
  const check = "deleted-directories";
  if (hidden.length === 0) return ok(check, "no live Pod has lost its directory");
  const isKnown = ({ name, pid }: { name: string; pid: number }): boolean =>
    entries.some(({ entry }) => entry.pod_name === name && entry.pid === pid);
  const told = hidden.map(({ name, pid }) => `${name} (pid ${pid})`);
  const ends = hidden.map((pod) => (isKnown(pod) ? `pod stop ${pod.name}` : `kill ${pod.pid}`));
  return problem(
    check,
    `alive, but their directories were deleted, so nobody can reach them: ${listed(told)}`,
    `end them: ${listed(ends)}`,
  );
}

function checkUnanswering({ entries }: PodFacts): Finding {
  const check = "answers";
  const silent = entries.filter(({ answers }) => !answers).map(({ entry }) => entry);
  if (silent.length === 0) return ok(check, "every live Pod answers on its socket");
  return warning(
    check,
    `no answer from ${listed(silent.map(({ pod_name, pid }) => `${pod_name} (pid ${pid})`))}: ` +
      "busy, stopped, or something else listens in its place",
    `if it stays so: ${listed(
      silent.map(({ pod_name }) => `pod stop ${pod_name}`),
      4,
    )}`,
  );
}

function checkOrphans({ base, entries, directories }: PodFacts, me: number | undefined): Finding {
  const check = "orphaned-directories";
  const known = new Set(entries.map(({ entry }) => entry.pod_name));
  const ours = directories.filter(({ uid }) => me === undefined || uid === me);
  const orphans = ours.filter(({ name, life }) => life === "free" && !known.has(name));
  const empty = ours.filter((one) => one.empty && one.life === "absent" && !known.has(one.name));
  const strange = directories.filter(
    (one) =>
      one.life === "unknown" || (one.life === "absent" && !one.empty && !known.has(one.name)),
  );
  if (orphans.length + empty.length > 0) {
    return warning(
      check,
      `left by Pods that died: ${listed([...orphans, ...empty].map(({ name }) => name))}`,
      FIX,
      [
        ...(orphans.length > 0 ? [{ kind: "registry", base } as const] : []),
        ...empty.map(({ name }) => ({ kind: "remove-empty", path: join(base, name) }) as const),
      ],
    );
  }
  if (strange.length > 0) {
    const told = strange.map(({ name, error }) => (error === "" ? name : `${name} (${error})`));
    return warning(
      check,
      `not made by a Pod, or not to be judged: ${listed(told)}`,
      `look at them and move away what is not needed: ls -la ${quoted(base)}`,
    );
  }
  return ok(check, "none");
}

function checkModes({ directories }: PodFacts, me: number | undefined): Finding {
  const check = "pod-files";
  const foreign = directories.filter(({ uid }) => uid >= 0 && me !== undefined && uid !== me);
  if (foreign.length > 0) {
    return problem(
      check,
      `of another user: ${listed(foreign.map(({ name, uid }) => `${name} (user ${uid})`))}`,
      "have that user or root remove them, or use another INSOMNIA_RUNTIME_DIR",
    );
  }
  // What is left by the dead is removed, not mended.
  const open = directories.filter(({ life }) => life !== "free").flatMap((one) => one.open);
  if (open.length === 0) return ok(check, "all are private");
  return problem(
    check,
    `with a mode that others gave them: ${listed(
      open.map(({ path }) => path),
      4,
    )}`,
    `run: chmod ${open[0]?.mode.toString(8)} ${quoted(open[0]?.path ?? "")}; or pod doctor --fix`,
    open.map(({ path, mode }) => ({ kind: "chmod", path, mode, follow: false })),
  );
}
