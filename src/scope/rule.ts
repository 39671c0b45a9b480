/**
 * One scope rule and the only way a path becomes comparable: canonicalisation. Every target is
 * resolved here once, before any check, and stored as the kernel would see it (W20, W21, W26).
 */
import { lstatSync, realpathSync } from "node:fs";
import { z } from "zod/v3";
import { PodError } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";

/** What a rule grants or denies; write implies read. */
export const permissionSchema = lazily(() => z.enum(["read", "write"]));
export type Permission = z.infer<ReturnType<typeof permissionSchema>>;

/** A rule as it stands on the wire, in the registry and in manifests (spec registry-and-spawn 2.1). */
export const scopeRuleSchema = lazily(() =>
  z.object({
    target: z.string(),
    permission: permissionSchema(),
    recursive: z.boolean().default(true),
  }),
);
export type ScopeRule = z.infer<ReturnType<typeof scopeRuleSchema>>;

/** A path with symbolic links resolved, or the reason why there is none. */
export type CanonicalPath =
  { readonly ok: true; readonly path: string } | { readonly ok: false; readonly reason: string };

/** Longest path the kernel takes, in bytes (limits.h: PATH_MAX is 4096 with the terminator). */
const MAX_PATH_BYTES = 4095;

const refused = (reason: string): CanonicalPath => ({ ok: false, reason });

/**
 * Resolves an absolute path as the kernel would: `realpath` of the deepest ancestor that exists,
 * plus the names below it (spec registry-and-spawn 3.4). Refused: relative paths, `..` components
 * (with links in the way they do not mean what they say), NUL, names that are not valid text, and
 * more bytes than the kernel takes (each climb costs a system call). A name in the result may be a
 * link that leads nowhere: whoever opens it must not follow links.
 */
export function canonicalPath(path: string): CanonicalPath {
  if (!path.startsWith("/")) return refused("path is not absolute");
  if (path.includes("\0")) return refused("path contains a NUL character");
  if (!path.isWellFormed()) return refused("path is not valid Unicode");
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    return refused(`path is longer than ${MAX_PATH_BYTES} bytes`);
  }
  const names = componentsOf(path);
  if (names.includes("..")) return refused("path contains `..`");
  for (let kept = names.length; kept >= 0; kept -= 1) {
    const head = `/${names.slice(0, kept).join("/")}`;
    let real: string;
    try {
      real = realpathSync.native(head);
    } catch {
      continue; // missing, forbidden, a loop, not a directory: climb
    }
    if (real.includes("\uFFFD")) return refused("path is not valid UTF-8");
    const tail = names.slice(kept);
    return {
      ok: true,
      path: tail.length === 0 ? real : `${real === "/" ? "" : real}/${tail.join("/")}`,
    };
  }
  return refused("no existing ancestor can be resolved");
}

/**
 * The canonical form of a rule's target: `canonicalPath`, but refused when a link on the way leads
 * nowhere (or in a circle). A tool may take such a name for free, because it never follows it; a
 * rule may not: what appears behind the link later would belong to two Pods.
 */
export function canonicalTarget(path: string): CanonicalPath {
  const target = canonicalPath(path);
  if (!target.ok) return target;
  const names = componentsOf(target.path);
  for (let kept = names.length; kept > 0; kept -= 1) {
    const head = `/${names.slice(0, kept).join("/")}`;
    try {
      return lstatSync(head).isSymbolicLink() ? refused(`${head} is a broken link`) : target;
    } catch {
      continue; // not there yet: climb
    }
  }
  return target;
}

/** Components of a path: split at `/`, without empty ones and `.`; `..` stays (spec 3.1). */
export function componentsOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** True when `path` is `base` or lies below it. Both are canonical. */
export function isWithin(path: string, base: string): boolean {
  return base === "/" || path === base || path.startsWith(`${base}/`);
}

/** The rule with its target made canonical; `invalid_argument` says which target and why. */
export function canonicalRule(rule: ScopeRule): ScopeRule {
  const target = canonicalTarget(rule.target);
  if (target.ok) return { ...rule, target: target.path };
  throw new PodError(
    "invalid_argument",
    `scope.target cannot be resolved: ${rule.target} (${target.reason})`,
  );
}

/** `write:/path` or `read:/path [non-recursive]`: how tools name a rule to the model (spec 6). */
export function describeRule(rule: ScopeRule): string {
  return `${rule.permission}:${rule.target}${rule.recursive ? "" : " [non-recursive]"}`;
}

/** Rules joined by `, `, or `(none)`. */
export function describeRules(rules: readonly ScopeRule[]): string {
  return rules.length === 0 ? "(none)" : rules.map(describeRule).join(", ");
}
