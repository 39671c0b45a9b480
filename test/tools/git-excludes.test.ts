import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { excludesFileOf, globalExcludesFile } from "../../src/tools/git-excludes.ts";
import { temp } from "../support/temp.ts";

test("the file is git's default unless the user's configuration names another", async () => {
  await using dir = temp();
  const home = dir.path;
  expect(globalExcludesFile({ home: undefined })).toBeUndefined();
  expect(globalExcludesFile({ home })).toBe(dir.join(".config/git/ignore"));
  expect(globalExcludesFile({ home, config: "/xdg" })).toBe("/xdg/git/ignore");
  writeFileSync(
    dir.join(".gitconfig"),
    "[user]\n excludesfile = no\n[core]\n\texcludesFile = ~/mine # x\n",
  );
  expect(globalExcludesFile({ home })).toBe(dir.join("mine"));
  writeFileSync(dir.join(".gitconfig"), '[core] excludesfile = "/abs/mine"\n');
  expect(globalExcludesFile({ home })).toBe("/abs/mine");
});

test("a repository's own file is in the directory that its worktrees share", async () => {
  await using dir = temp();
  mkdirSync(dir.join("main/.git/worktrees/tree"), { recursive: true });
  mkdirSync(dir.join("main/.git/modules/sub"), { recursive: true });
  for (const name of ["tree", "sub", "odd"]) mkdirSync(dir.join(name));
  writeFileSync(dir.join("tree/.git"), `gitdir: ${dir.join("main/.git/worktrees/tree")}\n`);
  writeFileSync(dir.join("main/.git/worktrees/tree/commondir"), "../..\n");
  const back = dir.join("main/.git/worktrees/tree/gitdir");
  writeFileSync(back, `${dir.join("tree/.git")}\n`);
  writeFileSync(dir.join("sub/.git"), "gitdir: ../main/.git/modules/sub\n");
  const config = dir.join("main/.git/modules/sub/config");
  writeFileSync(config, "[core]\n\tbare = false\n\tworktree = ../../../../sub\n");
  writeFileSync(dir.join("odd/.git"), "neither a link\nnor a directory\n");
  const shared = dir.join("main/.git/info/exclude");
  expect(excludesFileOf(dir.join("main"))).toBe(shared);
  expect(excludesFileOf(dir.join("tree"))).toBe(shared);
  expect(excludesFileOf(dir.join("sub"))).toBe(dir.join("main/.git/modules/sub/info/exclude"));
  expect(excludesFileOf(dir.join("odd"))).toBe(dir.join("odd/.git/info/exclude"));
  // Those that know nothing of the tree are not asked.
  writeFileSync(back, `${dir.join("other/.git")}\n`);
  writeFileSync(config, "[core]\n\tworktree = ../../../../other\n");
  for (const name of ["tree", "sub"]) expect(excludesFileOf(dir.join(name))).toBeUndefined();
  mkdirSync(dir.join("linked/.git"), { recursive: true });
  symlinkSync(dir.join("main/.git"), dir.join("linked/.git/info"));
  expect(excludesFileOf(dir.join("linked"))).toBeUndefined();
});
