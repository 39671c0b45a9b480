/** What `pod check` warns of: what is legal in a manifest and hardly meant. Looks at the disk, changes nothing. */
import { isSeen } from "../base/files.ts";
import type { Manifest } from "../manifest/schema.ts";
import { componentsOf, type ScopeRule } from "../scope/rule.ts";
import { containsRegion, overlaps } from "../scope/set.ts";
import type { Diagnostic } from "./check-problems.ts";

/** The warnings, by key; time grows with the number of rules, not with its square. */
export function warningsOf({ scope, compaction }: Manifest): Diagnostic[] {
  const warnings: Diagnostic[] = [];
  const warn = (key: string, message: string): void =>
    void warnings.push({ level: "warning", code: "doubtful", key, message });
  const allowed = new Regions(scope.allow);
  const denied = new Regions(scope.deny);
  for (const [index, rule] of scope.allow.entries()) {
    const key = `scope.allow[${index}]`;
    const covering = denied.around(rule).filter((at) => covers(scope.deny[at], rule));
    const whole = covering.find((at) => scope.deny[at]?.permission === "read") ?? covering[0];
    if (whole !== undefined) {
      const effect =
        scope.deny[whole]?.permission === "read" || rule.permission === "read"
          ? "the rule has no effect"
          : "it can only be read";
      warn(key, `${rule.target} is denied by scope.deny[${whole}]: ${effect}`);
    }
    if (!isSeen(rule.target)) warn(`${key}.target`, `${rule.target} does not exist yet`);
  }
  for (const [index, rule] of scope.deny.entries()) {
    // One of reading hides contents from commands wherever they lie.
    if (rule.permission === "write" && !allowed.touch(rule)) {
      warn(`scope.deny[${index}]`, `${rule.target} is not allowed anyway: the rule has no effect`);
    }
  }
  const { compact_threshold: after, compact_request_threshold: before } = compaction ?? {};
  if (after !== undefined && before !== undefined && after > before) {
    warn("compaction.compact_threshold", "is above compact_request_threshold, which acts first");
  }
  return warnings;
}

/** True when nothing of what `allow` grants is left as it says. */
function covers(deny: ScopeRule | undefined, allow: ScopeRule): boolean {
  if (deny === undefined || !containsRegion(deny, allow)) return false;
  return deny.permission === "read" || allow.permission === "write";
}

/** Rules by the place of their targets, as written; of those that say the same, the first. */
class Regions {
  readonly #rules: readonly ScopeRule[];
  readonly #at = new Map<string, Map<string, number>>();
  /** Places that have a target directly below them, or anywhere. */
  readonly #parents = new Set<string>();
  readonly #ancestors = new Set<string>();

  constructor(rules: readonly ScopeRule[]) {
    this.#rules = rules;
    for (const [index, { target, permission, recursive }] of rules.entries()) {
      const [own = "/", ...above] = placesOf(target);
      const same = this.#at.get(own) ?? new Map<string, number>();
      const kind = `${permission} ${recursive}`;
      if (!same.has(kind)) same.set(kind, index);
      this.#at.set(own, same);
      if (above[0] !== undefined) this.#parents.add(above[0]);
      for (const place of above) this.#ancestors.add(place);
    }
  }

  /** Rules at the target of `rule` and above it, by index, the nearest first. */
  around({ target }: ScopeRule): number[] {
    return placesOf(target).flatMap((place) => [...(this.#at.get(place)?.values() ?? [])]);
  }

  /** True when one of the rules overlaps with `rule`. */
  touch(rule: ScopeRule): boolean {
    const [own = "/"] = placesOf(rule.target);
    if (this.#parents.has(own) || (rule.recursive && this.#ancestors.has(own))) return true;
    return this.around(rule).some((at) => {
      const other = this.#rules[at];
      return other !== undefined && overlaps(rule, other);
    });
  }
}

/** The path and all above it up to `/`. */
function placesOf(path: string): string[] {
  const whole = `/${componentsOf(path).join("/")}`;
  const places = [whole];
  for (let at = whole.lastIndexOf("/"); at > 0; at = whole.lastIndexOf("/", at - 1)) {
    places.push(whole.slice(0, at));
  }
  return whole === "/" ? places : [...places, "/"];
}
