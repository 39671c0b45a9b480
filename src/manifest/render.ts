/**
 * A resolved manifest on its way out of a process: as TOML for `<runtime>/<pod>/manifest.toml` and
 * for people, as JSON (`JSON.stringify`) for a child. The child's way back in is here too and needs
 * no TOML. Every Pod renders once before it listens; smol-toml, loaded for that, costs under 1 ms.
 */
import { checkManifest } from "./resolve.ts";
import type { Manifest } from "./schema.ts";

/** Pretty TOML that, loaded as a layer, resolves to the same manifest again. */
export async function renderManifest(manifest: Manifest): Promise<string> {
  const { stringify } = await import("smol-toml");
  // smol-toml leaves no blank line after an empty table; only headers begin with a bracket here.
  return stringify(manifest).replace(/(?<=[^\n]\n)(?=\[)/g, "\n");
}

/**
 * The manifest that a spawner handed over, from a private file. One written by this same program was
 * checked before it was written, and a second check would cost every child 5 ms; any other is checked.
 */
export function receivedManifest(value: unknown, writtenBySameProgram: boolean): Manifest {
  return writtenBySameProgram ? (value as Manifest) : parseResolvedManifest(value);
}

/**
 * The manifest in the JSON form that a spawner hands to its child. `ManifestError`
 * (`invalid_manifest`) names every key that does not fit; missing ones have their defaults.
 */
export function parseResolvedManifest(value: unknown): Manifest {
  return checkManifest(value, "failed to parse resolved manifest");
}
