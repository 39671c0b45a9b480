/** `pod init`: a first manifest for a project. Never overwrites anything. */
import { lstatSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, EXIT, ioError, PodError } from "../../base/errors.ts";
import type { Environment } from "../../base/paths.ts";
import { harmless } from "../../base/text.ts";
import { canonicalCwd } from "../../serve/configuration.ts";
import type { Streams } from "../output.ts";
import { type Findings, lookAt } from "./look.ts";
import { renderInitialManifest } from "./render.ts";

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
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) throw exists(path);
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

function reportOf(
  { root, isRepository, languages, tests, secrets, hasAgentsMd, cut }: Findings,
  path: string,
): string {
  const lines = [
    `wrote ${path}`,
    `  project   ${root}${isRepository ? " (git repository)" : ""}${languages.length === 0 ? "" : `: ${languages.join(", ")}`}`,
    `  writable  everything in it but .insomnia`,
    secrets.length === 0
      ? "  secrets   none found"
      : `  secrets   ${secrets.length} denied: ${secrets.slice(0, 5).join(", ")}${secrets.length > 5 ? ", …" : ""}`,
    ...(cut ? ["            not every file was looked at: there are too many"] : []),
    ...(tests.length === 0 ? [] : [`  tests     ${tests.join(", ")}`]),
    ...(hasAgentsMd ? [] : ["  no AGENTS.md: agents read it for the project's conventions"]),
    'next: pod check, then pod run "…"',
  ];
  return `${lines.join("\n")}\n`;
}
