import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { loadManifest, type LoadOptions } from "../../src/manifest/load.ts";
import { ManifestError } from "../../src/manifest/problem.ts";
import { temp } from "../support/temp.ts";

function put(file: string, text: string | Uint8Array): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

/** A machine with a home, a config directory and a project to work in. */
function machine() {
  const dir = temp();
  const config = dir.join("home", ".config", "insomnia");
  const project = dir.join("home", "proj");
  mkdirSync(config, { recursive: true });
  mkdirSync(project);
  return {
    config,
    project,
    putUser: (text: string | Uint8Array) => put(`${config}/manifest.toml`, text),
    putProject: (text: string) => put(`${project}/.insomnia/manifest.toml`, text),
    load: (options: Partial<LoadOptions> = {}) =>
      loadManifest({
        cwd: project,
        bases: { config },
        home: dir.join("home"),
        ...options,
      }),
    join: dir.join,
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

async function messageFrom(loading: Promise<unknown>): Promise<string> {
  const error = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ManifestError);
  return error instanceof ManifestError ? error.message : "";
}

const MINIMAL = 'pod.name = "a"\n[[scope.allow]]\ntarget = "."\npermission = "read"\n';

describe("the cascade", () => {
  test("an overlay alone is enough", async () => {
    await using here = machine();
    const { manifest, layers, prompts } = await here.load({ overlay: MINIMAL });
    expect(layers.map(({ kind }) => kind)).toEqual(["builtin", "overlay"]);
    expect(manifest.pod.name).toBe("a");
    expect(manifest.worker.tool_output.default_max_bytes).toBe(16_384);
    expect(manifest.scope.allow).toEqual([
      { target: here.project, permission: "read", recursive: true },
    ]);
    expect(prompts).toEqual({});
  });

  test("layers apply from built-in over user and project to overlay, each with its own base", async () => {
    await using here = machine();
    const user = here.putUser(
      'pod.name = "user"\nworker.max_tokens = 1\nworker.top_k = 1\n' +
        'model = { ref = "a/b", auth = { kind = "api_key", file = "key" } }\n' +
        '[[scope.allow]]\ntarget = "u"\npermission = "read"\n',
    );
    const project = here.putProject(
      'pod.name = "project"\npod.prompt_pack = "pack.toml"\nworker.max_tokens = 2\n' +
        '[[scope.allow]]\ntarget = "."\npermission = "write"\n' +
        '[[scope.deny]]\ntarget = ".env"\npermission = "read"\n',
    );
    mkdirSync(`${here.project}/sub`);
    const { manifest, layers } = await here.load({
      cwd: `${here.project}/sub`,
      overlay: 'pod.name = "overlay"\n[[scope.allow]]\ntarget = "x"\npermission = "read"\n',
    });
    expect(layers.map(({ kind, file, base }) => [kind, file, base])).toEqual([
      ["builtin", undefined, undefined],
      ["user", user, here.config],
      ["project", project, here.project],
      ["overlay", undefined, `${here.project}/sub`],
    ]);
    expect(manifest.pod).toEqual({ name: "overlay", prompt_pack: `${here.project}/pack.toml` });
    expect(manifest.worker).toMatchObject({ max_tokens: 2, top_k: 1 });
    expect(manifest.model.auth).toEqual({ kind: "api_key", file: `${here.config}/key` });
    expect(manifest.scope.allow.map(({ target }) => target)).toEqual([
      `${here.config}/u`,
      here.project,
      `${here.project}/sub/x`,
    ]);
    expect(manifest.scope.deny.map(({ target }) => target)).toEqual([`${here.project}/.env`]);
  });

  test("a project that names its model gets nothing of the user's", async () => {
    await using here = machine();
    here.putUser(
      `${MINIMAL}[model]\nref = "a/b"\nbase_url = "https://a"\nauth = { kind = "api_key", env = "A" }`,
    );
    here.putProject('model.ref = "c/d"');
    expect((await here.load()).manifest.model).toEqual({ ref: "c/d" });
  });

  test("`scope.inherit = false` leaves only the rules of that layer and above", async () => {
    await using here = machine();
    here.putUser(MINIMAL);
    here.putProject(
      '[scope]\ninherit = false\n[[scope.allow]]\ntarget = "src"\npermission = "write"\n',
    );
    expect((await here.load()).manifest.scope).toEqual({
      allow: [{ target: `${here.project}/src`, permission: "write", recursive: true }],
      deny: [],
    });
  });

  test("a named user manifest replaces the usual one, its paths relative to itself", async () => {
    await using here = machine();
    here.putUser('pod.name = "usual"');
    const named = put(`${here.project}/ci/m.toml`, MINIMAL);
    const { manifest, layers } = await here.load({ userManifest: "ci/m.toml" });
    expect(layers[1]?.file).toBe(named);
    expect(manifest.scope.allow[0]?.target).toBe(`${here.project}/ci`);
  });

  test("a place of the user's manifest that cannot be looked at is no place without one", async () => {
    await using here = machine();
    rmSync(here.config, { recursive: true });
    symlinkSync("insomnia", here.config); // to itself, as good as closed
    const told = await messageFrom(here.load({ overlay: MINIMAL }));
    expect(told).toStartWith(
      `failed to auto-load user manifest: failed to read manifest ${here.config}`,
    );
    expect(told).toContain("ELOOP");
  });

  test("user and project layers can be switched off", async () => {
    await using here = machine();
    here.putUser("broken");
    here.putProject("broken");
    const { layers } = await here.load({ userManifest: false, project: false, overlay: MINIMAL });
    expect(layers).toHaveLength(2);
  });

  test("`$HOME/.insomnia/manifest.toml` is not a project", async () => {
    await using here = machine();
    put(here.join("home", ".insomnia", "manifest.toml"), "broken");
    expect((await here.load({ overlay: MINIMAL })).layers).toHaveLength(2);
  });

  test("the prompt directories come along", async () => {
    await using here = machine();
    here.putProject(MINIMAL);
    mkdirSync(`${here.project}/.insomnia/prompts`);
    mkdirSync(`${here.config}/prompts`);
    expect((await here.load()).prompts).toEqual({
      user: `${here.config}/prompts`,
      workspace: `${here.project}/.insomnia/prompts`,
    });
  });
});

describe("errors of the cascade", () => {
  test("required fields are named in the order of the checks", async () => {
    await using here = machine();
    expect(await messageFrom(here.load())).toBe(
      "failed to resolve manifest cascade: failed to resolve manifest config: " +
        "missing required field: pod.name;\nmissing required field: scope.allow",
    );
    expect(await messageFrom(here.load({ overlay: 'pod.name = "a"\nscope.allow = []' }))).toBe(
      "failed to resolve manifest cascade: failed to resolve manifest config: " +
        "missing required field: scope.allow",
    );
  });

  test("a broken layer is named by how it was found", async () => {
    await using here = machine();
    const user = here.putUser("x = 1");
    expect(await messageFrom(here.load())).toBe(
      `failed to auto-load user manifest: failed to parse manifest ${user}: ${user}:1: x: unknown key`,
    );
    expect(await messageFrom(here.load({ userManifest: user }))).toStartWith(
      `failed to load user manifest: failed to parse manifest ${user}: `,
    );
    const project = here.putProject("x = ");
    expect(await messageFrom(here.load({ userManifest: false }))).toStartWith(
      `failed to auto-load project manifest: failed to parse manifest ${project}: ${project}:1:`,
    );
    expect(await messageFrom(here.load({ userManifest: false, project: "." }))).toStartWith(
      `failed to load project manifest: failed to parse manifest ${project}: `,
    );
    expect(
      await messageFrom(here.load({ userManifest: false, project: false, overlay: "x = 1" })),
    ).toBe("failed to parse overlay TOML: line 1: x: unknown key");
  });

  test("several broken layers are reported together, lowest first", async () => {
    await using here = machine();
    const user = here.putUser("a = 1");
    const project = here.putProject("b = 1\nc = 1");
    expect(await messageFrom(here.load({ overlay: "d = 1" }))).toBe(
      `failed to auto-load user manifest: failed to parse manifest ${user}: ${user}:1: a: unknown key;\n` +
        `failed to auto-load project manifest: failed to parse manifest ${project}: ` +
        `${project}:1: b: unknown key;\n${project}:2: c: unknown key;\n` +
        "failed to parse overlay TOML: line 1: d: unknown key",
    );
  });

  test("a named manifest that is missing is an error, a usual one is not", async () => {
    await using here = machine();
    const missing = here.join("missing.toml");
    expect(await messageFrom(here.load({ userManifest: missing }))).toStartWith(
      `failed to load user manifest: failed to read manifest ${missing}: ENOENT`,
    );
    expect((await here.load({ overlay: MINIMAL })).layers).toHaveLength(2);
  });

  test("a link that leads nowhere is no absent manifest: what it should say may be a limit", async () => {
    await using here = machine();
    symlinkSync(here.join("nowhere"), `${here.config}/manifest.toml`);
    expect(await messageFrom(here.load())).toStartWith(
      `failed to auto-load user manifest: failed to read manifest ${here.config}/manifest.toml: ENOENT`,
    );
    rmSync(`${here.config}/manifest.toml`);
    mkdirSync(`${here.project}/.insomnia`);
    symlinkSync(here.join("nowhere"), `${here.project}/.insomnia/manifest.toml`);
    expect(await messageFrom(here.load())).toStartWith("failed to auto-load project manifest");
  });

  test("what cannot be read as text is an error", async () => {
    await using here = machine();
    mkdirSync(`${here.config}/manifest.toml`);
    expect(await messageFrom(here.load())).toStartWith(
      `failed to auto-load user manifest: failed to read manifest ${here.config}/manifest.toml: not a regular file`,
    );
    const bytes = put(here.join("bytes.toml"), new Uint8Array([0x61, 10, 0xff, 10, 0xff]));
    expect(await messageFrom(here.load({ userManifest: bytes }))).toBe(
      `failed to load user manifest: failed to read manifest ${bytes}: not valid UTF-8 in line 2`,
    );
    const large = put(here.join("large.toml"), "#".repeat(1024 * 1024 + 1));
    expect(await messageFrom(here.load({ userManifest: large }))).toBe(
      `failed to load user manifest: failed to read manifest ${large}: 1048577 bytes, limit is 1048576`,
    );
  });
});
