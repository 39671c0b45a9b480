/**
 * The cascade: built-in, user, project and overlay layers, read, merged in this order and resolved
 * (spec manifest 2). Everything that is wrong in any layer is reported at once; nothing is guessed.
 */
import { dirname, resolve } from "node:path";
import { isAbsent } from "../base/paths.ts";
import {
  findProject,
  findPromptDirectories,
  type PromptDirectories,
  type SearchOptions,
  userManifestPath,
} from "./discover.ts";
import { parseLayer } from "./layer.ts";
import { mergeLayers } from "./merge.ts";
import type { ModelTable } from "./model-table.ts";
import { ManifestError } from "./problem.ts";
import { loosenings } from "./project-bounds.ts";
import { resolveManifest } from "./resolve.ts";
import type { Manifest, ManifestLayer } from "./schema.ts";
import { DEFAULTS } from "./sections.ts";
import { readConfigurationFile } from "./toml.ts";

/** What to load. */
export interface LoadOptions extends SearchOptions {
  /** `--overlay`: TOML of the uppermost layer; its relative paths start from `cwd`. */
  readonly overlay?: string | undefined;
  /** `--overlay-file`: the same from a file, which keeps it out of the process list (FIX 6). */
  readonly overlayFile?: string | undefined;
  /** `--manifest`: this file in place of the user's and the project's (FIX 29). */
  readonly manifestFile?: string | undefined;
  /** What the options of a command say (`pod run --model`), above every layer; paths are absolute. */
  readonly given?: ManifestLayer | undefined;
  /** What is used when no layer says it: a person's `pod run` needs no manifest. */
  readonly fallback?: Fallback | undefined;
}

/** Values for what no layer names. */
export interface Fallback {
  readonly name: string;
  /** Absolute directory that may be written when no layer has an allow rule. */
  readonly writable: string;
  readonly model: ModelTable;
}

/** The layers with what was missing, and the keys that were. */
function withFallback(
  merged: ManifestLayer,
  fallback: Fallback,
): { readonly merged: ManifestLayer; readonly filled: readonly string[] } {
  const named = merged.model?.ref !== undefined || merged.model?.scheme !== undefined;
  const scoped = (merged.scope?.allow?.length ?? 0) > 0;
  const own = { target: fallback.writable, permission: "write", recursive: true } as const;
  return {
    merged: {
      ...merged,
      pod: { name: fallback.name, ...merged.pod },
      ...(named ? {} : { model: { ...fallback.model, ...merged.model } }),
      ...(scoped ? {} : { scope: { ...merged.scope, allow: [own] } }),
    },
    filled: [
      ...(merged.pod?.name === undefined ? ["pod.name"] : []),
      ...(named ? [] : ["model"]),
      ...(scoped ? [] : ["scope.allow"]),
    ],
  };
}

/** A layer that took part; `file`, `base` and `text` say where a value comes from. */
export interface LoadedLayer {
  readonly kind: "builtin" | "user" | "project" | "manifest" | "overlay" | "options";
  readonly file?: string;
  readonly base?: string;
  readonly text?: string;
  readonly layer: ManifestLayer;
}

/** The manifest, its layers from low to high, and the prompt directories found beside them. */
export interface LoadedManifest {
  readonly manifest: Manifest;
  readonly layers: readonly LoadedLayer[];
  readonly prompts: PromptDirectories;
  /** Keys that no layer has and that `fallback` gave. */
  readonly filled: readonly string[];
}

const BUILTIN: LoadedLayer = {
  kind: "builtin",
  layer: { worker: { tool_output: { default_max_bytes: DEFAULTS.default_max_bytes } } },
};

/**
 * Loads the cascade. Throws `ManifestError` (`invalid_manifest`) with the texts of spec manifest 2.4
 * under the prefixes of 7.5; when several layers are broken, the problems of all of them.
 */
export async function loadManifest(options: LoadOptions): Promise<LoadedManifest> {
  const search = searchOf({ ...options, cwd: resolve(options.cwd) });
  const attempts = await Promise.allSettled([
    loadUser(search),
    loadProject(search),
    loadSingle(search),
    loadOverlay(search),
  ]);
  const layers = [BUILTIN];
  const errors: ManifestError[] = [];
  for (const attempt of attempts) {
    if (attempt.status === "fulfilled") layers.push(...attempt.value);
    else if (attempt.reason instanceof ManifestError) errors.push(attempt.reason);
    else throw attempt.reason;
  }
  if (errors.length > 0)
    throw new ManifestError(
      errors.flatMap((error) => error.faults),
      errors[0],
    );
  assertBounded(layers, search);
  if (options.given !== undefined) layers.push({ kind: "options", layer: options.given });
  const written = layers.map(({ layer }) => layer).reduce(mergeLayers);
  const { merged, filled } =
    options.fallback === undefined
      ? { merged: written, filled: [] }
      : withFallback(written, options.fallback);
  return {
    filled,
    manifest: await prefixed("failed to resolve manifest cascade", () => resolveManifest(merged)),
    layers,
    prompts: findPromptDirectories(search),
  };
}

/** One file in place of the cascade switches the other files and their prompts off. */
export function searchOf<Options extends SearchOptions & Pick<LoadOptions, "manifestFile">>(
  options: Options,
): Options {
  return options.manifestFile === undefined
    ? options
    : { ...options, userManifest: false, project: false };
}

async function loadSingle({ manifestFile, cwd }: LoadOptions): Promise<LoadedLayer[]> {
  if (manifestFile === undefined) return [];
  const path = resolve(cwd, manifestFile);
  return await prefixed("failed to load manifest", async () => [
    await readLayer("manifest", path, dirname(path)),
  ]);
}

async function loadUser(options: LoadOptions): Promise<LoadedLayer[]> {
  const place = userManifestPath(options);
  if (place === undefined) return [];
  const { path, explicit } = place;
  return await prefixed(`failed to ${explicit ? "load" : "auto-load"} user manifest`, async () => {
    if (!explicit && isAbsent(path)) return [];
    return [await readLayer("user", path, dirname(path))];
  });
}

async function loadProject(options: LoadOptions): Promise<LoadedLayer[]> {
  return await prefixed(projectPrefix(options), async () => {
    const project = findProject(options);
    if (project === undefined) return [];
    return [await readLayer("project", project.manifest, project.root)];
  });
}

const projectPrefix = ({ project }: SearchOptions): string =>
  `failed to ${project === undefined ? "auto-load" : "load"} project manifest`;

/** Throws `ManifestError` for what the project's manifest may not say. */
function assertBounded(layers: readonly LoadedLayer[], search: SearchOptions): void {
  const at = layers.findIndex(({ kind }) => kind === "project");
  const { base: root, file, text, layer } = layers[at] ?? {};
  if (root === undefined || file === undefined || text === undefined || layer === undefined) return;
  const problems = loosenings({
    ...{ root, file, text, layer },
    lower: layers.slice(0, at).map((below) => below.layer),
    upper: layers.slice(at + 1).map((above) => above.layer),
  });
  if (problems.length === 0) return;
  const prefix = `${projectPrefix(search)}: ${file} goes beyond your own`;
  throw new ManifestError([{ prefix, problems }]);
}

async function loadOverlay({ overlay, overlayFile, cwd }: LoadOptions): Promise<LoadedLayer[]> {
  if (overlayFile !== undefined) {
    const path = resolve(cwd, overlayFile);
    return await prefixed("failed to load overlay", async () => [
      await readLayer("overlay", path, cwd),
    ]);
  }
  if (overlay === undefined) return [];
  const layer = await parseLayer(overlay, { base: cwd });
  return [{ kind: "overlay", base: cwd, text: overlay, layer }];
}

async function readLayer(
  kind: "user" | "project" | "manifest" | "overlay",
  file: string,
  base: string,
): Promise<LoadedLayer> {
  const text = readConfigurationFile(file, "manifest");
  return { kind, file, base, text, layer: await parseLayer(text, { file, base }) };
}

async function prefixed<Value>(prefix: string, work: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof ManifestError ? error.within(prefix) : error;
  }
}
