/**
 * The cascade: built-in, user, project and overlay layers, read, merged in this order and resolved
 * (spec manifest 2). Everything that is wrong in any layer is reported at once; nothing is guessed.
 */
import { dirname, resolve } from "node:path";
import { pathExists } from "../base/paths.ts";
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
import { resolveManifest } from "./resolve.ts";
import { DEFAULTS, type Manifest, type ManifestLayer } from "./schema.ts";
import { readConfigurationFile } from "./toml.ts";

/** What to load. */
export interface LoadOptions extends SearchOptions {
  /** `--overlay`: TOML of the uppermost layer; its relative paths start from `cwd`. */
  readonly overlay?: string | undefined;
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

function withFallback(merged: ManifestLayer, fallback: Fallback): ManifestLayer {
  const named = merged.model?.ref !== undefined || merged.model?.scheme !== undefined;
  const scoped = (merged.scope?.allow?.length ?? 0) > 0;
  const own = { target: fallback.writable, permission: "write", recursive: true } as const;
  return {
    ...merged,
    pod: { name: fallback.name, ...merged.pod },
    ...(named ? {} : { model: { ...fallback.model, ...merged.model } }),
    ...(scoped ? {} : { scope: { ...merged.scope, allow: [own] } }),
  };
}

/** A layer that took part; `file`, `base` and `text` say where a value comes from. */
export interface LoadedLayer {
  readonly kind: "builtin" | "user" | "project" | "overlay";
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
  const search = { ...options, cwd: resolve(options.cwd) };
  const attempts = await Promise.allSettled([
    loadUser(search),
    loadProject(search),
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
  const written = layers.map(({ layer }) => layer).reduce(mergeLayers);
  const merged = options.fallback === undefined ? written : withFallback(written, options.fallback);
  return {
    manifest: await prefixed("failed to resolve manifest cascade", () => resolveManifest(merged)),
    layers,
    prompts: findPromptDirectories(search),
  };
}

async function loadUser(options: LoadOptions): Promise<LoadedLayer[]> {
  const place = userManifestPath(options);
  if (place === undefined) return [];
  const { path, explicit } = place;
  return await prefixed(`failed to ${explicit ? "load" : "auto-load"} user manifest`, async () => {
    if (!explicit && !pathExists(path)) return [];
    return [await readLayer("user", path, dirname(path))];
  });
}

async function loadProject(options: LoadOptions): Promise<LoadedLayer[]> {
  const project = findProject(options);
  if (project === undefined) return [];
  const verb = options.project === undefined ? "auto-load" : "load";
  return await prefixed(`failed to ${verb} project manifest`, async () => {
    return [await readLayer("project", project.manifest, project.root)];
  });
}

async function loadOverlay({ overlay, cwd }: LoadOptions): Promise<LoadedLayer[]> {
  if (overlay === undefined) return [];
  const layer = await parseLayer(overlay, { base: cwd });
  return [{ kind: "overlay", base: cwd, text: overlay, layer }];
}

async function readLayer(
  kind: "user" | "project",
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
