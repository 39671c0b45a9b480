/**
 * One Pod's stay in the registry, from taking its directory to leaving without a trace. The life
 * lock is taken first and kept to the end; the allocation goes last of all that others can see (I5).
 */
import { ioError, messageOf, PodError } from "../base/errors.ts";
import { removeFile } from "../base/files.ts";
import { log } from "../base/log.ts";
import { assertSocketPath, type PodPaths, podPaths } from "../base/paths.ts";
import type { Scope } from "../scope/set.ts";
import type { Allocation } from "./allocation.ts";
import { type LifeLock, takeLife } from "./life.ts";
import { isDead } from "./liveness.ts";
import { childrenOf, findByName } from "./kinship.ts";
import type { Outcome, PodId, Registry } from "./registry.ts";

/** The file that joining writes. */
const OWN_RECORD = "allocation.json";
/** Files that a spawner puts into a child's directory before the child starts. */
const FROM_SPAWNER = ["stderr.log", "launch.json"];

/** How long a directory may be held by others that only look at it or clear it after somebody's death. */
const CLEARING_MS = 500;
const MAX_PAUSE_MS = 25;

/** What entering the registry returns. */
type Joined = Pick<Outcome<Allocation>, "value" | "table">;

/** A registered Pod. */
export class Membership {
  readonly paths: PodPaths;
  readonly allocation: Allocation;
  /** Live children of an earlier run of this name, which are this Pod's from the start (W52). */
  readonly heirs: readonly Allocation[];
  readonly #registry: Registry;
  readonly #life: LifeLock;

  constructor(registry: Registry, life: LifeLock, joined: Joined) {
    this.#registry = registry;
    this.#life = life;
    this.allocation = joined.value;
    this.heirs = childrenOf(joined.table, joined.value.pod_name);
    this.paths = podPaths(registry.base, joined.value.pod_name);
  }

  /**
   * Removes the Pod's directory, then its allocation. The life lock file goes with the directory, but
   * the process is what holders of the name are judged by until it is gone.
   */
  async leave(): Promise<void> {
    try {
      this.#life.removeDirectory();
    } finally {
      const { pod_name, instance } = this.allocation;
      await this.#registry.release({ name: pod_name, instance });
    }
  }
}

/**
 * Joins as a root with the scope of its manifest. `lineage`: its parents when it was a child, nearest
 * first; whoever of them comes back finds it. Throws what the registry refuses; leaves nothing then.
 */
export async function joinAsRoot(
  registry: Registry,
  self: PodId,
  scope: Scope,
  session: string,
  lineage?: Allocation["lineage"],
): Promise<Membership> {
  return await join(registry, self, [], () => registry.register(self, scope, session, lineage));
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
  enter: () => Promise<Joined>,
): Promise<Membership> {
  const paths = podPaths(registry.base, self.name);
  assertSocketPath(paths.socket);
  const life = await occupy(registry, self);
  let entered: Membership | undefined;
  try {
    // What listened there is dead; who looks at the directory must not take us for it meanwhile.
    if (!life.isFresh) removeSocket(paths.socket);
    entered = new Membership(registry, life, await enter());
    // Only now is what lies there known to be a predecessor's.
    life.clear([...keep, OWN_RECORD]);
    return entered;
  } catch (error) {
    if (entered === undefined) leaveNothing(registry, self, life);
    // Otherwise the entry would stand for as long as this process lives.
    else await entered.leave().catch((why: unknown) => log("warn", messageOf(why)));
    throw error;
  }
}

/** Takes the directory; refuses only for a Pod that lives, not for somebody who clears up after one. */
async function occupy(registry: Registry, self: PodId): Promise<LifeLock> {
  const deadline = performance.now() + CLEARING_MS;
  for (let pause = 1; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
    const life = takeLife(registry.base, self.name);
    if (life !== undefined) return life;
    const holder = findByName(registry.peek(), self.name);
    const other = holder !== undefined && holder.instance !== self.instance;
    if (other && !isDead(registry.base, holder, Date.now())) throw duplicate(self.name, holder);
    if (performance.now() >= deadline) throw duplicate(self.name, undefined);
    await Bun.sleep(pause);
  }
}

/** Removes the directory, unless the name is somebody else's: a child may be starting in it. */
function leaveNothing(registry: Registry, self: PodId, life: LifeLock): void {
  try {
    if (life.isFresh || !isOthers(registry, self)) life.removeDirectory();
    else life.release();
  } catch (error) {
    log("warn", messageOf(error));
  }
}

function removeSocket(path: string): void {
  try {
    removeFile(path);
  } catch (error) {
    throw ioError(`cannot remove what a dead pod left at ${path}`, error);
  }
}

function isOthers(registry: Registry, self: PodId): boolean {
  const holder = findByName(registry.peek(), self.name);
  return holder !== undefined && holder.instance !== self.instance;
}

function duplicate(name: string, holder: Allocation | undefined): PodError {
  const where =
    holder === undefined
      ? "; it is just starting or ending"
      : ` (pid ${holder.pid}, socket ${holder.socket}; to end it: pod stop ${name})`;
  return new PodError("duplicate_name", `pod name \`${name}\` is already registered${where}`);
}
