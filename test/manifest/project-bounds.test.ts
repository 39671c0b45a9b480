import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { loadManifest, type LoadOptions } from "../../src/manifest/load.ts";
import { ManifestError } from "../../src/manifest/problem.ts";
import { temp } from "../support/temp.ts";

/** What is said of a project's manifest: the keys that go too far, with their lines. */
async function keysBeyond(
  project: string,
  { user = "", overlay }: { user?: string; overlay?: string } = {},
): Promise<string[]> {
  await using dir = temp();
  for (const name of ["config", "project/.insomnia", "project/in", "out/deep"]) {
    mkdirSync(dir.join(name), { recursive: true });
  }
  symlinkSync(dir.join("out"), dir.join("project", "link"));
  const fill = (text: string): string => text.replaceAll("DIR", dir.path);
  writeFileSync(dir.join("config", "manifest.toml"), fill(user));
  writeFileSync(dir.join("project", ".insomnia", "manifest.toml"), fill(project));
  const options: LoadOptions = {
    cwd: dir.join("project", "in"),
    bases: { config: dir.join("config") },
    home: dir.path,
    overlay: overlay === undefined ? undefined : fill(overlay),
    fallback: { name: "p", writable: dir.join("project", "in"), model: { ref: "anthropic/x" } },
  };
  try {
    await loadManifest(options);
    return [];
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    expect(error.message).toStartWith("failed to auto-load project manifest: ");
    expect(error.message).toContain("a project's manifest may not");
    return error.problems.map(({ line, key }) => `${line}: ${key}`);
  }
}

describe("a project's manifest cannot loosen", () => {
  test.each([
    ['sandbox.mode = "off"', "1: sandbox.mode"],
    ['sandbox.mode = "warn"', "1: sandbox.mode"],
    ['sandbox.env = ["TEAM_KEY"]', "1: sandbox.env"],
    ['sandbox.write = ["/"]', "1: sandbox.write"],
    ['sandbox.write = ["link"]', "1: sandbox.write"],
    ['scope.allow = [{ target = "/", permission = "write" }]', "1: scope.allow[0].target"],
    ['scope.allow = [{ target = "link/new", permission = "write" }]', "1: scope.allow[0].target"],
  ])("%s", async (line, found) => {
    expect(await keysBeyond(line)).toEqual([found]);
  });

  test("where texts for models come from: not from outside, nor from what is hidden", async () => {
    const pack = (path: string): string => `pod.prompt_pack = "${path}"`;
    const hidden = '[[scope.deny]]\ntarget = "DIR/project/in"\npermission = "read"\n';
    expect(await keysBeyond(pack("in/texts.toml"))).toEqual([]);
    for (const path of ["DIR/out/texts.toml", "link/texts.toml"]) {
      expect(await keysBeyond(pack(path)), path).toEqual(["1: pod.prompt_pack"]);
    }
    expect(await keysBeyond(pack("in/texts.toml"), { user: hidden })).toEqual([
      "1: pod.prompt_pack",
    ]);
    expect(await keysBeyond(pack("DIR/out/a.toml"), { overlay: pack("DIR/out/b.toml") })).toEqual(
      [],
    );
  });

  test("and everything it tries is told at once", async () => {
    const text =
      '[sandbox]\nmode = "off"\nenv = ["A"]\n[[scope.allow]]\ntarget = "/etc"\npermission = "write"\n';
    expect(await keysBeyond(text)).toEqual([
      "2: sandbox.mode",
      "3: sandbox.env",
      "5: scope.allow[0].target",
    ]);
  });

  test("what the user closed stays closed", async () => {
    const open = 'sandbox.network = "allow"';
    expect(await keysBeyond(open)).toEqual([]);
    expect(await keysBeyond(open, { user: 'sandbox.network = "deny"' })).toEqual([
      "1: sandbox.network",
    ]);
    const sockets = 'sandbox.local_sockets = "allow"';
    expect(await keysBeyond(sockets)).toEqual(["1: sandbox.local_sockets"]);
    expect(await keysBeyond(sockets, { user: sockets })).toEqual([]);
  });
});

describe("a bound that the user set", () => {
  const user = "[limits]\nmax_children = 2\nmax_depth = 1\nchild_models = ['openai/a']\n";

  test.each([
    ["limits.max_children = 3", "1: limits.max_children"],
    ["limits.max_depth = 2", "1: limits.max_depth"],
    ["limits.child_models = ['openai/a', 'openai/b']", "1: limits.child_models"],
  ])(
    "is not raised by a project's manifest, and may be where there is none: %s",
    async (line, found) => {
      expect(await keysBeyond(line, { user })).toEqual([found]);
      expect(await keysBeyond(line, { overlay: user })).toEqual([]);
      expect(await keysBeyond(line)).toEqual([]);
    },
  );

  test("is lowered by a project's manifest", async () => {
    const text = "[limits]\nmax_children = 2\nmax_depth = 1\nchild_models = []\n";
    expect(await keysBeyond(text, { user })).toEqual([]);
  });
});

describe("a project's manifest may", () => {
  test("tighten, and grant what lies inside the project", async () => {
    const text =
      'sandbox = { mode = "enforce", network = "deny", write = ["cache"], env = [] }\n' +
      '[[scope.allow]]\ntarget = "."\npermission = "write"\n' +
      '[[scope.allow]]\ntarget = "/usr"\npermission = "read"\n';
    expect(await keysBeyond(text)).toEqual([]);
  });

  test("say what the user's manifest or an overlay says", async () => {
    const text =
      'sandbox = { mode = "off", write = ["DIR/out/deep"], env = ["A"] }\n' +
      '[[scope.allow]]\ntarget = "link"\npermission = "write"\n';
    const own =
      'sandbox = { mode = "off", write = ["DIR/out"], env = ["B", "A"] }\n' +
      '[[scope.allow]]\ntarget = "DIR/out"\npermission = "write"\n';
    expect(await keysBeyond(text, { user: own })).toEqual([]);
    expect(await keysBeyond(text, { overlay: own })).toEqual([]);
    expect(await keysBeyond(text)).toHaveLength(4);
  });

  test("say what an overlay overrides", async () => {
    const overlay = 'sandbox = { mode = "enforce", env = [], write = [] }\nscope.inherit = false\n';
    const text =
      'sandbox = { mode = "off", env = ["A"], write = ["/"] }\n' +
      'scope.allow = [{ target = "/", permission = "write" }]\n';
    expect(await keysBeyond(text, { overlay })).toEqual([]);
  });
});
