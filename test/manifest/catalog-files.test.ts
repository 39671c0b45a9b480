import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type CatalogFileEntries, loadCatalogFiles } from "../../src/manifest/catalog-files.ts";
import { ManifestError } from "../../src/manifest/problem.ts";
import { temp } from "../support/temp.ts";

async function load(providers?: string, models?: string): Promise<CatalogFileEntries | string> {
  await using dir = temp();
  if (providers !== undefined) writeFileSync(dir.join("providers.toml"), providers);
  if (models !== undefined) writeFileSync(dir.join("models.toml"), models);
  const strip = (text: string): string => text.replaceAll(dir.path, "DIR");
  try {
    const entries = await loadCatalogFiles(dir.path);
    return JSON.parse(strip(JSON.stringify(entries))) as CatalogFileEntries;
  } catch (error) {
    return error instanceof ManifestError ? strip(error.message) : `unexpected ${String(error)}`;
  }
}

test("without files there are no entries", async () => {
  const none = { providers: [], models: [] };
  expect(await load()).toEqual(none);
  expect(await load("", "# nothing\n")).toEqual(none);
  expect(await loadCatalogFiles(undefined)).toEqual(none);
});

test("entries have their place, and key files start from the directory", async () => {
  const providers = `
[[provider]]
id = "team"
scheme = "openai_chat"
base_url = "https://llm.team.example/v1/"
auth_hint = { kind = "api_key", file = "keys/team" }

[[provider]]
id = "openai"
disabled = true
`;
  const models = '[[model]]\nid = "a/b"\nprovider = "team"\n';
  const loaded = await load(providers, models);
  if (typeof loaded === "string") throw new Error(loaded);
  expect(loaded.providers).toMatchObject([
    {
      id: "team",
      base_url: "https://llm.team.example/v1",
      auth_hint: { kind: "api_key" },
    },
    { id: "openai", disabled: true },
  ]);
  const [team, openai] = loaded.providers;
  expect(team?.where).toEndWith("/providers.toml:2");
  expect(openai?.where).toEndWith("/providers.toml:8");
  expect(JSON.stringify(team?.auth_hint)).toContain('"DIR/keys/team"');
  expect(loaded.models[0]).toMatchObject({ id: "a/b", provider: "team" });
  expect(loaded.models[0]?.where).toEndWith("/models.toml:1");
});

test("everything wrong in both files is told at once, with file, line, key and near names", async () => {
  const text = await load(
    '[[provider]]\nid = "a/b"\nscheme = "gemeni"\nbase_ulr = "http://h"\n',
    '[[model]]\nid = ""\n\n[[modle]]\nid = "x"\n',
  );
  expect(text).toContain("failed to load provider catalog: failed to parse catalog at DIR/");
  expect(text).toContain("providers.toml:2: provider[0].id: must have at least one character");
  expect(text).toContain("providers.toml:3: provider[0].scheme: expected one of");
  expect(text).toContain("(did you mean `gemini`?)");
  expect(text).toContain(
    "providers.toml:4: provider[0].base_ulr: unknown key (did you mean `base_url`?)",
  );
  expect(text).toContain("failed to load model catalog: failed to parse catalog at DIR/");
  expect(text).toContain("models.toml:2: model[0].id: must not be empty");
  expect(text).toContain("models.toml:1: model[0].provider: is required");
  expect(text).toContain("models.toml:4: modle: unknown key (did you mean `model`?)");
});

test("a password in an address is not repeated, and broken TOML is shown with its place", async () => {
  const secret = await load('[[provider]]\nid = "x"\nbase_url = "https://u:hunter2@h"\n');
  expect(secret).toContain("providers.toml:3: provider[0].base_url: must not contain a user name");
  expect(secret).not.toContain("hunter2");
  expect(await load("[[provider]\n")).toMatch(/providers\.toml:1:\d+: /);
});
