import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { MAX_AGENTS_MD_BYTES, readAgentsMd } from "../../src/prompts/agents-md.ts";
import { buildScope } from "../../src/scope/set.ts";
import { temp } from "../support/temp.ts";

const readable = (target: string) =>
  buildScope([{ target, permission: "read", recursive: true }], []);

test("the file in the working directory is taken word for word", async () => {
  await using dir = temp();
  writeFileSync(dir.join("AGENTS.md"), "# Rules\n{{ cwd }}\n");
  expect(readAgentsMd(dir.path, readable(dir.path))).toEqual({ text: "# Rules\n{{ cwd }}\n" });
});

test("no file is nothing, also when there is one above", async () => {
  await using dir = temp();
  writeFileSync(dir.join("AGENTS.md"), "x");
  mkdirSync(dir.join("sub"));
  expect(readAgentsMd(dir.join("sub"), readable(dir.path))).toEqual({});
});

test("a file of exactly the limit is whole", async () => {
  await using dir = temp();
  const text = "x".repeat(MAX_AGENTS_MD_BYTES);
  writeFileSync(dir.join("AGENTS.md"), text);
  expect(readAgentsMd(dir.path, readable(dir.path))).toEqual({ text });
});

test("a longer file is cut between characters and says so", async () => {
  await using dir = temp();
  const path = dir.join("AGENTS.md");
  // Two bytes a character after one byte: the limit falls into the middle of a character.
  writeFileSync(path, `x${"ü".repeat(MAX_AGENTS_MD_BYTES)}`);
  expect(readAgentsMd(dir.path, readable(dir.path))).toEqual({
    text:
      `x${"ü".repeat((MAX_AGENTS_MD_BYTES - 2) / 2)}\n\n` +
      `[AGENTS.md truncated: the first 65536 of 131073 bytes are shown; the rest is in ${path}]`,
  });
});

test("bytes that are no text are left out with a warning", async () => {
  await using dir = temp();
  writeFileSync(dir.join("AGENTS.md"), new Uint8Array([0x61, 0xff, 0x62]));
  const { text, warning } = readAgentsMd(dir.path, readable(dir.path));
  expect(text).toBeUndefined();
  expect(warning).toStartWith(`AGENTS.md (${dir.join("AGENTS.md")}) is not valid UTF-8: `);
});

test("a link to a file outside the scope carries nothing into the prompt", async () => {
  await using dir = temp();
  mkdirSync(dir.join("project"));
  writeFileSync(dir.join("secret"), "secret");
  symlinkSync(dir.join("secret"), dir.join("project", "AGENTS.md"));
  const path = dir.join("project", "AGENTS.md");
  expect(readAgentsMd(dir.join("project"), readable(dir.join("project")))).toEqual({
    warning: `failed to read AGENTS.md (${path}): outside the readable scope`,
  });
  expect(readAgentsMd(dir.join("project"), readable(dir.path))).toEqual({ text: "secret" });
});

test("what is not a regular file does not block", async () => {
  await using dir = temp();
  const path = dir.join("AGENTS.md");
  expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
  expect(readAgentsMd(dir.path, readable(dir.path))).toEqual({
    warning: `failed to read AGENTS.md (${path}): not a regular file`,
  });
});
