/**
 * One Pod's stay in the registry, from taking its directory to leaving without a trace. The life
 * lock is taken first and kept to the end; the allocation goes last of all that others can see (I5).
 */
import { PodError } from "../base/errors.ts";
import { replaceFile } from "../base/files.ts";
import { assertSocketPath, type PodPaths, podPaths } from "../base/paths.ts";
import type { Scope } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";
import { type LifeLock, takeLife } from "./life.ts";
import { findByName } from "./operations.ts";
import type { PodId, Registry } from "./registry.ts";

/** Files that a spawner puts into a child's directory before the child starts. */
const FROM_SPAWNER = ["stderr.log", "launch.json"];

/** A registered Pod. */
export class Membership {
  readonly paths: PodPaths;
  readonly allocation: Allocation;
  readonly #registry: Registry;
  readonly #life: LifeLock;

  constructor(registry: Registry, life: LifeLock, allocation: Allocation) {
    this.#registry = registry;
    this.#life = life;
    this.allocation = allocation;
    this.paths = podPaths(registry.base, allocation.pod_name);
  }

  /**
   * Removes the Pod's directory, then its allocation. The life lock file goes with the directory, but
   * the process is what holders of the name are judged by until it is gone.
   */
  async leave(): Promise<void> {
    this.#life.removeDirectory();
    const { pod_name, instance } = this.allocation;
    await this.#registry.release({ name: pod_name, instance });
  }
}

/** Joins as a root with the scope of its manifest. Throws what the registry refuses; leaves nothing then. */
export async function joinAsRoot(
  registry: Registry,
  self: PodId,
  scope: Scope,
  session: string,
): Promise<Membership> {
  return await join(registry, self, [], () => registry.register(self, scope, session));
}

/** Joins as a spawned child by adopting the reservation of its spawner. */
export async function joinAsChild(
  registry: Registry,
  self: PodId,
  session: string,
): Promise<Membership> {
  return await join(registry, self, FROM_SPAWNER, () => registry.adopt(self, session));
}

async function join(
  registry: Registry,
  self: PodId,
  keep: readonly string[],
  enter: () => Promise<{ readonly value: Allocation }>,
): Promise<Membership> {
  const paths = podPaths(registry.base, self.name);
  assertSocketPath(paths.socket);
  const life = takeLife(registry.base, self.name);
  if (life === undefined) throw duplicate(registry, self.name);
  try {
    life.clear(keep);
    const { value } = await enter();
    const membership = new Membership(registry, life, value);
    // Lets the table be rebuilt if it is ever lost while this Pod lives (W3).
    replaceFile(membership.paths.allocation, JSON.stringify(value));
    return membership;
  } catch (error) {
    life.removeDirectory();
    throw error;
  }
}

function duplicate(registry: Registry, name: string): PodError {
  const holder = findByName(registry.peek(), name);
  const where =
    holder === undefined
      ? "; it is just starting or ending"
      : ` (pid ${holder.pid}, socket ${holder.socket}; to end it: pod stop ${name})`;
  return new PodError("duplicate_name", `pod name \`${name}\` is already registered${where}`);
}
