/**
 * Which layer each value of a resolved manifest came from, and the line there. The layers are merged
 * once more with marks in place of their values, by the same `mergeLayers`, so that what is said
 * here cannot differ from what was done.
 */
import { dottedKey } from "./issues.ts";
import type { LoadedLayer, LoadedManifest } from "./load.ts";
import { type KeyPath, writtenLines } from "./locate.ts";
import { mergeLayers } from "./merge.ts";
import type { ManifestLayer } from "./schema.ts";

/** One value and where it comes from. */
export interface Origin {
  /** `scope.allow[1].target`. */
  readonly key: string;
  readonly value: unknown;
  /** `default`: no layer says it; `fallback`: no layer says it, and the command had to know it. */
  readonly source: LoadedLayer["kind"] | "default" | "fallback";
  readonly file?: string;
  /** From 1; absent where there is no text. */
  readonly line?: number;
}

/** Stands for a value during the merge. */
class Mark {
  constructor(
    readonly layer: LoadedLayer,
    readonly path: KeyPath,
  ) {}
}

/** Every value of the manifest, in its order; lists of plain values count as one. */
export function originsOf({ manifest, layers, filled }: LoadedManifest): Origin[] {
  const marked = layers.map((layer) => marksOf(layer)).reduce(mergeLayers);
  const written = new Map<LoadedLayer, (path: KeyPath) => number | undefined>();
  const origins: Origin[] = [];
  const walk = (value: unknown, path: KeyPath, mark: unknown): void => {
    const children = childrenOf(value);
    if (children !== undefined) {
      for (const [name, child] of children) walk(child, [...path, name], memberOf(mark, name));
      return;
    }
    const key = dottedKey(path);
    if (!(mark instanceof Mark)) {
      const isFilled = filled.some((prefix) => key === prefix || isBelow(key, prefix));
      origins.push({ key, value, source: isFilled ? "fallback" : "default" });
      return;
    }
    const { layer } = mark;
    const { kind, file, text } = layer;
    if (text === undefined) {
      origins.push({ key, value, source: kind });
      return;
    }
    const lineOf = written.get(layer) ?? writtenLines(text);
    written.set(layer, lineOf);
    const line = lineOf(mark.path);
    // Not written there: the layer got the default when it was checked.
    if (line === undefined) origins.push({ key, value, source: "default" });
    else origins.push({ key, value, source: kind, ...(file === undefined ? {} : { file }), line });
  };
  walk(manifest, [], marked);
  return origins;
}

const isBelow = (key: string, prefix: string): boolean =>
  /^[.[]/.test(key.slice(prefix.length)) && key.startsWith(prefix);

function marksOf(layer: LoadedLayer): ManifestLayer {
  const mark = (value: unknown, path: KeyPath): unknown => {
    // The one value that the merge itself looks at.
    if (dottedKey(path) === "scope.inherit") return value;
    const children = childrenOf(value);
    if (children === undefined) return new Mark(layer, path);
    const entries = children.map(([name, child]) => [name, mark(child, [...path, name])] as const);
    return Array.isArray(value) ? entries.map(([, child]) => child) : Object.fromEntries(entries);
  };
  return mark(layer.layer, []) as ManifestLayer;
}

/** Entries of a table or a list of tables; undefined for what counts as one value. */
function childrenOf(value: unknown): (readonly [string | number, unknown])[] | undefined {
  if (typeof value !== "object" || value === null || value instanceof Mark) return undefined;
  if (!Array.isArray(value))
    return Object.entries(value).filter(([, child]) => child !== undefined);
  if (value.length === 0 || value.some((element) => typeof element !== "object")) return undefined;
  return [...value.entries()];
}

function memberOf(mark: unknown, name: string | number): unknown {
  if (mark instanceof Mark || typeof mark !== "object" || mark === null) return undefined;
  return Object.getOwnPropertyDescriptor(mark, name)?.value;
}
