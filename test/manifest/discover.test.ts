import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findProject, findPromptDirectories } from "../../src/manifest/discover.ts";
import { temp } from "../support/temp.ts";

const bases = { config: undefined };

function put(file: string): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "");
  return file;
}

test("the nearest manifest upward makes the project", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  const inner = put(dir.join("a", ".insomnia", "manifest.toml"));
  mkdirSync(dir.join("a", "b", "c"), { recursive: true });
  const project = { root: dir.join("a"), manifest: inner };
  expect(findProject({ cwd: dir.join("a", "b", "c"), bases })).toEqual(project);
  expect(findProject({ cwd: dir.join("a"), bases })).toEqual(project);
});

test("a directory of that name is no manifest", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  mkdirSync(dir.join("a", ".insomnia", "manifest.toml"), { recursive: true });
  expect(findProject({ cwd: dir.join("a"), bases })?.root).toBe(dir.path);
});

test("a broken link or a pipe of that name is one, which then cannot be read", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  for (const [place, make] of [
    ["link", (path: string) => symlinkSync(dir.join("nowhere"), path)],
    ["pipe", (path: string) => Bun.spawnSync(["mkfifo", path])],
  ] as const) {
    mkdirSync(dir.join(place, ".insomnia"), { recursive: true });
    make(dir.join(place, ".insomnia", "manifest.toml"));
    expect(findProject({ cwd: dir.join(place), bases })?.root).toBe(dir.join(place));
  }
});

test("the walk ends at the home directory, whose own `.insomnia` is no project", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  put(dir.join("home", ".insomnia", "manifest.toml"));
  mkdirSync(dir.join("home", ".insomnia", "prompts"));
  mkdirSync(dir.join("home", "work"));
  symlinkSync(dir.join("home"), dir.join("link"));
  for (const home of [dir.join("home"), dir.join("link")]) {
    for (const cwd of [dir.join("home", "work"), dir.join("link", "work"), dir.join("home")]) {
      expect(findProject({ cwd, bases, home })).toBeUndefined();
      expect(findPromptDirectories({ cwd, bases, home })).toEqual({});
    }
  }
});

test("a home that is empty or relative stops nothing", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  for (const home of ["", ".", undefined]) {
    expect(findProject({ cwd: dir.path, bases, home })?.root).toBe(dir.path);
  }
});

test("a project in the home directory's tree is found", async () => {
  await using dir = temp();
  put(dir.join("home", "work", ".insomnia", "manifest.toml"));
  const found = findProject({ cwd: dir.join("home", "work"), bases, home: dir.join("home") });
  expect(found?.root).toBe(dir.join("home", "work"));
});

test("the walk starts where a link leads", async () => {
  await using dir = temp();
  put(dir.join("real", ".insomnia", "manifest.toml"));
  put(dir.join("other", ".insomnia", "manifest.toml"));
  mkdirSync(dir.join("real", "sub"));
  symlinkSync(dir.join("real", "sub"), dir.join("other", "link"));
  const found = findProject({ cwd: dir.join("other", "link"), bases });
  expect(found?.root).toBe(dir.join("real"));
});

test("`project` names another start, relative to the working directory, or switches it off", async () => {
  await using dir = temp();
  put(dir.join("a", ".insomnia", "manifest.toml"));
  expect(findProject({ cwd: dir.path, bases, project: "a" })?.root).toBe(dir.join("a"));
  expect(findProject({ cwd: dir.join("a"), bases, project: false })).toBeUndefined();
  expect(() => findProject({ cwd: dir.path, bases, project: "missing" })).toThrow(
    `not found: ${dir.join("missing")} is not a directory`,
  );
});

test("prompt directories are found without manifests beside them", async () => {
  await using dir = temp();
  const user = dir.join("config", "prompts");
  const workspace = dir.join("a", ".insomnia", "prompts");
  const cwd = dir.join("a", "b");
  for (const directory of [user, workspace, cwd]) mkdirSync(directory, { recursive: true });
  const search = { cwd, bases: { config: dir.join("config") } };
  expect(findPromptDirectories(search)).toEqual({ user, workspace });
  expect(findPromptDirectories({ ...search, project: false })).toEqual({ user });
  expect(findPromptDirectories({ ...search, userManifest: false })).toEqual({ workspace });
});

test("the user's prompts lie beside the manifest that was named", async () => {
  await using dir = temp();
  mkdirSync(dir.join("config", "prompts"), { recursive: true });
  mkdirSync(dir.join("other", "prompts"), { recursive: true });
  const search = { cwd: dir.path, bases: { config: dir.join("config") }, home: dir.path };
  expect(findPromptDirectories({ ...search, userManifest: "other/m.toml" })).toEqual({
    user: dir.join("other", "prompts"),
  });
});

test("with a project manifest, only that project's prompts count", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  mkdirSync(dir.join("a", ".insomnia", "prompts"), { recursive: true });
  expect(findPromptDirectories({ cwd: dir.join("a"), bases })).toEqual({});
});

test("a project's prompts that lie elsewhere are refused, and the user's are taken from where they are", async () => {
  await using dir = temp();
  const pack = put(dir.join("private", "prompts.toml"));
  mkdirSync(dir.join("private", "prompts"));
  for (const [name, place] of [
    ["prompts", dir.join("a", ".insomnia")],
    ["prompts.toml", dir.join("b", ".insomnia")],
  ] as const) {
    mkdirSync(place, { recursive: true });
    symlinkSync(dir.join("private", name), join(place, name));
    const search = { cwd: join(place, ".."), bases, home: dir.path };
    const message = `a link in ${place} leads to ${dir.join("private", name)}, which is not used`;
    expect(() => findPromptDirectories(search)).toThrow(message);
    expect(() => findPromptDirectories({ ...search, project: search.cwd })).toThrow(message);
  }
  symlinkSync(dir.join("private"), dir.join("config"));
  const own = findPromptDirectories({ cwd: dir.path, bases: { config: dir.join("config") } });
  expect(own).toEqual({ user: dir.join("private", "prompts"), packs: [pack] });
});

test("what cannot be seen is not passed over: a link to nowhere, in a circle, into what is closed", async () => {
  await using dir = temp();
  const links = { nowhere: dir.join("missing"), circle: ".insomnia" };
  for (const [name, target] of Object.entries(links)) {
    const root = dir.join(name);
    mkdirSync(root);
    symlinkSync(target, join(root, ".insomnia"));
    expect(() => findProject({ cwd: root, bases, home: dir.path })).toThrow(
      `not readable: ${root}/.insomnia cannot be entered`,
    );
  }
  // A plain file of that name is somebody else's affair.
  mkdirSync(dir.join("file"));
  writeFileSync(dir.join("file", ".insomnia"), "");
  expect(findProject({ cwd: dir.join("file"), bases, home: dir.path })).toBeUndefined();
});

test("packs of prompt texts are found beside the directories, the user's first", async () => {
  await using dir = temp();
  const user = put(dir.join("config", "prompts.toml"));
  const workspace = put(dir.join("a", ".insomnia", "prompts.toml"));
  const search = { cwd: dir.join("a"), bases: { config: dir.join("config") }, home: dir.path };
  expect(findPromptDirectories(search)).toEqual({ packs: [user, workspace] });
  expect(findPromptDirectories({ ...search, userManifest: false })).toEqual({
    packs: [workspace],
  });
});

test("the walk ends at the root of a repository", async () => {
  await using dir = temp();
  put(dir.join(".insomnia", "manifest.toml"));
  put(dir.join("repo", ".git"));
  mkdirSync(dir.join("repo", "src"));
  expect(findProject({ cwd: dir.join("repo", "src"), bases })).toBeUndefined();
  const manifest = put(dir.join("repo", ".insomnia", "manifest.toml"));
  expect(findProject({ cwd: dir.join("repo", "src"), bases })?.manifest).toBe(manifest);
});
