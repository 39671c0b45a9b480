/** `pod stop NAME`: ends Pods for certain, by name, from any terminal. */
import { EXIT, PodError } from "../base/errors.ts";
import { type Environment, printable } from "../base/paths.ts";
import type { Allocation } from "../registry/allocation.ts";
import { type Allocations, childrenOf, findByName } from "../registry/operations.ts";
import type { Registry } from "../registry/registry.ts";
import type { Streams } from "./output.ts";
import { openRegistry, stopEntry } from "./tree.ts";

/**
 * Ends the named Pods, one after the other. Children of a stopped Pod live on below its parent.
 * Throws `unknown_pod` for a name that no live Pod has, `timed_out` for one that could not be ended.
 */
export async function stopPods(
  names: readonly string[],
  env: Environment,
  { out }: Streams,
): Promise<number> {
  const registry = openRegistry(env);
  const { table } = await registry.reclaim();
  const entries = names.map((name) => {
    const entry = findByName(table, name);
    if (entry !== undefined) return entry;
    const known = table.map((other) => other.pod_name).join(", ");
    throw new PodError(
      "unknown_pod",
      `no live pod named \`${printable(name)}\`${known === "" ? "" : ` (live: ${known})`}`,
    );
  });
  for (const entry of entries) {
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
  return EXIT.done;
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
