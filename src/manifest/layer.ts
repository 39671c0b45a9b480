/**
 * One layer of the cascade, from TOML text to checked data: everything wrong with it is found at
 * once, with line and key; its paths are absolute when it leaves here (spec manifest 2.1, 2.3).
 */
import { dottedKey, findingsOf } from "./issues.ts";
import { lineFinder } from "./locate.ts";
import { absolutePaths } from "./paths.ts";
import { ManifestError } from "./problem.ts";
import { type ManifestLayer, manifestLayerSchema } from "./schema.ts";
import { parseTomlText } from "./toml.ts";

/** Where a layer's text comes from. */
interface LayerSource {
  /** The file, as messages name it; absent for an overlay. */
  readonly file?: string;
  /** Absolute directory that relative paths in the layer start from. */
  readonly base: string;
}

/** Top-level keys that begin like this belong to somebody else and are passed over (FIX 2). */
const FOREIGN_PREFIX = "x-";

/**
 * Parses a layer. Throws `ManifestError` whose text starts with `failed to parse manifest <path>: `
 * or `failed to parse overlay TOML: ` and lists every problem, ordered by line.
 */
export async function parseLayer(text: string, source: LayerSource): Promise<ManifestLayer> {
  const { file } = source;
  const prefix =
    file === undefined ? "failed to parse overlay TOML" : `failed to parse manifest ${file}`;
  const data = await parseTomlText(text, prefix, file);
  const own = Object.fromEntries(
    Object.entries(data).filter(([key]) => !key.startsWith(FOREIGN_PREFIX)),
  );
  const parsed = manifestLayerSchema().safeParse(absolutePaths(own, source.base));
  if (parsed.success) return parsed.data;
  const lineOf = lineFinder(text);
  const problems = findingsOf(parsed.error)
    .map(({ path, message }) => ({
      ...(file === undefined ? {} : { file }),
      line: lineOf(path),
      key: dottedKey(path),
      message,
    }))
    .sort((a, b) => a.line - b.line);
  throw new ManifestError([{ prefix, problems }], parsed.error);
}
