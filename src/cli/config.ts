/** `pod config`: the manifest as it is after the cascade, and where each value of it came from. */
import { EXIT } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { harmless } from "../base/text.ts";
import { type Origin, originsOf } from "../manifest/origins.ts";
import { renderManifest } from "../manifest/render.ts";
import { canonicalCwd } from "../serve/configuration.ts";
import { loadCascade } from "../serve/load-cascade.ts";
import { loadOptionsOf, type ManifestOptions } from "./cascade.ts";
import type { Streams } from "./output.ts";
import { painterFor } from "./terminal.ts";

/**
 * Prints the resolved manifest: TOML; a line for each value with `showOrigin`; with `json` the
 * manifest alone, or an object with `manifest`, `layers` and `origins`. Throws what `loadCascade`
 * throws.
 */
export async function showConfig(
  options: ManifestOptions & { readonly showOrigin: boolean; readonly json: boolean },
  env: Environment,
  cwd: string,
  { out }: Streams,
): Promise<number> {
  const loaded = await loadCascade(await loadOptionsOf(options, env, canonicalCwd(cwd)));
  const { manifest } = loaded;
  if (options.json) {
    const origins = originsOf(loaded);
    const layers = loaded.layers.map(({ kind, file }) => ({ kind, ...(file && { file }) }));
    const whole = options.showOrigin ? { manifest, layers, origins } : manifest;
    out.write(`${JSON.stringify(whole, null, 2)}\n`);
    return EXIT.done;
  }
  if (!options.showOrigin) {
    out.write(harmless(await renderManifest(manifest)));
    return EXIT.done;
  }
  const paint = painterFor(out, env);
  const origins = originsOf(loaded);
  const places = origins.map(placeOf);
  const width = Math.max(...places.map((place) => place.length));
  for (const [index, { key, value }] of origins.entries()) {
    const place = paint("dim", (places[index] ?? "").padEnd(width));
    out.write(harmless(`${place}  ${paint("cyan", key)} = ${JSON.stringify(value)}\n`));
  }
  return EXIT.done;
}

const WORDS = {
  builtin: "built-in",
  default: "default",
  fallback: "default of pod run",
  overlay: "--overlay",
  options: "options of the command",
  user: "user",
  project: "project",
  manifest: "--manifest",
} as const;

function placeOf({ source, file, line }: Origin): string {
  const place = file ?? WORDS[source];
  return line === undefined ? place : `${place}:${line}`;
}
