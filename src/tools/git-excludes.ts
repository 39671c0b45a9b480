/**
 * Where git looks for ignore files that are not in the tree itself: the user's own for all repositories,
 * `core.excludesFile` of the user's configuration or else `git/ignore` in the configuration directory
 * (gitignore(5), git-config(1)), and that of one repository, `info/exclude` (gitrepository-layout(5)).
 */
import { realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errnoCode } from "../base/errors.ts";
import { readRegularFile } from "../base/files.ts";

const MAX_CONFIG_BYTES = 256 * 1024;
const MAX_LINK_BYTES = 8 * 1024;

/** Where the user's things are. */
interface UserDirectories {
  /** `$HOME`. */
  readonly home: string | undefined;
  /** `$XDG_CONFIG_HOME`; `~/.config` unless set. */
  readonly config?: string | undefined;
}

/** The path of the file, whether or not it exists; undefined without a home. */
export function globalExcludesFile({ home, config }: UserDirectories): string | undefined {
  const directory = config !== undefined && config !== "" ? config : home && join(home, ".config");
  if (directory === undefined || directory === "") return undefined;
  const files = [join(directory, "git/config"), ...(home ? [join(home, ".gitconfig")] : [])];
  // The last one that says it wins.
  const named = files.flatMap((file) => excludesIn(file) ?? []).at(-1);
  if (named === undefined || named === "") return join(directory, "git/ignore");
  return home === undefined ? named : resolve(home, named.replace(/^~\//, ""));
}

/**
 * The path of `info/exclude` of the repository whose tree begins at `directory` (canonical), whether or not
 * it exists. In a worktree or a submodule `.git` is a file that names the real directory, and a worktree's
 * names the one that it shares with others. Undefined when a link is on the way, or when that directory
 * does not know of this tree: whoever can write here could name any place, and what is then left out of a
 * search would tell what stands there.
 */
export function excludesFileOf(directory: string): string | undefined {
  const git = join(directory, ".git");
  const named = /^gitdir: (.+)$/.exec(lineIn(git) ?? "")?.[1];
  const real = named === undefined ? git : sharedBy(resolve(directory, named), directory);
  if (real === undefined) return undefined;
  const info = join(real, "info");
  return isWithoutLinks(info) ? join(info, "exclude") : undefined;
}

/** The directory with the excludes of a worktree or submodule whose own one is `own`, if `own` says so, too. */
function sharedBy(own: string, tree: string): string | undefined {
  const common = lineIn(join(own, "commondir"));
  if (common === undefined) {
    const worktree = /^\s*worktree\s*=\s*(.+?)\s*$/m.exec(textIn(join(own, "config")) ?? "")?.[1];
    return worktree !== undefined && resolve(own, worktree) === tree ? own : undefined;
  }
  const shared = resolve(own, common);
  const isListed = dirname(own) === join(shared, "worktrees");
  return isListed && lineIn(join(own, "gitdir")) === join(tree, ".git") ? shared : undefined;
}

/** What does not exist has no links either. */
function isWithoutLinks(path: string): boolean {
  try {
    return realpathSync.native(path) === path;
  } catch (error) {
    return ["ENOENT", "ENOTDIR"].includes(errnoCode(error) ?? "");
  }
}

/** A file of one line, without its end; undefined when there is none. */
function lineIn(file: string): string | undefined {
  return textIn(file, MAX_LINK_BYTES)?.replace(/[\r\n]+$/, "");
}

function textIn(file: string, limit = MAX_CONFIG_BYTES): string | undefined {
  try {
    return new TextDecoder().decode(readRegularFile(file, limit));
  } catch {
    return undefined;
  }
}

/** The value of `core.excludesFile` in a git configuration file. */
function excludesIn(file: string): string | undefined {
  const text = textIn(file);
  if (text === undefined) return undefined;
  let inCore = false;
  let value: string | undefined;
  for (const line of text.split("\n")) {
    const section = /^\s*\[\s*([^\]"\s]+)[^\]]*\]/.exec(line)?.[1];
    if (section !== undefined) inCore = section.toLowerCase() === "core";
    const found = /^(?:\s*\[[^\]]*\])?\s*excludesfile\s*=\s*"?([^"#;\r]*)"?/i.exec(line)?.[1];
    if (inCore && found !== undefined) value = found.trim();
  }
  return value;
}
