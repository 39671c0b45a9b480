/**
 * The paths that a Pod which comes back had recorded, looked at before anything is reserved or started
 * for it. A recorded path is never resolved again to what it leads to now: a link that was put in its
 * place meanwhile, by anybody, must not move a scope (docs/scope.md).
 */
import { statSync } from "node:fs";
import { canonicalTarget, type ScopeRule } from "../scope/rule.ts";
import type { Setup } from "../session/setup.ts";

/** What is wrong with `cwd` as the working directory of a Pod, to be said of that Pod; or undefined. */
export function directoryProblem(cwd: string): string | undefined {
  const isThere = statSync(cwd, { throwIfNoEntry: false })?.isDirectory() === true;
  return isThere ? undefined : `its working directory ${cwd} is gone`;
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
  return [...paths]
    .map((path) => movedText(path, [path], session))
    .find((text) => text !== undefined);
}

/**
 * The same for one that reads its manifest again: each rule of the manifest must mean what it meant.
 * `cwd` and `written` are as they are now, `recorded` is what the session says.
 */
export function movedManifestProblem(
  cwd: string,
  written: { readonly allow: readonly ScopeRule[]; readonly deny: readonly ScopeRule[] },
  recorded: Pick<Setup, "cwd" | "scope">,
  session: string,
): string | undefined {
  const { allow, deny } = recorded.scope;
  const targets = (rules: readonly ScopeRule[]): string[] => rules.map(({ target }) => target);
  const moved = [
    ...(cwd === recorded.cwd ? [] : [movedText(recorded.cwd, [recorded.cwd], session)]),
    ...targets(written.allow).map((path) => movedText(path, targets(allow), session)),
    ...targets(written.deny).map((path) => movedText(path, targets(deny), session)),
  ];
  return (
    moved.find((text) => text !== undefined) ??
    movedProblem({ cwd, scope: { allow, deny: [] } }, session)
  );
}

/** Undefined when `path` is still one of the places that were meant. */
function movedText(path: string, meant: readonly string[], session: string): string | undefined {
  const now = canonicalTarget(path);
  if (now.ok && meant.includes(now.path)) return undefined;
  const where = now.ok
    ? `leads to ${now.path} now, which its session (${session}) does not name`
    : `cannot be resolved any more (${now.reason})`;
  return (
    `${path} ${where}; nothing was changed. Put back what was there (remove the link), or start it ` +
    `anew with a manifest: pod --session ${session}`
  );
}
