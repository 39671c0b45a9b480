/** What docs/models.md shows is what the program takes. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadCatalogFiles } from "../../src/manifest/catalog-files.ts";
import { parseLayer } from "../../src/manifest/layer.ts";
import { BUILTIN_CATALOG } from "../../src/model/builtin.ts";
import { mergeCatalog } from "../../src/model/catalog-merge.ts";
import { EFFORT_TOKENS } from "../../src/model/reasoning.ts";
import { temp } from "../support/temp.ts";

const text = readFileSync(join(import.meta.dir, "../../docs/models.md"), "utf8");
const blocks = [...text.matchAll(/^```toml\n([^]*?)^```$/gm)].map(([, block = ""]) => block);

test("its manifests load", async () => {
  const manifests = blocks.filter((block) => block.startsWith("["));
  expect(manifests).toHaveLength(3);
  for (const manifest of manifests) await parseLayer(manifest, { base: "/" });
});

test("its catalog files load and merge", async () => {
  await using dir = temp();
  for (const name of ["providers.toml", "models.toml"]) {
    const block = blocks.find((candidate) => candidate.startsWith(`# ${name}`));
    writeFileSync(dir.join(name), block ?? "missing");
  }
  const { providers, models } = mergeCatalog(BUILTIN_CATALOG, await loadCatalogFiles(dir.path));
  expect(providers.map(({ id }) => id)).toContain("team");
  expect(providers.map(({ id }) => id)).not.toContain("ollama-local");
  expect(models.map(({ id }) => id)).toContain("z-ai/glm-4.6");
});

test("its table of efforts is the program's", () => {
  const rows = [...text.matchAll(/^\| `(\w+)`\s*\| +(\d+) \|$/gm)].map(([, label, tokens]) => [
    label,
    Number(tokens),
  ]);
  expect(Object.fromEntries(rows)).toEqual(EFFORT_TOKENS);
});
