/**
 * `[sandbox] write` and `pod.prompt_pack` as they hold for the whole life of a Pod and its children:
 * resolved once, when the root starts, before any command could put a link where a directory or file
 * was. Nothing follows a link later.
 */
import { lstatSync } from "node:fs";
import { dirname } from "node:path";
import { PodError } from "../base/errors.ts";
import type { Manifest } from "../manifest/schema.ts";
import { canonicalPath, canonicalTarget, componentsOf } from "../scope/rule.ts";
import { accessTo, buildScope, type Scope } from "../scope/set.ts";

/**
 * The manifest with canonical paths there. Throws `invalid_manifest` for a path that cannot be resolved,
 * and for one that leads over a link which a command of an earlier start can have made.
 */
export function withFixedPaths<M extends Pick<Manifest, "pod" | "scope" | "sandbox">>(
  manifest: M,
): M {
  const { write } = manifest.sandbox;
  const { prompt_pack: pack } = manifest.pod;
  if (write.length === 0 && pack === undefined) return manifest;
  const extras = write.map((target) => ({ target, permission: "write", recursive: true }) as const);
  const reach = buildScope([...manifest.scope.allow, ...extras], manifest.scope.deny);
  return {
    ...manifest,
    ...(pack === undefined
      ? {}
      : { pod: { ...manifest.pod, prompt_pack: fixed("pod.prompt_pack", pack, reach) } }),
    sandbox: {
      ...manifest.sandbox,
      write: write.map((path) => fixed("sandbox.write", path, reach)),
    },
  };
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
