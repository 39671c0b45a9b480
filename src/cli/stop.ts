/** `pod stop NAME`: ends Pods for certain, by name, from any terminal. */
import { EXIT, PodError, renderForTerminal } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { type Allocation, isReservation } from "../registry/allocation.ts";
import { type Allocations, childrenOf, findByName } from "../registry/kinship.ts";
import type { Registry } from "../registry/registry.ts";
import type { Streams } from "./output.ts";
import { liveEntry, openRegistry, stopEntry, stopInOrder } from "./tree.ts";

/**
 * Ends the named Pods, one after the other. Children of a stopped Pod live on below its parent, or with
 * `tree` end with it. Throws `unknown_pod` for a name that no live Pod has, `timed_out` for one that
 * could not be ended.
 */
export async function stopPods(
  names: readonly string[],
  options: { readonly tree: boolean },
  env: Environment,
  { out, err }: Streams,
): Promise<number> {
  const registry = openRegistry(env);
  const { table } = await registry.reclaim();
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      const entry = liveEntry(table, name);
      if (options.tree) await stopTree(registry, entry, out);
      else await stopOne(registry, table, entry, out);
    } catch (error) {
      // One that has just ended must not keep the others from being stopped.
      failures.push(error);
    }
  }
  for (const failure of failures.slice(0, -1)) err.write(`${renderForTerminal(failure)}\n`);
  if (failures.length > 0) throw failures.at(-1);
  return EXIT.done;
}

async function stopOne(
  registry: Registry,
  table: Allocations,
  entry: Allocation,
  out: Streams["out"],
): Promise<void> {
  const result = await stopEntry(registry, entry);
  if (result === "alive") {
    throw new PodError(
      "timed_out",
      `pod \`${entry.pod_name}\` (pid ${entry.pid}) could not be ended; its scope is kept`,
    );
  }
  const forced = result === "forced" ? " (forced)" : "";
  out.write(
    `stopped pod \`${entry.pod_name}\`${forced}${await heirsNote(registry, table, entry)}\n`,
  );
}

/** How often is looked who is still below. Nobody is, mostly after two looks; none grows for ever. */
const MAX_LOOKS = 100;

/**
 * Ends a Pod and all below it, parents first. Who is below is asked anew each time, when those above
 * cannot start anything any more: one of them may just have spawned a child, or brought one back.
 */
async function stopTree(registry: Registry, top: Allocation, out: Streams["out"]): Promise<void> {
  const stopped: Allocation[] = [];
  let level = [top];
  for (let looks = 0; level.length > 0; looks += 1) {
    if (looks === MAX_LOOKS) {
      throw new PodError("timed_out", `below pod \`${top.pod_name}\` new pods are still started`);
    }
    const before = (await registry.reclaim()).table;
    const left = await stopInOrder(registry, level);
    if (left.length > 0) {
      const names = left.map(({ pod_name, pid }) => `\`${pod_name}\` (pid ${pid})`).join(", ");
      throw new PodError("timed_out", `could not be ended: ${names}; their scope is kept`);
    }
    const { table } = await registry.reclaim();
    const known = level.flatMap((entry) => belowOf(before, entry));
    stopped.push(...level);
    // Heirs of the dead are somebody else's children by now: they are known by their lineage.
    level = table.filter(
      (entry) =>
        // One that is just being started is not in the way: it finds its reservation gone and ends.
        !isReservation(entry) &&
        (known.some(({ instance }) => instance === entry.instance) ||
          stopped.some((ended) => descends(entry, ended))),
    );
  }
  const [first = top.pod_name, ...rest] = stopped.map(({ pod_name }) => pod_name);
  out.write(
    `stopped pod \`${first}\`${rest.length === 0 ? "" : ` and below it ${rest.join(", ")}`}\n`,
  );
}

/** The children of this run of a name. */
function belowOf(table: Allocations, { pod_name, instance }: Allocation): Allocation[] {
  return findByName(table, pod_name)?.instance === instance ? childrenOf(table, pod_name) : [];
}

/** True when that run of a Pod was above this one when it was spawned or brought back. */
function descends({ lineage }: Allocation, { pod_name, instance }: Allocation): boolean {
  return lineage.some((above) => above.pod_name === pod_name && above.instance === instance);
}

/** Says who lives on: the children of a stopped Pod are not stopped with it. */
async function heirsNote(
  registry: Registry,
  before: Allocations,
  stopped: Allocation,
): Promise<string> {
  const { table } = await registry.reclaim();
  const heirs = childrenOf(before, stopped.pod_name)
    .filter((child) => findByName(table, child.pod_name)?.instance === child.instance)
    .map((child) => child.pod_name);
  return heirs.length === 0 ? "" : `; its children live on: ${heirs.join(", ")}`;
}
