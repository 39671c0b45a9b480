/**
 * From a scope to Landlock rules. Landlock can only add up: what is granted for a directory holds for
 * all below it. So where a deny rule or a delegation lies below an allowed directory, that directory
 * is not granted, but what lies in it beside the denied path is, one by one. What the rules let write
 * is never more than what the scope lets write; where it is less, the plan says so.
 */
import { isWithin, type Permission, type ScopeRule } from "../scope/rule.ts";
import { accessTo, type Scope } from "../scope/set.ts";
import {
  CHANGE_RIGHTS,
  ENTRY_RIGHTS,
  FILE_RIGHTS,
  READ_RIGHTS,
  RIGHTS,
  WRITE_RIGHTS,
} from "./landlock.ts";
import type { PathRule } from "./spec.ts";

/** What stands at a path, links not followed. */
export type EntryKind = "file" | "directory" | "link" | "missing";

/** The part of a file system that planning looks at. */
export interface FileView {
  kind(path: string): EntryKind;
  /** Names in a directory with their kinds; empty when it cannot be listed. */
  list(path: string): readonly { readonly name: string; readonly kind: EntryKind }[];
}

/** What to make rules for. All targets are canonical. */
interface RulesetRequest {
  /** The effective scope: its allow rules of `write` and all its deny rules count. */
  readonly scope: Scope;
  /** Further places to write, which no deny rule of the scope nor of `foreign` may touch. */
  readonly extra: readonly string[];
  /** What other Pods may write: nothing of it is granted as an extra. */
  readonly foreign: readonly ScopeRule[];
  /** Directories of the program: never writable, their sockets not connectable where the kernel can. */
  readonly guarded: readonly string[];
  /** Places that are writable whatever lies around them: the private temporary directory. */
  readonly own: readonly string[];
  /** Rights that the kernel handles; rules are not made for others. */
  readonly handled: number;
}

/** Rules, and what a person or a model has to know of them. */
export interface Ruleset {
  readonly rules: readonly PathRule[];
  /** Writable places: directories with all below, and single files. */
  readonly writable: readonly string[];
  /** Directories of the scope where what is there may be changed, but nothing made, removed or renamed. */
  readonly partial: readonly string[];
  /** Writable targets that do not exist yet, so that the kernel cannot be told of them. */
  readonly missing: readonly string[];
  /** More places to write than `MAX_RULES`; the rest was left out. */
  readonly cut: boolean;
  /** The same of places to read, beside what a deny rule hides. */
  readonly readsCut: boolean;
}

/** Rules that one command gets at most for reading, and again for writing: each costs some microseconds. */
export const MAX_RULES = 4096;

/**
 * Devices that every command may write, because nothing is changed by it (null(4), random(4)). Not
 * `/dev/tty`: a command has no terminal, and one that it made its own is somebody's (tty(4)).
 */
const DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/** The rules for one command. Looks at the file system through `view` only. */
export function planRuleset(request: RulesetRequest, view: FileView): Ruleset {
  const { scope, guarded } = request;
  const guards = guarded.map((target) => recursive("write", target));
  const granted = new Plan(view);
  // First what every command needs: where there is too much, only places to write may be missing.
  for (const path of request.own) granted.add(path, WRITE_RIGHTS | READ_RIGHTS);
  for (const path of DEVICES) granted.add(path, CHANGE_RIGHTS | RIGHTS.readFile);
  addReads(granted, request);
  granted.beginWrites();
  granted.addWrites({ allow: scope.allow, deny: [...scope.deny, ...guards] });
  if (request.extra.length > 0) {
    granted.addWrites({
      allow: request.extra.map((target) => recursive("write", target)),
      deny: [...scope.deny, ...guards, ...request.foreign],
    });
  }
  for (const path of request.own) granted.show(path);
  return granted.result();
}

/** Reading: everything, less what deny rules remove; names stay visible, contents do not. */
function addReads(plan: Plan, { scope, guarded, handled }: RulesetRequest): void {
  // To list a directory that holds a denied one is to be allowed to list that one, too.
  plan.add("/", RIGHTS.readDir);
  const everything = [recursive("read", "/")];
  const hidden = scope.deny.filter((rule) => rule.permission === "read");
  const reading = {
    below: RIGHTS.readFile | RIGHTS.execute,
    file: RIGHTS.readFile | RIGHTS.execute,
  };
  // What is hidden in a file system must not be had from the disk below it: no device but `DEVICES`.
  const devices = hidden.length === 0 ? [] : [recursive("read", "/dev")];
  plan.expand("/", { allow: everything, deny: [...hidden, ...devices] }, "read", reading);
  if (devices.length > 0) {
    plan.expand("/dev/shm", { allow: everything, deny: hidden }, "read", reading);
  }
  if ((handled & RIGHTS.resolveUnix) === 0) return;
  const unreachable = [...hidden, ...guarded.map((target) => recursive("read", target))];
  plan.expand("/", { allow: everything, deny: unreachable }, "read", {
    below: RIGHTS.resolveUnix,
    file: RIGHTS.resolveUnix,
  });
}

function recursive(permission: Permission, target: string): ScopeRule {
  return { permission, target, recursive: true };
}

interface Rights {
  readonly below: number;
  readonly file: number;
}

const WRITING: Rights = {
  below: WRITE_RIGHTS,
  file: CHANGE_RIGHTS,
};

class Plan {
  readonly #view: FileView;
  readonly #rights = new Map<string, number>();
  readonly #writable = new Set<string>();
  readonly #partial = new Set<string>();
  readonly #missing = new Set<string>();
  #limit = MAX_RULES;
  #cut = false;
  #readsCut = false;

  constructor(view: FileView) {
    this.#view = view;
  }

  add(path: string, rights: number, shown = false): void {
    const known = this.#rights.get(path);
    if (known === undefined && this.#rights.size >= this.#limit) {
      this.#cut = true;
      return;
    }
    this.#rights.set(path, (known ?? 0) | rights);
    if (shown) this.show(path);
  }

  /** Names a place as writable. */
  show(path: string): void {
    this.#writable.add(path);
  }

  /** What comes now counts by itself. */
  beginWrites(): void {
    this.#readsCut = this.#cut;
    this.#cut = false;
    this.#limit = this.#rights.size + MAX_RULES;
  }

  addWrites(scope: Scope): void {
    for (const { permission, target, recursive: deep } of scope.allow) {
      if (permission !== "write") continue;
      if (deep) this.#deep(target, scope);
      else this.#flat(target, scope);
    }
  }

  /** Grants `rights` from `path` downwards wherever `scope` has `wanted` access. */
  expand(path: string, scope: Scope, wanted: Permission, rights: Rights): void {
    this.#descend(path, "directory", scope, wanted, rights, () => {});
  }

  result(): Ruleset {
    return {
      rules: [...this.#rights],
      writable: [...this.#writable],
      partial: [...this.#partial],
      missing: [...this.#missing],
      cut: this.#cut,
      readsCut: this.#readsCut,
    };
  }

  #deep(target: string, scope: Scope): void {
    const kind = this.#view.kind(target);
    if (kind === "missing") {
      if (accessTo(scope, target) === "write") this.#missing.add(target);
      return;
    }
    this.#descend(target, kind, scope, "write", WRITING, (path, whole) =>
      (whole ? this.#writable : this.#partial).add(path),
    );
  }

  /** By levels: what lies high up is granted first, so that a huge directory below cuts off nothing else. */
  #descend(
    start: string,
    startKind: EntryKind,
    scope: Scope,
    wanted: Permission,
    rights: Rights,
    found: (path: string, whole: boolean) => void,
  ): void {
    const level: (readonly [path: string, kind: EntryKind])[] = [[start, startKind]];
    for (const [path, kind] of level) {
      if (this.#cut) return;
      if (kind === "file") {
        if (!suffices(accessTo(scope, path), wanted)) continue;
        this.add(path, rights.file & FILE_RIGHTS);
        found(path, true);
        continue;
      }
      // A link grants nothing: what it leads to has a name of its own.
      if (kind !== "directory") continue;
      const denies = scope.deny.filter((rule) => touchesBelow(rule, path));
      if (denies.length === 0) {
        this.add(path, rights.below);
        found(path, true);
        continue;
      }
      // Denied wholly: not even a part that is worth a word.
      if (denies.some((rule) => rule.recursive && isWithin(path, rule.target))) continue;
      found(path, false);
      for (const entry of this.#view.list(path)) {
        level.push([path === "/" ? `/${entry.name}` : `${path}/${entry.name}`, entry.kind]);
      }
    }
  }

  /** The target and its direct children only. */
  #flat(target: string, scope: Scope): void {
    const kind = this.#view.kind(target);
    if (kind !== "directory") return this.#deep(target, scope);
    const entries = this.#view.list(target);
    const hasDirectories = entries.some((entry) => entry.kind === "directory");
    if (!hasDirectories && !scope.deny.some((rule) => touchesBelow(rule, target))) {
      // Without a directory below, and without the right to make one, nothing deeper is reached.
      this.add(target, ENTRY_RIGHTS | CHANGE_RIGHTS, true);
      return;
    }
    this.#partial.add(target);
    for (const { name, kind: child } of entries) {
      if (child === "file") this.#deep(target === "/" ? `/${name}` : `${target}/${name}`, scope);
    }
  }
}

function suffices(access: Permission | "none", wanted: Permission): boolean {
  return access === "write" || access === wanted;
}

/** True when the rule speaks about some path strictly below `directory`. */
function touchesBelow(rule: ScopeRule, directory: string): boolean {
  if (isWithin(rule.target, directory)) return true;
  if (!isWithin(directory, rule.target)) return false;
  return rule.recursive;
}
