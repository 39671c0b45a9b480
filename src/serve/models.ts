/**
 * The models of one Pod: its own, those its children may have, and which of the key variables in its
 * environment a child needs. A root reads the user's catalog files; a child was told its model in
 * full and reads them only when it must look up another.
 */
import { join } from "node:path";
import { isPodError, PodError } from "../base/errors.ts";
import { type BaseDirectories, type Environment, pathExists } from "../base/paths.ts";
import { childEnvironment } from "../base/process.ts";
import type { LoadedLayer } from "../manifest/load.ts";
import { type ModelAuthors, modelAuthors } from "../manifest/model-authors.ts";
import { modelTableSchema } from "../manifest/model-table.ts";
import { ManifestError, type Problem } from "../manifest/problem.ts";
import type { Manifest } from "../manifest/schema.ts";
import { BUILTIN_CATALOG, type Catalog, type CatalogProvider } from "../model/builtin.ts";
import { explicitConfig, type ResolvedModel, resolveModel } from "../model/catalog.ts";
import type { ModelConfig } from "../model/config.ts";

/** A child's model. */
interface ChildModel {
  /** Its `[model]` table, in full. */
  readonly table: ModelConfig;
  /** Variables with keys that neither it nor its children can need. */
  readonly unneeded: readonly string[];
}

/** What a Pod knows about models. */
export interface PodModels {
  readonly own: ResolvedModel;
  /** Of `[compaction.model]`, when there is one. */
  readonly compaction: ResolvedModel | undefined;
  /** `ref`s that a child may be given; may be empty. */
  readonly allowed: readonly string[];
  /** What a child is given; `ref` is one of `allowed`, or absent for the Pod's own model. */
  forChild(ref?: string): Promise<ChildModel>;
  /** Variables with keys that a child with this `[model]` table, which it was given once, cannot need. */
  unneededBy(table: unknown): Promise<readonly string[]>;
  /** The environment of children: without the keys of models that none of them can have. */
  readonly childEnvironment: Readonly<Record<string, string>>;
  /** Variables that hold keys, set or not; no tool's program gets one, nor does a child's. */
  readonly keyVariables: readonly string[];
  /** Files that hold keys; no Pod of the tree may read one. Empty for a child: its scope says so. */
  readonly keyFiles: readonly string[];
}

/**
 * Models of a Pod that nobody told its model in full. `layers` say who wrote what; without them
 * everything counts as the user's. Throws `invalid_manifest` with all that is wrong: every table is
 * resolved now, so that no mistake shows up hours later (FIX 13).
 */
export async function rootModels(
  manifest: Manifest,
  layers: readonly LoadedLayer[],
  bases: Pick<BaseDirectories, "config">,
  env: Environment,
): Promise<PodModels> {
  const catalog = await effectiveCatalog(bases);
  const problems: Problem[] = [];
  const errors: PodError[] = [];
  const attempt = async <Value>(
    key: string | undefined,
    work: () => Value | Promise<Value>,
  ): Promise<Value | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!isPodError(error)) throw error;
      errors.push(error);
      problems.push({ ...(key === undefined ? {} : { key }), message: error.message });
      return undefined;
    }
  };
  const own = await attempt(undefined, () =>
    resolveTable(manifest.model, modelAuthors(layers, "model"), catalog),
  );
  const summariser = manifest.compaction?.model;
  const compaction =
    summariser === undefined
      ? undefined
      : await attempt("compaction.model", () =>
          resolveTable(summariser, modelAuthors(layers, "compaction.model"), catalog),
        );
  const allowed = manifest.limits.child_models ?? [];
  const others: ResolvedModel[] = [];
  for (const [index, ref] of allowed.entries()) {
    const other = await attempt(`limits.child_models[${index}]`, () =>
      resolveModel({ ref }, catalog),
    );
    if (other !== undefined) others.push(other);
  }
  if (own === undefined && errors.length === 1) throw errors[0];
  if (own === undefined || errors.length > 0) throw new ManifestError([{ problems }], errors[0]);
  const choice = { own, compaction, allowed };
  const used = [own, ...(compaction === undefined ? [] : [compaction]), ...others];
  const needed = new Set(used.flatMap(keyVariables));
  const known = new Set([...needed, ...catalogVariables(catalog)]);
  const kept = Object.entries(childEnvironment(env)).filter(
    ([name]) => !known.has(name) || needed.has(name),
  );
  return {
    own,
    compaction,
    allowed,
    forChild: (ref) => Promise.resolve(childModel(choice, ref, catalog)),
    unneededBy: (table) => Promise.resolve(unneededBy(choice, table, catalog)),
    childEnvironment: Object.fromEntries(kept),
    keyVariables: [...known],
    keyFiles: [...new Set([...used.flatMap(keyFiles), ...catalog.providers.flatMap(hintedFile)])],
  };
}

/**
 * Models of a child. Its environment has been thinned out by the root, whose catalog it does not
 * know: `told` are the variables that its spawner knows to hold keys.
 */
export function childModels(
  manifest: Manifest,
  bases: Pick<BaseDirectories, "config">,
  env: Environment,
  told: readonly string[],
): PodModels {
  const own = resolveModel(manifest.model);
  const summariser = manifest.compaction?.model;
  const compaction = summariser === undefined ? undefined : resolveModel(summariser);
  const allowed = manifest.limits.child_models ?? [];
  const choice = { own, compaction, allowed };
  return {
    ...choice,
    forChild: async (ref) => {
      const catalog = ref === undefined ? BUILTIN_CATALOG : await effectiveCatalog(bases);
      return childModel(choice, ref, catalog);
    },
    unneededBy: async (table) => {
      const catalog = allowed.length === 0 ? BUILTIN_CATALOG : await effectiveCatalog(bases);
      return unneededBy(choice, table, catalog);
    },
    childEnvironment: childEnvironment(env),
    keyVariables: [
      ...new Set([...told, ...keyVariables(own), ...catalogVariables(BUILTIN_CATALOG)]),
    ],
    keyFiles: [],
  };
}

async function resolveTable(
  table: ModelConfig,
  authors: ModelAuthors,
  catalog: Catalog,
): Promise<ResolvedModel> {
  const resolved = placed(authors, () => resolveModel(table, catalog));
  const byProject = Object.values(authors).some((author) => !author.trusted);
  if (resolved.scheme !== "script" && byProject) {
    const { assertKeyBound } = await import("../model/key-binding.ts");
    assertKeyBound(table, resolved, authors, catalog);
  }
  return resolved;
}

/** Builtin entries with the user's files on top. Throws `invalid_manifest` with file and line. */
export async function effectiveCatalog({
  config,
}: Pick<BaseDirectories, "config">): Promise<Catalog> {
  // Most people have no such files, and every Pod that reads none is smaller and starts sooner.
  const names = ["providers.toml", "models.toml"];
  if (config === undefined || !names.some((name) => pathExists(join(config, name)))) {
    return BUILTIN_CATALOG;
  }
  const [{ loadCatalogFiles }, { mergeCatalog }] = await Promise.all([
    import("../manifest/catalog-files.ts"),
    import("../model/catalog-merge.ts"),
  ]);
  return mergeCatalog(BUILTIN_CATALOG, await loadCatalogFiles(config));
}

/** What a child's model is chosen from. */
type Choice = Pick<PodModels, "own" | "compaction" | "allowed">;

function childModel(choice: Choice, ref: string | undefined, catalog: Catalog): ChildModel {
  if (ref === undefined) return { table: explicitConfig(choice.own), unneeded: [] };
  const chosen = resolveModel({ ref }, catalog);
  return { table: explicitConfig(chosen), unneeded: unneededWith(choice, [chosen], catalog) };
}

/** A table that is none needs nothing; the child itself says what is wrong with it. */
function unneededBy(choice: Choice, table: unknown, catalog: Catalog): string[] {
  const { data } = modelTableSchema().safeParse(table);
  let given: ResolvedModel[] = [];
  try {
    if (data !== undefined) given = [resolveModel(data, catalog)];
  } catch (error) {
    if (!isPodError(error)) throw error;
  }
  return unneededWith(choice, given, catalog);
}

function unneededWith(
  { own, compaction, allowed }: Choice,
  given: readonly ResolvedModel[],
  catalog: Catalog,
): string[] {
  const others = allowed.map((ref) => resolveModel({ ref }, catalog));
  const used = [...given, ...(compaction === undefined ? [] : [compaction]), ...others];
  const needed = new Set(used.flatMap(keyVariables));
  return keyVariables(own).filter((name) => !needed.has(name));
}

/** Variables that hold the key of a model. */
function keyVariables(model: ResolvedModel): string[] {
  if (model.scheme === "script" || model.auth.kind !== "api_key") return [];
  return model.auth.env === undefined ? [] : [model.auth.env];
}

/** The file that holds the key of a model. */
function keyFiles(model: ResolvedModel): string[] {
  return model.scheme === "script" ? [] : fileOf(model.auth);
}

const hintedFile = ({ authHint }: CatalogProvider): string[] => fileOf(authHint);

function fileOf(auth: { readonly kind: string; readonly file?: string | undefined }): string[] {
  return auth.kind === "api_key" && auth.file !== undefined ? [auth.file] : [];
}

/** Variables that some entry of a catalog names. */
function catalogVariables({ providers }: Catalog): string[] {
  return providers.flatMap(({ authHint }) =>
    authHint.kind === "api_key" && authHint.env !== undefined ? [authHint.env] : [],
  );
}

/** Adds to an error about one key of the table where that key stands. */
function placed<Value>(authors: ModelAuthors, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    if (!isPodError(error)) throw error;
    const { key } = error.data;
    const author = Object.entries(authors).find(([name]) => name === key)?.[1];
    if (author === undefined) throw error;
    throw new PodError(error.code, `${error.message} (${author.where})`, { cause: error });
  }
}
