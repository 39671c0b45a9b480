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

/** Ends a Pod and all below it, level by level; who is below is asked as late as possible. */
async function stopTree(registry: Registry, top: Allocation, out: Streams["out"]): Promise<void> {
  const stopped: string[] = [];
  for (let level = [top]; level.length > 0;) {
    const { table } = await registry.reclaim();
    // One that is just being started is not in the way: it finds its reservation gone and ends.
    const below = level
      .filter(({ pod_name, instance }) => findByName(table, pod_name)?.instance === instance)
      .flatMap(({ pod_name }) => childrenOf(table, pod_name));
    const left = await stopInOrder(registry, level);
    if (left.length > 0) {
      const names = left.map(({ pod_name, pid }) => `\`${pod_name}\` (pid ${pid})`).join(", ");
      throw new PodError("timed_out", `could not be ended: ${names}; their scope is kept`);
    }
    stopped.push(...level.map(({ pod_name }) => pod_name));
    level = below.filter((entry) => !isReservation(entry));
  }
  const [first = top.pod_name, ...rest] = stopped;
  out.write(
    `stopped pod \`${first}\`${rest.length === 0 ? "" : ` and below it ${rest.join(", ")}`}\n`,
  );
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
