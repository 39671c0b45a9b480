/**
 * Whether commands could put another program where one stands: what is run outside their confinement must
 * not be theirs to choose. Looks at the file system, changes nothing.
 */
import { accessSync, constants, lstatSync } from "node:fs";
import { dirname } from "node:path";
import { isWithin } from "../scope/rule.ts";
import { accessTo, type Scope } from "../scope/set.ts";

/**
 * True when a command with one of these scopes could change the file at `path` (canonical), or make its
 * name mean another: by writing to it, or to a directory on the way, where this user may. In a directory
 * with a denied path below, commands rename nothing (ruleset.ts).
 */
export function isReplaceable(path: string, scopes: readonly Scope[]): boolean {
  for (let at = path; ; at = dirname(at)) {
    const granted = scopes.some(
      (scope) =>
        accessTo(scope, at) === "write" &&
        (at === path || !scope.deny.some(({ target }) => isWithin(target, at))),
    );
    if (granted && mayChange(at)) return true;
    if (at === "/") return false;
  }
}

/** Where the commands of a Pod may ever write: in the scope that it was given, and beside it. */
export function commandScopes(given: Scope, beside: readonly string[]): Scope[] {
  const extra = beside.map((target) => ({ target, permission: "write", recursive: true }) as const);
  return [given, { allow: extra, deny: given.deny }];
}

/** What the owner may not write he can make writable. */
function mayChange(path: string): boolean {
  try {
    if (lstatSync(path).uid === process.geteuid?.()) return true;
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
