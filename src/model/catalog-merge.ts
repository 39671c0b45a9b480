/**
 * The user's catalog files on top of the builtin catalog (FIX 15): entry by entry, by id. Pure; the
 * manifest layer has read the files and checked each entry by itself.
 */
import { PodError } from "../base/errors.ts";
import { type Catalog, type CatalogModel, type CatalogProvider, capability } from "./builtin.ts";
import type { RemoteScheme } from "./builtin.ts";
import type { ModelAuth, ModelCapability } from "./config.ts";

/** An entry of `providers.toml`; keys that are absent keep what the entry of this id had. */
export interface ProviderEntry {
  readonly id: string;
  readonly display_name?: string | undefined;
  readonly scheme?: RemoteScheme | undefined;
  readonly base_url?: string | undefined;
  readonly auth_hint?: ModelAuth | undefined;
  readonly default_capability?: ModelCapability | undefined;
  readonly disabled?: boolean | undefined;
  /** `file:line`. */
  readonly where: string;
}

/** An entry of `models.toml`. */
export interface ModelEntry {
  readonly id: string;
  readonly provider: string;
  readonly capability?: ModelCapability | undefined;
  readonly disabled?: boolean | undefined;
  readonly where: string;
}

/** What the user's files hold. */
export interface CatalogFiles {
  readonly providers: readonly ProviderEntry[];
  readonly models: readonly ModelEntry[];
}

/** The effective catalog. Throws `invalid_manifest` with every problem and its place. */
export function mergeCatalog(base: Catalog, files: CatalogFiles): Catalog {
  const problems: string[] = [];
  const providers = new Map(base.providers.map((provider) => [provider.id, provider]));
  const disabled = new Set<string>();
  assertDifferent(files.providers, ({ id }) => id, "provider", problems);
  assertDifferent(files.models, modelKey, "model", problems);
  for (const entry of files.providers) {
    if (entry.disabled === true) disabled.add(entry.id);
    const merged = mergeProvider(providers.get(entry.id), entry, problems);
    if (merged !== undefined) providers.set(entry.id, merged);
  }
  const models = new Map(base.models.map((model) => [modelKey(model), model]));
  for (const entry of files.models) {
    if (!providers.has(entry.provider)) {
      problems.push(
        `${entry.where}: model \`${entry.id}\` names unknown provider \`${entry.provider}\` ` +
          `(there are ${[...providers.keys()].join(", ")})`,
      );
      continue;
    }
    const below: CatalogModel | undefined = models.get(modelKey(entry));
    if (entry.disabled === true) models.delete(modelKey(entry));
    else {
      const { id, provider, capability: own = below?.capability } = entry;
      models.set(modelKey(entry), {
        id,
        provider,
        ...(own === undefined ? {} : { capability: own }),
      });
    }
  }
  if (problems.length > 0) throw new PodError("invalid_manifest", problems.join(";\n"));
  for (const id of disabled) providers.delete(id);
  return {
    providers: [...providers.values()],
    models: [...models.values()].filter(({ provider }) => providers.has(provider)),
  };
}

function modelKey({ provider, id }: { readonly provider: string; readonly id: string }): string {
  return `${provider}/${id}`;
}

function mergeProvider(
  below: CatalogProvider | undefined,
  entry: ProviderEntry,
  problems: string[],
): CatalogProvider | undefined {
  const scheme = entry.scheme ?? below?.scheme;
  const authHint = entry.auth_hint ?? below?.authHint;
  const missing = [
    ...(scheme === undefined ? ["scheme"] : []),
    ...(authHint === undefined ? ["auth_hint"] : []),
  ];
  if (scheme === undefined || authHint === undefined) {
    // A provider that is only switched off needs nothing else, whether it is known or not.
    if (entry.disabled === true) return undefined;
    problems.push(
      `${entry.where}: provider \`${entry.id}\` is new and needs ${missing.join(", ")}`,
    );
    return undefined;
  }
  // Another wire format is another host and another kind of model.
  const same = below !== undefined && scheme === below.scheme;
  const baseUrl = entry.base_url ?? (same ? below.baseUrl : undefined);
  return {
    id: entry.id,
    displayName: entry.display_name ?? below?.displayName ?? entry.id,
    scheme,
    ...(baseUrl === undefined ? {} : { baseUrl }),
    authHint,
    defaultCapability:
      entry.default_capability ??
      (same ? below.defaultCapability : capability(undefined, scheme === "gemini")),
  };
}

function assertDifferent<Entry extends { readonly where: string }>(
  entries: readonly Entry[],
  keyOf: (entry: Entry) => string,
  what: string,
  problems: string[],
): void {
  const seen = new Map<string, string>();
  for (const entry of entries) {
    const key = keyOf(entry);
    const first = seen.get(key);
    if (first === undefined) seen.set(key, entry.where);
    else problems.push(`${entry.where}: ${what} \`${key}\` is already at ${first}`);
  }
}
