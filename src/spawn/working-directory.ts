/**
 * The paths that a Pod which comes back had recorded, looked at before anything is reserved or started
 * for it. A recorded path is never resolved again to what it leads to now: a link that was put in its
 * place meanwhile, by anybody, must not move a scope (docs/scope.md).
 */
import { accessSync, constants, statSync } from "node:fs";
import { ioError } from "../base/errors.ts";
import { canonicalTarget } from "../scope/rule.ts";
import type { Setup } from "../session/setup.ts";

/** What is wrong with `cwd` as the working directory of a Pod, to be said of that Pod; or undefined. */
export function directoryProblem(cwd: string): string | undefined {
  try {
    const isThere = statSync(cwd, { throwIfNoEntry: false })?.isDirectory() === true;
    if (!isThere) return `its working directory ${cwd} is gone`;
    accessSync(cwd, constants.X_OK);
    return undefined;
  } catch (error) {
    return ioError(`its working directory ${cwd} cannot be entered`, error).message;
  }
}

/**
 * Why a Pod with this setup cannot have what it had, to be said of that Pod: one of its paths is
 * another place now. Undefined when each is what it was.
 */
export function movedProblem(
  { cwd, scope: { allow, deny } }: Pick<Setup, "cwd" | "scope">,
  session: string,
): string | undefined {
  const paths = new Set([cwd, ...[...allow, ...deny].map(({ target }) => target)]);
  return [...paths].map((path) => movedText(path, session)).find((text) => text !== undefined);
}

/**
 * The same for one that makes its scope of its manifest again: each path that the manifest names must be
 * what it was when it was recorded, without links. What the program itself denies is worked out anew.
 */
export function movedManifestProblem(
  written: Pick<Setup, "scope">["scope"],
  recorded: Pick<Setup, "cwd" | "scope">,
  session: string,
): string | undefined {
  const allow = [...recorded.scope.allow, ...written.allow];
  return movedProblem({ cwd: recorded.cwd, scope: { allow, deny: written.deny } }, session);
}

/** Undefined when `path` is still the place that it was. */
function movedText(path: string, session: string): string | undefined {
  const now = canonicalTarget(path);
  if (now.ok && now.path === path) return undefined;
  const where = now.ok ? `leads to ${now.path} now` : `cannot be resolved any more (${now.reason})`;
  return (
    `${path} ${where}; nothing was changed. Put back what was there (remove the link), or start it ` +
    `anew with a manifest: pod --session ${session}`
  );
}
