/** `pod stop NAME`: ends Pods for certain, by name, from any terminal. */
import { EXIT, PodError } from "../base/errors.ts";
import { type Environment, printable } from "../base/paths.ts";
import { findByName } from "../registry/operations.ts";
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
    out.write(`stopped pod \`${entry.pod_name}\`${result === "forced" ? " (forced)" : ""}\n`);
  }
  return EXIT.done;
}
