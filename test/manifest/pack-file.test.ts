import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { readPromptPack } from "../../src/manifest/pack-file.ts";
import { temp } from "../support/temp.ts";

const KNOWN = ["notify_wrapper", "compact_system"];

test("a pack is a table of texts, each with its place", async () => {
  await using dir = temp();
  const file = dir.join("prompts.toml");
  writeFileSync(file, '# mine\n[prompt]\nnotify_wrapper = "hey {{ message }}"\n[x-tool]\na = 1\n');
  expect(await readPromptPack(file, KNOWN)).toEqual([
    {
      key: "notify_wrapper",
      label: `${file}:3 prompt.notify_wrapper`,
      text: "hey {{ message }}",
    },
  ]);
});

test("everything that is wrong in a pack is said at once, with line and nearest key", async () => {
  await using dir = temp();
  const file = dir.join("prompts.toml");
  writeFileSync(file, "[prompt]\nnotify_wraper = 'a'\ncompact_system = 3\nzzz = ''\n[promt]\n");
  await expect(readPromptPack(file, KNOWN)).rejects.toThrow(
    [
      `failed to parse prompt pack ${file}: ${file}:2: prompt.notify_wraper: unknown key (did you mean \`notify_wrapper\`?)`,
      `${file}:3: prompt.compact_system: expected a string`,
      `${file}:4: prompt.zzz: unknown key (known: notify_wrapper, compact_system)`,
      `${file}:5: promt: unknown key (did you mean \`prompt\`?)`,
    ].join(";\n"),
  );
});

test("a pack that cannot be read or is no TOML is refused with its path", async () => {
  await using dir = temp();
  await expect(readPromptPack(dir.join("no.toml"), KNOWN)).rejects.toThrow(
    `failed to read prompt pack ${dir.join("no.toml")}: ENOENT`,
  );
  writeFileSync(dir.join("bad.toml"), "[prompt\n");
  await expect(readPromptPack(dir.join("bad.toml"), KNOWN)).rejects.toThrow(
    `failed to parse prompt pack ${dir.join("bad.toml")}: ${dir.join("bad.toml")}:1:`,
  );
});
