/**
 * Paths of the manifest as they hold for the whole life of a Pod, its children and its later processes:
 * resolved once, when the root starts, before any command could put a link where a directory or file was.
 * Nothing follows a link later, also not when the Pod comes back.
 */
import { lstatSync } from "node:fs";
import { dirname } from "node:path";
import { PodError } from "../base/errors.ts";
import type { Manifest } from "../manifest/schema.ts";
import { canonicalPath, canonicalTarget, componentsOf, type ScopeRule } from "../scope/rule.ts";
import { accessTo, buildScope, type Scope } from "../scope/set.ts";

/**
 * The manifest with canonical paths in `scope`, `sandbox.write` and `pod.prompt_pack`. Throws
 * `invalid_manifest` for a path that cannot be resolved, and for one that leads over a link which a command
 * of an earlier start can have made. Rules of `scope` that only let read may lead over any. A scope that
 * cannot be built is left as it is, for whoever builds it to complain of.
 */
export function withFixedPaths<M extends Pick<Manifest, "pod" | "scope" | "sandbox">>(
  manifest: M,
): M {
  const { allow, deny } = manifest.scope;
  const { write } = manifest.sandbox;
  const { prompt_pack: pack } = manifest.pod;
  const extras = write
    .filter((path) => canonicalTarget(path).ok)
    .map((target) => ({ target, permission: "write", recursive: true }) as const);
  const reach = reachOf([...allow, ...extras], deny);
  if (reach === undefined) return manifest;
  const fix = (key: string) => (rule: ScopeRule) => ({
    ...rule,
    target: fixed(key, rule.target, reach),
  });
  const read = (rule: ScopeRule): ScopeRule => ({ ...rule, ...canonicalIn(rule) });
  return {
    ...manifest,
    scope: {
      ...manifest.scope,
      allow: allow.map((rule) =>
        rule.permission === "write" ? fix("scope.allow")(rule) : read(rule),
      ),
      deny: deny.map(fix("scope.deny")),
    },
    ...(pack === undefined
      ? {}
      : { pod: { ...manifest.pod, prompt_pack: fixed("pod.prompt_pack", pack, reach) } }),
    sandbox: {
      ...manifest.sandbox,
      write: write.map((path) => fixed("sandbox.write", path, reach)),
    },
  };
}

function reachOf(allow: readonly ScopeRule[], deny: readonly ScopeRule[]): Scope | undefined {
  try {
    return buildScope(allow, deny);
  } catch {
    return undefined;
  }
}

function canonicalIn({ target }: ScopeRule): { readonly target?: string } {
  const place = canonicalTarget(target);
  return place.ok ? { target: place.path } : {};
}

function fixed(key: string, path: string, reach: Scope): string {
  const target = canonicalTarget(path);
  if (!target.ok) {
    throw new PodError("invalid_manifest", `${key}: ${path}: ${target.reason}`);
  }
  const names = componentsOf(path);
  for (let length = 1; length <= names.length; length += 1) {
    const head = `/${names.slice(0, length).join("/")}`;
    if (lstatSync(head, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue;
    const parent = canonicalPath(dirname(head));
    if (parent.ok && accessTo(reach, parent.path) === "write") {
      throw new PodError(
        "invalid_manifest",
        `${key}: ${head} is a symbolic link where the pod itself may write, so that a command ` +
          `can have made it; remove it, or name the place it leads to (${target.path})`,
      );
    }
  }
  return target.path;
}
