/**
 * Where configuration is looked for: the user's manifest, the project's, and the directories of
 * prompt texts beside them (spec manifest 2.1, FIX 10, FIX 20). Reads no file and no TOML, so a child
 * that got its manifest from its spawner can use it too.
 */
import { type Dirent, lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { errnoCode, ioError } from "../base/errors.ts";
import { type BaseDirectories, isAbsent } from "../base/paths.ts";
import { isWithin } from "../scope/rule.ts";
import { assertOwn } from "./owner.ts";
import { ManifestError } from "./problem.ts";

/** Directory in a project that holds its configuration. */
const MARKER = ".insomnia";
const MANIFEST = "manifest.toml";
const PROMPTS = "prompts";
const PACK = "prompts.toml";

/** What the command line and the environment say about the places to look. */
export interface SearchOptions {
  /** Absolute; start of the walk to the project unless `project` says otherwise. */
  readonly cwd: string;
  readonly bases: Pick<BaseDirectories, "config">;
  /** `--user-manifest`: this file instead of the config directory's; false: no user layer. */
  readonly userManifest?: string | false | undefined;
  /** `--project`: start of the upward walk; false: no project layer. */
  readonly project?: string | false | undefined;
  /** `$HOME`: the walk ends there, and what lies in it is not a project. Only if absolute. */
  readonly home?: string | undefined;
}

/** A project: its root (base of its relative paths) and its manifest. Absolute. */
interface Project {
  readonly root: string;
  readonly manifest: string;
}

/**
 * Directories that `$user/…` and `$workspace/…` name, and the files `prompts.toml` beside them, the
 * user's before the project's; absent when there is none. Absolute and without links: one that is put
 * there later is not followed.
 */
export interface PromptDirectories {
  readonly user?: string;
  readonly workspace?: string;
  readonly packs?: readonly string[];
}

/** The user's manifest, and whether it was asked for by name (then it must exist). */
export function userManifestPath(
  options: SearchOptions,
): { readonly path: string; readonly explicit: boolean } | undefined {
  const { userManifest, bases, cwd } = options;
  if (userManifest === false) return undefined;
  if (userManifest !== undefined) return { path: resolve(cwd, userManifest), explicit: true };
  if (bases.config === undefined) return undefined;
  return { path: join(bases.config, MANIFEST), explicit: false };
}

/**
 * The nearest directory upward with a `.insomnia/manifest.toml`; none is not an error. Throws
 * `ManifestError` when a stranger may have written it, unless `project` names it, and when there may be
 * one that cannot be seen.
 */
export function findProject(options: SearchOptions): Project | undefined {
  const { project, cwd } = options;
  if (typeof project === "string" && !isKind(resolve(cwd, project), "directory")) {
    const message = `${resolve(cwd, project)} is not a directory`;
    throw new ManifestError([{ prefix: "not found", problems: [{ message }] }]);
  }
  for (const [distance, root] of projectCandidates(options).entries()) {
    refuseHidden(join(root, MARKER));
    const manifest = join(root, MARKER, MANIFEST);
    // What cannot be read is told when it is read: it may say what agents must not do.
    if (isAbsent(manifest) || isKind(manifest, "directory")) continue;
    if (!isNamed(options, distance)) assertOwn(root, join(root, MARKER), [manifest]);
    return { root, manifest };
  }
  return undefined;
}

/**
 * The prompt directories and packs that exist. They do not depend on manifests: the user's lie beside
 * the user's manifest or where it would be, the project's in its `.insomnia` or, without a project,
 * in the nearest `.insomnia` upward that has prompts. Throws as `findProject`.
 */
export function findPromptDirectories(options: SearchOptions): PromptDirectories {
  const manifest = userManifestPath(options)?.path;
  const user = manifest === undefined ? undefined : promptsIn(dirname(manifest));
  const project = findProject(options);
  const workspace = projectCandidates(options)
    .map((root, distance) => ({ root, distance, ...promptsIn(join(root, MARKER)) }))
    .filter(({ root }) => project === undefined || root === project.root)
    .find(({ directory, pack }) => directory !== undefined || pack !== undefined);
  if (workspace !== undefined) {
    const { root, distance, directory, pack } = workspace;
    const paths = [directory, pack].filter((path) => path !== undefined);
    assertInside(join(root, MARKER), paths);
    if (!isNamed(options, distance)) {
      assertOwn(root, join(root, MARKER), [...paths, ...entriesBelow(directory)]);
    }
  }
  const packs = [user?.pack, workspace?.pack].filter((path) => path !== undefined);
  return {
    ...(user?.directory === undefined ? {} : { user: user.directory }),
    ...(workspace?.directory === undefined ? {} : { workspace: workspace.directory }),
    ...(packs.length === 0 ? {} : { packs }),
  };
}

/** True when a person named this very candidate, and not one on the way up to it. */
const isNamed = ({ project }: SearchOptions, distance: number): boolean =>
  project !== undefined && distance === 0;

function promptsIn(place: string): { directory: string | undefined; pack: string | undefined } {
  const directory = join(place, PROMPTS);
  const pack = join(place, PACK);
  return {
    directory: isKind(directory, "directory") ? realpathSync.native(directory) : undefined,
    pack: isKind(pack, "file") ? realpathSync.native(pack) : undefined,
  };
}

/**
 * What a project says to models must lie in its `.insomnia`: a link that leads out of it would bring the
 * text of any file of the user's to a host that the project may have chosen.
 */
function assertInside(marker: string, paths: readonly string[]): void {
  const real = canonicalOrRaw(marker);
  for (const path of paths) {
    if (isWithin(path, real)) continue;
    throw untrusted(
      `a link in ${marker} leads to ${path}, which is not used: what a project says to models must lie ` +
        `in its ${MARKER}; copy it there`,
    );
  }
}

/** Texts and directories of a library that are looked at. */
const MAX_ENTRIES = 10_000;

/** All that is in a library, its links too, but nothing that they lead to. Throws `ManifestError`. */
function entriesBelow(library: string | undefined): string[] {
  const found: string[] = [];
  const waiting = library === undefined ? [] : [library];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const directory = at;
    for (const entry of listed(directory)) {
      const path = join(directory, entry.name);
      found.push(path);
      if (found.length > MAX_ENTRIES) {
        throw untrusted(
          `${library} has more than ${MAX_ENTRIES} entries, which is no library of prompts`,
        );
      }
      if (entry.isDirectory()) waiting.push(path);
    }
  }
  return found;
}

function listed(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    throw untrusted(
      `${ioError(`cannot list ${directory}`, error).message}, so whose it is is not known`,
    );
  }
}

function untrusted(message: string): ManifestError {
  return new ManifestError([{ prefix: "not trusted", problems: [{ message }] }]);
}

/** The start of the walk and its ancestors, up to but without `$HOME`, or to the repository's root. */
function projectCandidates({ cwd, project, home }: SearchOptions): string[] {
  if (project === false) return [];
  const stop = home !== undefined && isAbsolute(home) ? canonicalOrRaw(home) : undefined;
  const candidates: string[] = [];
  let directory = canonicalOrRaw(project === undefined ? cwd : resolve(cwd, project));
  while (directory !== stop) {
    candidates.push(directory);
    // What lies above a repository is not the project's, and may be anybody's (FIX 20).
    if (!isAbsent(join(directory, ".git"))) break;
    const parent = dirname(directory);
    if (parent === directory) break;
    directory = parent;
  }
  return candidates;
}

/**
 * A directory that cannot be entered, or a link that leads nowhere, may be meant to say what agents must
 * not do: nobody passes it over.
 */
function refuseHidden(marker: string): void {
  if (isAbsent(marker)) return;
  try {
    if (statSync(marker).isDirectory()) lstatSync(join(marker, MANIFEST));
  } catch (error) {
    const code = errnoCode(error) ?? "unknown error";
    if (code === "ENOENT" && isKind(marker, "directory")) return;
    const message =
      `${marker} cannot be entered (${code}), so what it says of Pods is not known: let yourself in ` +
      "(chmod u+x), mend or remove a broken link, or start without it (--no-project)";
    throw new ManifestError([{ prefix: "not readable", problems: [{ message }] }]);
  }
}

function canonicalOrRaw(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return resolve(path);
  }
}

function isKind(path: string, kind: "file" | "directory"): boolean {
  try {
    const info = statSync(path);
    return kind === "file" ? info.isFile() : info.isDirectory();
  } catch {
    return false;
  }
}
