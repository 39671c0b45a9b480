/**
 * The bash that runs commands and their keepers. A keeper is believed when it says that nothing of a
 * command is left, so no command may choose what it is: neither by PATH nor by writing there.
 */
import { realpathSync } from "node:fs";
import { isReplaceable } from "../../sandbox/replaceable.ts";
import type { ScopeRule } from "../../scope/rule.ts";
import type { Scope } from "../../scope/set.ts";

const STANDARD = ["/bin/bash", "/usr/bin/bash"];

/**
 * Canonical path of the system's bash, or else of the first on `path` (a list like PATH), that commands
 * with these scopes cannot replace, nor, beyond the system's, other Pods, which may write what `foreign`
 * says. Undefined when there is none.
 */
export function trustedBash(
  path: string,
  scopes: readonly Scope[],
  foreign: () => readonly ScopeRule[],
  standard: readonly string[] = STANDARD,
): string | undefined {
  const first = standard.find((candidate) => isTrusted(candidate, scopes));
  if (first !== undefined) return realpathSync.native(first);
  // What is relative means another directory in every process.
  const listed = path
    .split(":")
    .filter((directory) => directory.startsWith("/"))
    .map((directory) => `${directory}/bash`);
  const all = [...scopes, { allow: foreign(), deny: [] }];
  const found = listed.find((candidate) => isTrusted(candidate, all));
  return found === undefined ? undefined : realpathSync.native(found);
}

/** Given a path, `Bun.which` only asks whether it is a program. */
function isTrusted(candidate: string, scopes: readonly Scope[]): boolean {
  return Bun.which(candidate) !== null && !isReplaceable(realpathSync.native(candidate), scopes);
}
