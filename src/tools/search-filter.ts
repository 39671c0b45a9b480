/**
 * Which files Grep looks into, decided as ripgrep decides (spec worker-and-tools 3.8): the `glob`
 * first, then ignore files (`.ignore` always; git's only inside a repository, and only up to its
 * root), then the type, then whether the name is hidden. Ignore files above the base count too; they
 * may lie outside the scope, but only steer the search: nothing of them reaches the model.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isSeen } from "../base/files.ts";
import { componentsOf } from "../scope/rule.ts";
import { excludesFileOf } from "./git-excludes.ts";
import { compileGlob } from "./glob-pattern.ts";
import { IgnoreRules, type IgnoreVerdict } from "./ignore-rules.ts";
import type { Regex } from "./regex.ts";
import type { DirectoryFilter } from "./walk.ts";

const MAX_IGNORE_FILE_BYTES = 1024 * 1024;

/** What narrows a search besides ignore files. */
interface SearchFilterOptions {
  /** gitignore-style; a leading `!` leaves out instead of choosing. */
  readonly glob: string | null;
  readonly type: IgnoreRules | undefined;
  /** The user's own ignore file for all repositories (`core.excludesFile`), if any. */
  readonly globalExcludes?: string | undefined;
}

/** Makes the filter of the canonical directory `base`; throws `GlobSyntaxError` for a bad `glob`. */
export function searchFilter(
  base: string,
  options: SearchFilterOptions,
): (names: readonly string[]) => DirectoryFilter {
  const { type, globalExcludes } = options;
  const shared: Shared = { base, choice: choiceOf(options.glob), type, globalExcludes };
  const names = componentsOf(base);
  let level: Level | undefined;
  for (let depth = 0; depth < names.length; depth += 1) {
    level = levelOf(`/${names.slice(0, depth).join("/")}`, level, shared, undefined);
  }
  return (found) => new SearchFilter(base, levelOf(base, level, shared, found), shared);
}

/** What is the same in all directories of a search. */
interface Shared {
  readonly base: string;
  readonly choice: Choice | undefined;
  readonly type: IgnoreRules | undefined;
  readonly globalExcludes: string | undefined;
}

/**
 * `glob`, which is no line of an ignore file: it has braces, and one that cannot be read is refused
 * rather than passed over.
 */
interface Choice {
  readonly regex: Regex;
  readonly excludes: boolean;
  readonly directoriesOnly: boolean;
  /** Compares with the path below the base rather than with the name. */
  readonly anchored: boolean;
}

function choiceOf(glob: string | null): Choice | undefined {
  const [, not, top, pattern, end] = /^(!?)(\/?)(.*?)(\/?)$/s.exec(glob ?? "") ?? [];
  if (pattern === undefined || pattern === "") return undefined;
  return {
    regex: compileGlob(pattern, { crossSlash: false }),
    excludes: not !== "",
    directoriesOnly: end !== "",
    anchored: top !== "" || pattern.includes("/"),
  };
}

function isChosen(choice: Choice, relative: string, name: string, isDirectory: boolean): boolean {
  if (choice.directoriesOnly && !isDirectory) return false;
  return choice.regex.test(choice.anchored ? relative : name);
}

/** The ignore files of one directory. Directories without any share the level above. */
interface Level {
  readonly directory: string;
  readonly above: Level | undefined;
  readonly isRepository: boolean;
  readonly inRepository: boolean;
  readonly own: IgnoreRules | undefined;
  readonly git: IgnoreRules | undefined;
  /** The repository's `info/exclude`, and before it the user's file for all repositories. */
  readonly exclude: IgnoreRules | undefined;
}

/** `names` are the directory's entries, when they are known already: spares looking for each file. */
function levelOf(
  directory: string,
  above: Level | undefined,
  { globalExcludes }: Shared,
  names: readonly string[] | undefined,
): Level | undefined {
  // What is named as the base, or what one file includes against another, is searched.
  for (let level = above; level !== undefined; level = level.above) {
    const relative = relativeTo(level.directory, directory);
    for (const rules of [level.own, level.git, level.exclude]) rules?.enter(relative);
  }
  const has = (name: string): boolean => names?.includes(name) ?? isSeen(join(directory, name));
  const rules = (name: string): IgnoreRules | undefined =>
    has(name) ? parsed([textOf(join(directory, name), constants.O_NOFOLLOW)]) : undefined;
  const isRepository = has(".git");
  const own = rules(".ignore");
  const git = rules(".gitignore");
  if (!isRepository && own === undefined && git === undefined) return above;
  const inRepository = isRepository || above?.inRepository === true;
  const exclude = isRepository
    ? parsed([textOf(globalExcludes), textOf(excludesFileOf(directory), constants.O_NOFOLLOW)])
    : undefined;
  return { directory, above, isRepository, inRepository, own, git, exclude };
}

class SearchFilter implements DirectoryFilter {
  readonly #directory: string;
  readonly #level: Level | undefined;
  readonly #shared: Shared;

  constructor(directory: string, level: Level | undefined, shared: Shared) {
    this.#directory = directory;
    this.#level = level;
    this.#shared = shared;
  }

  below(name: string, names: readonly string[]): DirectoryFilter {
    const directory = join(this.#directory, name);
    const level = levelOf(directory, this.#level, this.#shared, names);
    return new SearchFilter(directory, level, this.#shared);
  }

  keeps(name: string, isDirectory: boolean): boolean {
    const { base, choice, type } = this.#shared;
    // Not `join`: this is asked once for each file.
    const path = `${this.#directory === "/" ? "" : this.#directory}/${name}`;
    if (choice !== undefined) {
      if (isChosen(choice, relativeTo(base, path), name, isDirectory)) return !choice.excludes;
      // A directory that is not chosen itself may hold files that are.
      if (!choice.excludes && !isDirectory) return false;
    }
    const verdict = this.#ignoreVerdict(path, isDirectory);
    if (verdict === "ignore") return false;
    const typed = type?.test(name, isDirectory) !== undefined;
    if (type !== undefined && !typed && !isDirectory) return false;
    return verdict === "keep" || typed || !name.startsWith(".");
  }

  #ignoreVerdict(path: string, isDirectory: boolean): IgnoreVerdict {
    let own: IgnoreVerdict;
    let git: IgnoreVerdict;
    let exclude: IgnoreVerdict;
    let inRepository = this.#level?.inRepository === true;
    for (let level = this.#level; level !== undefined; level = level.above) {
      const relative = relativeTo(level.directory, path);
      own ??= level.own?.test(relative, isDirectory);
      if (!inRepository) continue;
      git ??= level.git?.test(relative, isDirectory);
      exclude ??= level.exclude?.test(relative, isDirectory);
      // Above its root, a repository's rules end.
      if (level.isRepository) inRepository = false;
    }
    return own ?? git ?? exclude;
  }
}

function relativeTo(directory: string, path: string): string {
  return path.slice(directory === "/" ? 1 : directory.length + 1);
}

/** Rules of several ignore files, the later ones stronger; undefined when there is none. */
function parsed(texts: readonly (string | undefined)[]): IgnoreRules | undefined {
  const there = texts.filter((text) => text !== undefined);
  return there.length === 0 ? undefined : IgnoreRules.parse(there.join("\n"));
}

/**
 * Text of an ignore file; undefined when it is missing, unreadable, special or absurdly large. In the tree
 * none is a link, as for git (gitignore(5)): it could lead out of the scope, and what is found would tell
 * what it leads to.
 */
function textOf(path: string | undefined, flags = 0): string | undefined {
  if (path === undefined) return undefined;
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
    const info = fstatSync(fd);
    if (!info.isFile() || info.size > MAX_IGNORE_FILE_BYTES) return undefined;
    return readFileSync(fd, "utf8");
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
