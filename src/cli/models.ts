/**
 * `pod models`: the catalog as it is in force, builtin entries and the user's files together. Says of
 * every provider where its key is looked for and which host alone gets it; never shows a key.
 */
import { EXIT } from "../base/errors.ts";
import { type Environment, resolveBases } from "../base/paths.ts";
import type { Catalog, CatalogProvider } from "../model/builtin.ts";
import { homeOf } from "../model/catalog.ts";
import type { ModelAuth } from "../model/config.ts";
import { effectiveCatalog } from "../serve/models.ts";
import type { Streams } from "./output.ts";
import { painterFor } from "./terminal.ts";

/** Prints the catalog, or with `json` an object with the same in full. */
export async function listModels(
  options: { readonly json: boolean },
  env: Environment,
  { out }: Streams,
): Promise<number> {
  const catalog = await effectiveCatalog(resolveBases(env));
  if (options.json) {
    const providers = catalog.providers.map((provider) => ({
      id: provider.id,
      name: provider.displayName,
      scheme: provider.scheme,
      base_url: homeOf(provider),
      key: describeKey(provider.authHint, env),
      models: modelsOf(catalog, provider).map(({ id, capability }) => ({
        ref: `${provider.id}/${id}`,
        capability: capability ?? provider.defaultCapability,
      })),
    }));
    out.write(`${JSON.stringify({ providers }, null, 2)}\n`);
    return EXIT.done;
  }
  const paint = painterFor(out, env);
  const blocks = catalog.providers.map((provider) => {
    const { scheme, authHint } = provider;
    const host = new URL(homeOf(provider)).host;
    const head = `${paint("bold", provider.id)}  ${scheme} at ${host}, key: ${describeKey(authHint, env)}`;
    const refs = modelsOf(catalog, provider).map(({ id }) => `  ${provider.id}/${id}`);
    return [head, ...refs].join("\n");
  });
  out.write(`${blocks.join("\n")}\n`);
  return EXIT.done;
}

function modelsOf(catalog: Catalog, provider: CatalogProvider): Catalog["models"] {
  return catalog.models.filter((model) => model.provider === provider.id);
}

function describeKey(auth: ModelAuth, env: Environment): string {
  switch (auth.kind) {
    case "none":
      return "none needed";
    case "command":
      return `command ${auth.command[0] ?? ""} …`;
    case "api_key": {
      const { env: name, file } = auth;
      const isSet = name !== undefined && (env[name]?.trim() ?? "") !== "";
      const parts = [
        ...(name === undefined ? [] : [`${name} (${isSet ? "set" : "not set"})`]),
        ...(file === undefined ? [] : [`file ${file}`]),
      ];
      return parts.length === 0 ? "to be named in the manifest" : parts.join(", else ");
    }
  }
}
