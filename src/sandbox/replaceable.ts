/**
 * Whether commands could put another program where one stands: what is run outside their confinement must
 * not be theirs to choose. Looks at the file system, changes nothing.
 */
import { accessSync, constants, lstatSync } from "node:fs";
import { dirname } from "node:path";
import { isWithin } from "../scope/rule.ts";
import { accessTo, type Scope } from "../scope/set.ts";

/** Where commands may write: scopes, and places with all that is below them. Targets are canonical. */
export interface CommandsReach {
  readonly scopes: readonly Scope[];
  readonly extra: readonly string[];
}

/**
 * True when a command within `reach` could change the file at `path` (canonical), or make its name mean
 * another: by writing to it, or to a directory on the way, where this user may.
 */
export function isReplaceable(path: string, { scopes, extra }: CommandsReach): boolean {
  for (let at = path; ; at = dirname(at)) {
    const granted =
      scopes.some((scope) => accessTo(scope, at) === "write") ||
      extra.some((place) => isWithin(at, place));
    if (granted && mayChange(at)) return true;
    if (at === "/") return false;
  }
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
