import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { globalExcludesFile } from "../../src/tools/git-excludes.ts";
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
