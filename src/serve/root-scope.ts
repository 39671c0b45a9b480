/**
 * What a root Pod may touch: its manifest's scope with canonical targets, less the program's own directories
 * and the files with its models' keys.
 */
import { PodError } from "../base/errors.ts";
import { readMounts } from "../base/mounts.ts";
import { type BaseDirectories, roomsDirectory } from "../base/paths.ts";
import { sourceTree } from "../base/process.ts";
import type { Manifest } from "../manifest/schema.ts";
import { aliasesOf } from "../scope/aliases.ts";
import { canonicalPath, type ScopeRule } from "../scope/rule.ts";
import { accessTo, buildScope, deniesTouching, type Scope } from "../scope/set.ts";
import type { PodModels } from "./models.ts";

/**
 * Directories of the program itself: what every start of it would run, too, when it runs from source. The
 * file of a compiled one is not among them: nothing is started from its name (`selfCommand`), and to deny
 * one file would keep commands from making anything in the directories above it (docs/sandbox.md).
 */
export function guardedDirectories(
  base: string,
  store: string,
  { config, data }: Pick<BaseDirectories, "config" | "data">,
): string[] {
  const rooms = roomsDirectory({ data });
  return [base, store, ...[config, rooms, sourceTree()].filter((path) => path !== undefined)];
}

/** What the scope of a root is made of. */
interface ScopeSources {
  readonly manifest: Pick<Manifest, "scope">;
  readonly cwd: string;
  readonly guarded: readonly string[];
  readonly models?: Pick<PodModels, "keyFiles">;
}

/**
 * A root's scope: its manifest's with canonical targets, less the program's own directories and the
 * files with its models' keys.
 */
export function rootScope({ manifest, cwd, guarded, models }: ScopeSources): Scope {
  const granted = buildScope(manifest.scope.allow, manifest.scope.deny);
  // No agent writes the registry or its user's configuration, whatever its scope contains and
  // whatever names these have.
  const mounts = readMounts();
  const denied = granted.deny.flatMap((rule) => [rule, ...aliasesOf(rule, mounts)]);
  const own = guarded.flatMap((path): ScopeRule[] => {
    const target = canonicalPath(path);
    if (!target.ok) return [];
    const rule: ScopeRule = { target: target.path, permission: "write", recursive: true };
    return [rule, ...aliasesOf(rule, mounts)];
  });
  const keys = (models?.keyFiles ?? []).flatMap((path): ScopeRule[] => {
    const target = canonicalPath(path);
    if (!target.ok) return [];
    // Not recursive: it is a file, and if it is not, no key is read from it.
    const rule: ScopeRule = { target: target.path, permission: "read", recursive: false };
    return [rule, ...aliasesOf(rule, mounts)];
  });
  // Keys wherever they lie: commands read what no rule hides.
  const scope = { ...granted, deny: [...denied, ...deniesTouching(own, granted.allow), ...keys] };
  assertReadableCwd(scope, cwd);
  return scope;
}

/** A Pod must be able to read where it works (spec registry-and-spawn 7.1). */
export function assertReadableCwd(scope: Scope, cwd: string): void {
  if (accessTo(scope, cwd) !== "none") return;
  throw new PodError("invalid_manifest", `pwd is not readable under the configured scope: ${cwd}`);
}
