/** How a Pod enters the registry: a root with its manifest's scope, a child with exactly what was reserved. */
import { PodError } from "../base/errors.ts";
import { readMounts } from "../base/mounts.ts";
import type { Manifest } from "../manifest/schema.ts";
import { standingApart, withoutThem } from "../registry/apart.ts";
import { joinAsChild, joinAsRoot, type Membership } from "../registry/membership.ts";
import type { Registry } from "../registry/registry.ts";
import { canonicalPath } from "../scope/rule.ts";
import type { Scope } from "../scope/set.ts";
import { type Configuration, named } from "./configuration.ts";
import { assertReadableCwd, rootScope } from "./root-scope.ts";
import { parentOf } from "./recording.ts";

/** Enters the registry, as a root or as the child that was reserved for. Throws worded for the terminal. */
export async function join(
  configuration: Configuration,
  registry: Registry,
  session: string,
): Promise<Membership> {
  const { manifest, instance, cwd, parent } = configuration;
  const self = { name: manifest.pod.name, instance };
  if (parent === undefined) {
    try {
      const scope = rootScope(configuration);
      if (configuration.restored === undefined) {
        return await joinAsRoot(registry, self, scope, session);
      }
      // A child of an earlier run that is brought back alone holds what it held, as a root, and says
      // whose it was.
      const { formerParents } = await import("./restore.ts");
      const lineage = formerParents(configuration.store, parentOf(configuration));
      const free = await withoutApart(registry, self.name, scope);
      return await joinAsRoot(registry, self, free, session, lineage);
    } catch (error) {
      const what = configuration.restored === undefined ? "create" : "restore";
      throw named(`failed to ${what} pod`, error);
    }
  }
  try {
    const membership = await joinAsChild(registry, self, session);
    try {
      assertExactScope(membership, parent.launch === undefined ? undefined : manifest);
      assertReadableCwd(scopeOf(membership), cwd);
    } catch (error) {
      await membership.leave();
      throw error;
    }
    return membership;
  } catch (error) {
    throw named("failed to create spawned pod", error);
  }
}

/**
 * The scope of a Pod that comes back, without what descendants write that live and cannot be its own
 * again; the table is brought up to date when it names some.
 */
async function withoutApart(registry: Registry, name: string, scope: Scope): Promise<Scope> {
  const mounts = readMounts();
  if (standingApart(registry.peek(), name, scope.allow, mounts).length === 0) return scope;
  const { table } = await registry.reclaim();
  return withoutThem(scope, standingApart(table, name, scope.allow, mounts), mounts);
}

/** What a Pod holds in the registry. */
export function scopeOf({ allocation }: Membership): Scope {
  return { allow: allocation.scope_allow, deny: allocation.scope_deny };
}

/**
 * A child has exactly what was reserved: its targets still mean what they meant (no directory became
 * a link since), and its manifest says nothing else (W19, W21).
 */
function assertExactScope(membership: Membership, manifest: Manifest | undefined): void {
  const { allow, deny } = scopeOf(membership);
  for (const { target } of [...allow, ...deny]) {
    const now = canonicalPath(target);
    if (!now.ok || now.path !== target) {
      throw new PodError("denied", `scope target ${target} was replaced since it was reserved`);
    }
  }
  if (manifest === undefined || Bun.deepEquals(manifest.scope, { allow, deny })) return;
  throw new PodError("denied", "the scope in the launch file differs from the reservation");
}
