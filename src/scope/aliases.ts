/**
 * Other names of one place. Canonical paths have no links in them, but a bind mount or a file system
 * that folds case still gives one directory two names, and two Pods could hold it (W31). The registry
 * compares a wanted region under all of its names. Pure: mounts and identity of directories come in.
 * Not covered: hard links to files, and names that do not exist yet on a file system that folds case.
 */
import { type Mount, MountTree } from "../base/mounts.ts";
import { componentsOf, isWithin, type ScopeRule } from "./rule.ts";
import { containsRegion, overlaps, ruleMatches, writeDenied } from "./set.ts";

/** What is known of names on this machine at this moment. */
export interface Names {
  readonly mounts: MountTree;
  /** True when both paths exist and are one directory (device and inode). */
  isSame(a: string, b: string): boolean;
}

/** For a world without mounts in which every name is its own: pure tests, and what is known to be so. */
export const PLAIN_NAMES: Names = { mounts: new MountTree([]), isSame: () => false };

/** `path`, which is within `from`, as it is called when `from` is called `to`. */
function moved(path: string, from: string, to: string): string {
  return `/${[...componentsOf(to), ...componentsOf(path).slice(componentsOf(from).length)].join("/")}`;
}

/** A region under another name: `name` and `part`, a part of the region, are two names of the same files. */
interface View {
  readonly name: ScopeRule;
  readonly part: ScopeRule;
}

/**
 * Every other name of a region, as far as the mounts that are known make it; a few of them may reach
 * more than the region. Some lie in the region itself, where one part of it shows another.
 */
export function viewsOf(rule: ScopeRule, mounts: MountTree): View[] {
  return reachedBy(rule, mounts).flatMap(([mount, part]) => {
    const inside = { ...part, target: moved(part.target, mount.point, mount.root) };
    return mounts.sharing(mount.device).flatMap((other): View[] => {
      const shown = other === mount ? undefined : shownBy(other, inside);
      if (shown === undefined) return [];
      return [
        {
          name: { ...shown, target: moved(shown.target, other.root, other.point) },
          part: { ...shown, target: moved(shown.target, inside.target, part.target) },
        },
      ];
    });
  });
}

/** The regions outside of `rule` by which its files can be reached, each once. */
export function aliasesOf(rule: ScopeRule, mounts: MountTree): ScopeRule[] {
  const outside = viewsOf(rule, mounts).filter(({ name }) => !containsRegion(rule, name));
  return [...new Map(outside.map(({ name }) => [name.target, name])).values()];
}

/** The parts of a region with the mount each is reached by: its target, and every mount in it. */
function reachedBy(rule: ScopeRule, mounts: MountTree): [Mount, ScopeRule][] {
  const own = mounts.mountOf(rule.target);
  const inside = mounts.shared.filter(
    ({ point }) => point !== rule.target && ruleMatches(rule, point),
  );
  return [
    ...(own === undefined ? [] : [[own, rule] as [Mount, ScopeRule]]),
    ...inside.map((mount): [Mount, ScopeRule] => [mount, { ...rule, target: mount.point }]),
  ];
}

/** How much of a region, both given by paths inside the file system, `mount` shows; undefined for nothing. */
function shownBy(mount: Mount, inside: ScopeRule): ScopeRule | undefined {
  if (isWithin(inside.target, mount.root)) return inside;
  const part = { ...inside, target: mount.root };
  return overlaps(inside, part) ? part : undefined;
}

/** A write rule, and the denies by which its owner keeps itself out of parts of it. */
interface Claim {
  readonly rule: ScopeRule;
  readonly denies: readonly ScopeRule[];
}

/**
 * True when some file can be written by both claims, under whatever names; `views` are those of
 * `wanted.rule`. A region that one side denies itself wholly is not contested (W23), but a deny works
 * by the name it is written with and by no other.
 */
export function isContested(
  held: Claim,
  wanted: Claim,
  views: readonly View[],
  names: Names,
): boolean {
  const { rule } = wanted;
  const isLeft = (part: ScopeRule): boolean =>
    wanted.denies.some((deny) => containsRegion(deny, part));
  const isLeftThrough = ({ name, part }: View): boolean => {
    if (isLeft(part)) return true;
    if (isWithin(held.rule.target, name.target)) {
      return isLeft({ ...held.rule, target: moved(held.rule.target, name.target, part.target) });
    }
    // A flat rule above reaches only the view's own target.
    return !held.rule.recursive && wanted.denies.some((deny) => ruleMatches(deny, part.target));
  };
  const plainly = overlaps(held.rule, rule);
  if (plainly && !writeDenied([...held.denies, ...wanted.denies], held.rule, rule)) return true;
  if (isLeft(rule)) return false;
  return (
    views.some(
      (view) =>
        overlaps(held.rule, view.name) &&
        !writeDenied(held.denies, held.rule, view.name) &&
        !isLeftThrough(view),
    ) ||
    (!plainly && isFoldedOnto(held.rule, rule, names))
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
