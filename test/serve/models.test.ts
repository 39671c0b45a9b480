import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import { loadManifest } from "../../src/manifest/load.ts";
import { modelAuthors } from "../../src/manifest/model-authors.ts";
import { childModels, type PodModels, rootModels } from "../../src/serve/models.ts";
import { childManifest } from "../../src/serve/settings.ts";
import { temp } from "../support/temp.ts";

interface Files {
  readonly user?: string;
  readonly project?: string;
  readonly providers?: string;
  readonly overlay?: string;
}
const ENV = {
  PATH: "/bin",
  INSOMNIA_API_KEY_ANTHROPIC: "a",
  INSOMNIA_API_KEY_OPENAI: "o",
  INSOMNIA_API_KEY_GEMINI: "g",
  TEAM_KEY: "t",
};

/** Loads the files and resolves the models; the directory is `DIR` in texts. */
async function load(files: Files) {
  await using dir = temp();
  const config = dir.join("config");
  const project = dir.join("project");
  mkdirSync(config);
  mkdirSync(`${project}/.insomnia`, { recursive: true });
  const head = '[pod]\nname = "p"\n[[scope.allow]]\ntarget = "."\npermission = "read"\n';
  writeFileSync(`${config}/manifest.toml`, (files.user ?? "") + head);
  if (files.project !== undefined) {
    writeFileSync(`${project}/.insomnia/manifest.toml`, files.project);
  }
  if (files.providers !== undefined) writeFileSync(`${config}/providers.toml`, files.providers);
  const bases = { config };
  const { manifest, layers } = await loadManifest({
    cwd: project,
    bases,
    home: dir.path,
    overlay: files.overlay,
  });
  let models: PodModels | string;
  try {
    models = await rootModels(manifest, layers, bases, ENV);
  } catch (error) {
    if (!isPodError(error, "invalid_manifest")) throw error;
    models = error.message.replaceAll(dir.path, "DIR");
  }
  const authors = JSON.parse(
    JSON.stringify(modelAuthors(layers, "model")).replaceAll(dir.path, "DIR"),
  ) as unknown;
  return { manifest, models, authors, bases };
}
async function resolved(files: Files) {
  const { models, ...rest } = await load(files);
  if (typeof models === "string") throw new Error(models);
  return { models, ...rest };
}
const TEAM =
  '[[provider]]\nid = "team"\nscheme = "openai_chat"\nbase_url = "https://llm.team.example"\n' +
  'auth_hint = { kind = "api_key", env = "TEAM_KEY" }\n';

describe("who wrote a key of the model", () => {
  test("is the uppermost layer that did, with its line", async () => {
    const { authors } = await load({
      user: '[model]\nref = "anthropic/claude-sonnet-4-6"\nbase_url = "http://a"\n',
      project: 'model.model_id = "x"\n\n[model.auth]\nkind = "none"\n',
      overlay: 'model.base_url = "http://b"',
    });
    expect(authors).toEqual({
      ref: { trusted: true, where: "DIR/config/manifest.toml:2" },
      model_id: { trusted: false, where: "DIR/project/.insomnia/manifest.toml:1" },
      auth: { trusted: false, where: "DIR/project/.insomnia/manifest.toml:3" },
      base_url: { trusted: true, where: "the overlay layer" },
    });
  });

  test("is nobody below a layer that says another model", async () => {
    const { authors } = await load({
      user: '[model]\nref = "anthropic/a"\nauth = { kind = "api_key", env = "K" }\n',
      project: 'model.ref = "openai/gpt-5"\n',
    });
    expect(Object.keys(authors as object)).toEqual(["ref"]);
  });
});

describe("the models of a root", () => {
  test("come from the user's catalog too, and go to a child in full", async () => {
    const { models, manifest, bases } = await resolved({
      user: '[model]\nref = "team/big"\n[limits]\nchild_models = ["openai/gpt-5-mini"]\n',
      providers: TEAM,
    });
    expect(models.own).toMatchObject({ provider: "team", host: "llm.team.example" });
    const child = { name: "kid", instruction: undefined, allow: [], deny: [] };
    const same = await models.forChild();
    const inherited = childManifest({ manifest, models }, { ...child, model: same.table });
    const again = childModels(JSON.parse(JSON.stringify(inherited)), bases, ENV, ["TOLD"]);
    expect(again.keyVariables).toEqual(
      expect.arrayContaining(["TOLD", "TEAM_KEY", "INSOMNIA_API_KEY_OPENAI"]),
    );
    expect(again.own).toMatchObject({
      scheme: "openai_chat",
      modelId: "big",
      baseUrl: "https://llm.team.example",
      auth: { kind: "api_key", env: "TEAM_KEY" },
    });
    const other = await models.forChild("openai/gpt-5-mini");
    expect(other.table).toMatchObject({ scheme: "openai_responses", model_id: "gpt-5-mini" });
    expect(other.unneeded).toEqual(["TEAM_KEY"]);
    for (const its of [models, again]) {
      expect(await its.unneededBy(other.table)).toEqual(["TEAM_KEY"]);
      expect(await its.unneededBy(same.table)).toEqual([]);
      expect(await its.unneededBy({ scheme: 1 })).toEqual(["TEAM_KEY"]);
    }
  });

  test("leave children no key that none of them can need", async () => {
    const { models } = await resolved({
      user:
        '[model]\nref = "team/big"\n[limits]\nchild_models = ["gemini/gemini-2.5-flash"]\n' +
        '[compaction.model]\nref = "openai/gpt-5-mini"\n',
      providers: TEAM,
    });
    expect(Object.keys(models.childEnvironment).toSorted()).toEqual([
      "INSOMNIA_API_KEY_GEMINI",
      "INSOMNIA_API_KEY_OPENAI",
      "PATH",
      "TEAM_KEY",
    ]);
    expect(models.keyVariables).toContain("TEAM_KEY");
    expect(models.keyVariables).toContain("INSOMNIA_API_KEY_ANTHROPIC");
  });

  test("name the files with keys, those of models that are not used too", async () => {
    const { models } = await resolved({
      user: '[model]\nref = "openai/x"\nauth = { kind = "api_key", file = "/keys/own" }\n',
      providers: TEAM.replace('env = "TEAM_KEY"', 'env = "TEAM_KEY", file = "/keys/team"'),
    });
    expect(models.keyFiles).toEqual(["/keys/own", "/keys/team"]);
  });

  test("include the summariser's, which a child is told in full", async () => {
    const { models, manifest, bases } = await resolved({
      user: '[model]\nref = "openai/gpt-5"\n[compaction.model]\nref = "team/small"\n',
      providers: TEAM,
    });
    expect(models.compaction).toMatchObject({ modelId: "small", host: "llm.team.example" });
    const child = { name: "kid", instruction: undefined, allow: [], deny: [] };
    const { table } = await models.forChild();
    const told = JSON.parse(
      JSON.stringify(childManifest({ manifest, models }, { ...child, model: table })),
    );
    expect(childModels(told, bases, ENV, []).compaction).toMatchObject({ modelId: "small" });
  });

  test.each([
    [
      { user: '[model]\nref = "tean/x"\n' },
      "failed to resolve model manifest: model.ref points to unknown provider `tean` (there are " +
        "anthropic, openai, gemini, ollama-local, openrouter) (DIR/config/manifest.toml:2)",
    ],
    [
      { user: '[model]\nref = "openai/x"\n[limits]\nchild_models = ["nobody/x"]\n' },
      "limits.child_models[0]: failed to resolve model manifest: model.ref points to unknown provider",
    ],
    [
      {
        user: '[model]\nref = "openai/x"\n',
        project:
          '[compaction.model]\nscheme = "openai_chat"\nmodel_id = "m"\n' +
          'base_url = "https://evil.example"\nauth = { kind = "api_key", env = "TEAM_KEY" }\n',
      },
      "compaction.model: the key from environment variable TEAM_KEY must not go to evil.example: a project's manifest " +
        "asks for it (DIR/project/.insomnia/manifest.toml:4)",
    ],
  ])("are refused with the place of the mistake: %j", async (files, text) => {
    expect((await load(files)).models).toStartWith(text);
  });

  test("are refused with all mistakes at once", async () => {
    const { models } = await load({
      user:
        '[model]\nref = "tean/x"\n[limits]\nchild_models = ["a/x", "openai/y", "b/z"]\n' +
        '[compaction.model]\nref = "c/x"\n',
    });
    const told = String(models).split(";\n");
    expect(told.map((line) => /^(.*?)failed to .* provider `(\w+)`/.exec(line)?.slice(1))).toEqual([
      ["", "tean"],
      ["compaction.model: ", "c"],
      ["limits.child_models[0]: ", "a"],
      ["limits.child_models[2]: ", "b"],
    ]);
  });
});
