import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { findProject, findPromptDirectories } from "../../src/manifest/discover.ts";
import { strangerOf } from "../../src/manifest/owner.ts";
import { ManifestError } from "../../src/manifest/problem.ts";
import { temp } from "../support/temp.ts";

const bases = { config: undefined };
const NOBODY = 65_534;
const isRoot = process.geteuid?.() === 0;

/** A project with all that it can have, above a directory to work in. */
function project() {
  const dir = temp();
  const marker = dir.join(".insomnia");
  mkdirSync(`${marker}/prompts`, { recursive: true, mode: 0o755 });
  for (const name of ["manifest.toml", "prompts.toml"]) writeFileSync(`${marker}/${name}`, "");
  mkdirSync(dir.join("sub"));
  return {
    root: dir.path,
    marker,
    sub: dir.join("sub"),
    join: dir.join,
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

test("the user and root may change a file, and a group of the user's own", () => {
  const user = { uid: 1000, gid: 1000 };
  const who = (uid: number, gid: number, mode: number) => strangerOf({ uid, gid, mode }, user);
  expect(who(1000, 1000, 0o100664)).toBeUndefined();
  expect(who(0, 0, 0o100664)).toBeUndefined();
  expect(who(1000, 50, 0o100644)).toBeUndefined();
  expect(who(1000, 50, 0o100664)).toBe("can be changed by group 50");
  expect(who(1000, 1000, 0o100646)).toBe("can be changed by everybody");
  expect(who(1001, 1000, 0o100600)).toBe("belongs to user 1001, not to you (1000)");
});

describe("a project that a stranger may change is refused", () => {
  for (const name of [".insomnia", ".insomnia/manifest.toml", ".insomnia/prompts.toml"]) {
    test(`everybody may write ${name}`, async () => {
      await using here = project();
      const search = { cwd: here.sub, bases };
      expect(() => findPromptDirectories(search)).not.toThrow();
      chmodSync(here.join(name), 0o777);
      expect(() => findPromptDirectories(search)).toThrow(ManifestError);
      expect(() => findPromptDirectories(search)).toThrow(
        `${here.join(name)} can be changed by everybody, so it is not used`,
      );
      // Who names the directory has looked at it; who names one below has not.
      const named = { ...search, project: here.root };
      expect(findPromptDirectories(named).workspace).toBe(`${here.marker}/prompts`);
      expect(() => findPromptDirectories({ ...search, project: here.sub })).toThrow(ManifestError);
      expect(findPromptDirectories({ ...search, project: false })).toEqual({});
    });
  }

  test("everybody may write a text or a directory in its library", async () => {
    await using here = project();
    const search = { cwd: here.sub, bases };
    const [deep, text] = [`${here.marker}/prompts/sub`, `${here.marker}/prompts/sub/a.md`];
    mkdirSync(deep);
    writeFileSync(text, "");
    for (const [path, own, open] of [
      [deep, 0o755, 0o777],
      [text, 0o644, 0o666],
    ] as const) {
      expect(() => findPromptDirectories(search)).not.toThrow();
      chmodSync(path, open);
      expect(() => findPromptDirectories(search)).toThrow(`${path} can be changed by everybody`);
      expect(() => findPromptDirectories({ ...search, project: here.root })).not.toThrow();
      chmodSync(path, own);
    }
  });

  test("links in a library are looked at, and not what they lead to, however much that is", async () => {
    await using here = project();
    const search = { cwd: here.sub, bases };
    symlinkSync(".", `${here.marker}/prompts/x`);
    symlinkSync("..", `${here.marker}/prompts/y`);
    symlinkSync("/", `${here.marker}/prompts/z`);
    // A link has no mode; what the last one leads to is root's, and not for everybody to write.
    expect(findPromptDirectories(search).workspace).toBe(`${here.marker}/prompts`);
    for (let file = 0; file <= 10_000; file += 1)
      writeFileSync(`${here.marker}/prompts/${file}`, "");
    expect(() => findPromptDirectories(search)).toThrow("has more than 10000 entries");
  });

  test.skipIf(!isRoot)(
    "another user owns the directory, the manifest or a link to it",
    async () => {
      for (const spoil of [
        (marker: string) => chownSync(marker, NOBODY, NOBODY),
        (marker: string) => chownSync(`${marker}/manifest.toml`, NOBODY, NOBODY),
      ]) {
        await using here = project();
        spoil(here.marker);
        expect(() => findProject({ cwd: here.sub, bases })).toThrow("belongs to user 65534");
        expect(findProject({ cwd: here.sub, bases, project: here.root })?.root).toBe(here.root);
      }
      await using here = project();
      symlinkSync(here.marker, `${here.sub}/.insomnia`);
      expect(findProject({ cwd: here.sub, bases })?.root).toBe(here.sub);
      lchownSync(`${here.sub}/.insomnia`, NOBODY, NOBODY);
      expect(() => findProject({ cwd: here.sub, bases })).toThrow("belongs to user 65534");
    },
  );
});
