import { describe, expect, test } from "bun:test";
import { isPodError } from "../../src/base/errors.ts";
import { BUILTIN_CATALOG, type Catalog } from "../../src/model/builtin.ts";
import {
  type CatalogFiles,
  mergeCatalog,
  type ModelEntry,
  type ProviderEntry,
} from "../../src/model/catalog-merge.ts";

type Loose<Entry> = Omit<Entry, "where">;

function files(
  providers: readonly Loose<ProviderEntry>[],
  models: readonly Loose<ModelEntry>[] = [],
): CatalogFiles {
  const place = <Entry extends object>(file: string, list: readonly Entry[]) =>
    list.map((entry, index) => ({ ...entry, where: `${file}:${index + 1}` }));
  return { providers: place("p.toml", providers), models: place("m.toml", models) };
}
const merge = (...args: Parameters<typeof files>): Catalog =>
  mergeCatalog(BUILTIN_CATALOG, files(...args));
function problem(...args: Parameters<typeof files>): string {
  try {
    merge(...args);
  } catch (error) {
    return isPodError(error, "invalid_manifest") ? error.message : `unexpected ${String(error)}`;
  }
  return "none";
}
const NEW = { id: "team", scheme: "openai_chat", auth_hint: { kind: "none" } } as const;

describe("the user's catalog files", () => {
  test("without entries change nothing", () => {
    expect(merge([])).toEqual(BUILTIN_CATALOG);
  });

  test("change single keys of a builtin provider", () => {
    const base_url = "https://proxy.example";
    const changed = merge([{ id: "anthropic", base_url }]).providers.find(
      ({ id }) => id === "anthropic",
    );
    const builtin = BUILTIN_CATALOG.providers.find(({ id }) => id === "anthropic");
    expect<unknown>(changed).toEqual({ ...builtin, baseUrl: base_url });
  });

  test("keep no address and no abilities of another wire format", () => {
    const [changed] = merge([{ id: "anthropic", scheme: "gemini" }]).providers;
    expect(changed?.baseUrl).toBeUndefined();
    expect(changed?.defaultCapability.reasoning).toBeUndefined();
    expect(changed?.defaultCapability.vision).toBe(true);
  });

  test("add providers and models beside the builtin ones", () => {
    const catalog = merge([NEW], [{ provider: "team", id: "m/1" }]);
    expect(catalog.providers).toHaveLength(BUILTIN_CATALOG.providers.length + 1);
    expect(catalog.providers.at(-1)).toMatchObject({ id: "team", displayName: "team" });
    expect(catalog.models.at(-1)).toEqual({ provider: "team", id: "m/1" });
  });

  test("switch off a provider with its models, or one model", () => {
    const catalog = merge(
      [{ id: "ollama-local", disabled: true }],
      [{ provider: "openai", id: "gpt-5", disabled: true }],
    );
    const refs = catalog.models.map(({ provider, id }) => `${provider}/${id}`);
    expect(catalog.providers.map(({ id }) => id)).not.toContain("ollama-local");
    expect(refs.filter((ref) => ref.startsWith("ollama-local/"))).toEqual([]);
    expect(refs).not.toContain("openai/gpt-5");
    expect(refs).toContain("openai/gpt-5-mini");
  });

  test("are refused with every problem and its place", () => {
    expect(
      problem(
        [{ id: "x" }, NEW, NEW],
        [
          { provider: "nobody", id: "m" },
          { provider: "team", id: "m" },
          { provider: "team", id: "m" },
        ],
      ).split(";\n"),
    ).toEqual([
      "p.toml:3: provider `team` is already at p.toml:2",
      "m.toml:3: model `team/m` is already at m.toml:2",
      "p.toml:1: provider `x` is new and needs scheme, auth_hint",
      "m.toml:1: model `m` names unknown provider `nobody` (there are anthropic, openai, gemini, " +
        "ollama-local, openrouter, team)",
    ]);
  });
});
