/** `pod init`: a first manifest for a project. Never overwrites anything. */
import { lstatSync, mkdirSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, EXIT, ioError, PodError } from "../../base/errors.ts";
import type { Environment } from "../../base/paths.ts";
import { harmless, printable } from "../../base/text.ts";
import { canonicalCwd } from "../../serve/configuration.ts";
import { listed } from "../doctor/finding.ts";
import type { Streams } from "../output.ts";
import { type Findings, lookAt } from "./look.ts";
import { planOf, renderInitialManifest } from "./render.ts";

/**
 * Writes `.insomnia/manifest.toml` at the repository's root, or here when there is no repository, and
 * says what it wrote and why; with `dryRun` prints the text. Throws `invalid_argument` when there is
 * one already, or in the home directory, whose `.insomnia` is no project's.
 */
export async function initProject(
  options: { readonly dryRun: boolean },
  env: Environment,
  cwd: string,
  { out }: Streams,
): Promise<number> {
  const found = lookAt(canonicalCwd(cwd));
  const directory = join(found.root, ".insomnia");
  const path = join(directory, "manifest.toml");
  refuseHome(found.root, env.HOME);
  const text = renderInitialManifest(found);
  if (options.dryRun) {
    out.write(text);
    return EXIT.done;
  }
  if (isThere(directory)) {
    refuseOther(directory);
    if (isThere(path)) throw exists(path);
  }
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(path, text, { flag: "wx" });
  } catch (error) {
    throw errnoCode(error) === "EEXIST" ? exists(path) : ioError(`cannot write ${path}`, error);
  }
  out.write(harmless(reportOf(found, path)));
  return EXIT.done;
}

function exists(path: string): PodError {
  return new PodError(
    "invalid_argument",
    `${path} exists already and was left as it is (what a new one would be: pod init --dry-run)`,
  );
}

/** True when something has that name, a link that leads nowhere too. */
const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

function refuseOther(directory: string): void {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new PodError(
    "invalid_argument",
    `${directory} is not a directory, and agents look for their configuration in a directory of ` +
      "that name: move it away",
  );
}

function refuseHome(root: string, home: string | undefined): void {
  let real = home;
  try {
    if (home !== undefined && home !== "") real = realpathSync.native(home);
  } catch {
    // A home that is not there is not this directory.
  }
  if (root !== real) return;
  throw new PodError(
    "invalid_argument",
    `${root} is your home directory, which is no project; the manifest for all your projects is ` +
      "<config>/manifest.toml (docs/manifest.md)",
  );
}

function reportOf(found: Findings, path: string): string {
  const { root, isRepository, languages, tests, hasAgentsMd, cut } = found;
  const { denied, left } = planOf(found);
  const lines = [
    `wrote ${path}`,
    `  project   ${root}${isRepository ? " (git repository)" : ""}${languages.length === 0 ? "" : `: ${languages.join(", ")}`}`,
    `  writable  everything in it but .insomnia`,
    denied.length + left.length === 0
      ? "  secrets   none found"
      : `  secrets   ${denied.length} denied: ${named(denied)}`,
    ...(left.length === 0 ? [] : [`            ${left.length} NOT denied: ${named(left)}`]),
    ...(cut ? ["            not every file was looked at: there are too many"] : []),
    ...(tests.length === 0 ? [] : [`  tests     ${tests.join(", ")}`]),
    ...(hasAgentsMd ? [] : ["  no AGENTS.md: agents read it for the project's conventions"]),
    'next: pod check, then pod run "…"',
  ];
  return `${lines.join("\n")}\n`;
}

const named = (paths: readonly string[]): string =>
  listed(
    paths.map((path) => printable(path)),
    5,
  );
