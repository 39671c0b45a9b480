/**
 * Other names of one place. Canonical paths have no links in them, but a bind mount or a file system
 * that folds case still gives one directory two names, and two Pods could hold it (W31). The registry
 * compares a wanted region under all of its names. Pure: mounts and identity of directories come in.
 * Not covered: hard links to files, and names that do not exist yet on a file system that folds case.
 */
import type { Mount } from "../base/mounts.ts";
import { componentsOf, type ScopeRule } from "./rule.ts";
import { containsRegion, overlaps, ruleMatches } from "./set.ts";

/** What is known of names on this machine at this moment. */
export interface Names {
  readonly mounts: readonly Mount[];
  /** True when both paths exist and are one directory (device and inode). */
  isSame(a: string, b: string): boolean;
}

/** For a world without mounts in which every name is its own: pure tests, and what is known to be so. */
export const PLAIN_NAMES: Names = { mounts: [], isSame: () => false };

/** True when `path` is `base` or below it. */
function isWithin(path: string, base: string): boolean {
  return base === "/" || path === base || path.startsWith(`${base}/`);
}

/** `path`, which is within `from`, as it is called when `from` is called `to`. */
function moved(path: string, from: string, to: string): string {
  return `/${[...componentsOf(to), ...componentsOf(path).slice(componentsOf(from).length)].join("/")}`;
}

/** The mount by which `path` is reached: the innermost, and of several at one place the last. */
function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  let found: Mount | undefined;
  for (const mount of mounts) {
    if (!isWithin(path, mount.point)) continue;
    if (found === undefined || mount.point.length >= found.point.length) found = mount;
  }
  return found;
}

/**
 * The regions by which the files of `rule` can be reached as well, as far as mounts make them: never
 * too few, but possibly more than there are. `rule` itself is not among them.
 */
export function aliasesOf(rule: ScopeRule, mounts: readonly Mount[]): ScopeRule[] {
  const shown = mounts.filter(({ device, point }) =>
    mounts.some((other) => other.device === device && other.point !== point),
  );
  if (shown.length === 0) return [];
  const aliases = new Map<string, ScopeRule>();
  for (const [mount, region] of reachedBy(rule, mounts)) {
    const inside = moved(region.target, mount.point, mount.root);
    for (const other of shown) {
      if (other.device !== mount.device || other === mount) continue;
      const alias = seenThrough(other, { ...region, target: inside });
      if (alias === undefined || containsRegion(rule, alias)) continue;
      aliases.set(`${alias.target}\0${alias.recursive}`, alias);
    }
  }
  return [...aliases.values()];
}

/** The parts of a region with the mount each is reached by: its target, and every mount in it. */
function reachedBy(rule: ScopeRule, mounts: readonly Mount[]): [Mount, ScopeRule][] {
  const own = mountOf(rule.target, mounts);
  const below = mounts.filter(({ point }) => point !== rule.target && ruleMatches(rule, point));
  return [
    ...(own === undefined ? [] : [[own, rule] as [Mount, ScopeRule]]),
    ...below.map((mount): [Mount, ScopeRule] => [mount, { ...rule, target: mount.point }]),
  ];
}

/** How much of a region, given by its path inside the file system, `mount` shows, and where. */
function seenThrough(mount: Mount, inside: ScopeRule): ScopeRule | undefined {
  if (isWithin(inside.target, mount.root)) {
    return { ...inside, target: moved(inside.target, mount.root, mount.point) };
  }
  const part = { ...inside, target: mount.root };
  return overlaps(inside, part) ? { ...inside, target: mount.point } : undefined;
}

/**
 * True when two rules speak of one file under any of their names: `overlaps` with what mounts and the
 * folding of letters do. `aliases` are those of `wanted`.
 */
export function sharesFiles(
  held: ScopeRule,
  wanted: ScopeRule,
  aliases: readonly ScopeRule[],
  names: Names,
): boolean {
  return (
    overlaps(held, wanted) ||
    aliases.some((alias) => overlaps(held, alias)) ||
    isFoldedOnto(held, wanted, names)
  );
}

/** Names that only differ in case or in how accents are written may be one on some file systems. */
function isFoldedOnto(held: ScopeRule, wanted: ScopeRule, names: Names): boolean {
  if (partPlainly(held.target, wanted.target)) return false;
  const [a, b] = [fold(held.target), fold(wanted.target)];
  if (!overlaps({ ...held, target: a }, { ...wanted, target: b })) return false;
  const depth = Math.min(componentsOf(a).length, componentsOf(b).length);
  const head = (path: string): string => `/${componentsOf(path).slice(0, depth).join("/")}`;
  return names.isSame(head(held.target), head(wanted.target));
}

/**
 * True when the first characters in which two paths differ are plain ones (ASCII) that differ in more
 * than case: then no folding makes one of them a part of the other. Spares folding a whole registry.
 */
function partPlainly(a: string, b: string): boolean {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i += 1;
  const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
  return i < length && x < 128 && y < 128 && (x | 32) !== (y | 32);
}

function fold(path: string): string {
  return path.normalize("NFC").toLowerCase();
}
