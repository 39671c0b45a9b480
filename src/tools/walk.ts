/**
 * The regular files below a directory, in order of their path, as far as a scope lets them be read.
 * Links are not followed; directories outside the scope are not even listed; memory is bounded by
 * the depth and the largest directory, and the walk gives way to other work.
 */
import { type Dirent, lstatSync, type Stats } from "node:fs";
import { accessTo, containsRegion, overlaps, type Scope } from "../scope/set.ts";
import { fileError, ioFailure } from "./file-errors.ts";
import { canonicalOf } from "./given-path.ts";
import type { Pace } from "./pace.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { assertRegular, type VerifiedDirectory } from "./verified-path.ts";

/** A file found. `relative` is below the root; `canonical` was canonical when it was found. */
interface WalkedFile {
  readonly canonical: string;
  readonly relative: string;
  readonly name: string;
  /** The directory it is in, open until the walk goes on; absent very deep down. */
  readonly directory: VerifiedDirectory | undefined;
}

/** Says which entries of one directory are of interest. */
export interface DirectoryFilter {
  /** False leaves out a file, or a directory with everything below. */
  keeps(name: string, isDirectory: boolean): boolean;
  /** The filter of the directory `name`, which holds `names`. */
  below(name: string, names: readonly string[]): DirectoryFilter;
}

/** What a walk needs. `filter` makes the root's filter; `skipped` hears of each unreadable directory. */
interface WalkOptions {
  readonly files: ScopedFiles;
  readonly scope: Scope;
  readonly pace: Pace;
  readonly filter?: (names: readonly string[]) => DirectoryFilter;
  readonly skipped?: () => void;
}

/** Longest time that one Glob or Grep takes; then it answers with what it has. */
export const SEARCH_LIMIT_MS = 60_000;

/** What the summary of a search says when its time was up. */
export const STOPPED_NOTE = ` (stopped after ${SEARCH_LIMIT_MS / 1000} s; narrow the search)`;

/** Where a search begins, as given and as it is; `nothing` when no part of it may be searched. */
export interface SearchBase {
  readonly shown: string;
  readonly canonical: string;
  readonly kind: "directory" | "file" | "nothing";
}

/**
 * Finds the base of a Glob or Grep. Refused: relative and unresolvable paths, missing ones and special
 * files inside the scope; outside the scope there is nothing to find, and nothing is told (spec 3.7).
 */
export function searchBase(scope: Scope, path: string): SearchBase {
  const canonical = canonicalOf(path);
  const base = { shown: path.replace(/\/+$/, ""), canonical };
  if (reach(scope, canonical) === "none") return { ...base, kind: "nothing" };
  let info: Stats;
  try {
    info = lstatSync(canonical);
  } catch (error) {
    throw ioFailure(path, error);
  }
  // Still a link after resolving: it leads nowhere.
  if (info.isSymbolicLink()) throw fileError.missing(path);
  if (info.isDirectory()) return { ...base, kind: "directory" };
  if (accessTo(scope, canonical) === "none") return { ...base, kind: "nothing" };
  assertRegular(info, path);
  return { ...base, kind: "file" };
}

/** How much of the tree below a directory the scope lets us read. */
type Reach = "all" | "some" | "none";

function reach(scope: Scope, directory: string): Reach {
  const region = { target: directory, permission: "read", recursive: true } as const;
  const denies = scope.deny.filter((rule) => rule.permission === "read" && overlaps(rule, region));
  const allows = scope.allow.filter((rule) => overlaps(rule, region));
  if (allows.length === 0 || denies.some((rule) => containsRegion(rule, region))) return "none";
  const whole = denies.length === 0 && allows.some((rule) => containsRegion(rule, region));
  return whole ? "all" : "some";
}

/** Directories that a walk keeps open: deeper ones are opened once more for each of their files. */
const MAX_OPEN = 64;

interface Level {
  readonly directory: VerifiedDirectory | undefined;
  readonly canonical: string;
  readonly relative: string;
  readonly reach: Reach;
  readonly filter: DirectoryFilter | undefined;
  readonly entries: Iterator<Dirent>;
}

/** Walks the directory `root` (canonical) depth first; entries of a directory in code unit order. */
export async function* walk(root: string, options: WalkOptions): AsyncGenerator<WalkedFile> {
  const { scope, pace } = options;
  const levels: Level[] = [];
  const enter = async (level: Promise<Level | undefined>): Promise<void> => {
    const opened = await level;
    if (opened !== undefined) levels.push(opened);
  };
  try {
    await enter(open(root, "", reach(scope, root), undefined, 0, options));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      if (pace.due) {
        await pace.rest();
        if (pace.expired) return;
      }
      const { done, value: entry } = level.entries.next();
      if (done === true) {
        levels.pop();
        level.directory?.[Symbol.dispose]();
        continue;
      }
      const { name } = entry;
      const canonical = `${level.canonical === "/" ? "" : level.canonical}/${name}`;
      const kind = kindOf(entry, canonical);
      if (kind === "other" || level.filter?.keeps(name, kind === "directory") === false) continue;
      const relative = level.relative === "" ? name : `${level.relative}/${name}`;
      if (kind === "file") {
        const readable = level.reach === "all" || accessTo(scope, canonical) !== "none";
        if (readable) yield { canonical, relative, name, directory: level.directory };
        continue;
      }
      const inner = level.reach === "all" ? "all" : reach(scope, canonical);
      await enter(open(canonical, relative, inner, level.filter, levels.length, options));
    }
  } finally {
    for (const { directory } of levels) directory?.[Symbol.dispose]();
  }
}

async function open(
  canonical: string,
  relative: string,
  reached: Reach,
  above: DirectoryFilter | undefined,
  depth: number,
  { files, filter, skipped }: WalkOptions,
): Promise<Level | undefined> {
  if (reached === "none") return undefined;
  let directory: VerifiedDirectory | undefined;
  let entries: Dirent[];
  try {
    directory = files.openDirectory(canonical);
    entries = await files.list(directory);
  } catch {
    directory?.[Symbol.dispose]();
    skipped?.();
    return undefined;
  }
  if (depth >= MAX_OPEN) {
    directory[Symbol.dispose]();
    directory = undefined;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  // The names are only wanted by filters: they look for ignore files among them.
  const names = filter === undefined ? [] : entries.map((entry) => entry.name);
  const last = relative.slice(relative.lastIndexOf("/") + 1);
  return {
    directory,
    canonical,
    relative,
    reach: reached,
    filter: above === undefined ? filter?.(names) : above.below(last, names),
    entries: entries.values(),
  };
}

function kindOf(entry: Dirent, path: string): "file" | "directory" | "other" {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  const known =
    entry.isSymbolicLink() ||
    entry.isFIFO() ||
    entry.isSocket() ||
    entry.isBlockDevice() ||
    entry.isCharacterDevice();
  if (known) return "other";
  // Some file systems do not tell the kind with the name.
  const info = lstatSync(path, { throwIfNoEntry: false });
  return info?.isFile() === true ? "file" : info?.isDirectory() === true ? "directory" : "other";
}
