import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { replaceFile } from "../../src/base/files.ts";
import { temp } from "../support/temp.ts";

test("a replaced file is private even when a writer that died left a temporary open to all", async () => {
  await using dir = temp();
  const path = dir.join("file");
  writeFileSync(`${path}.tmp`, "half", { mode: 0o666 });
  replaceFile(path, "whole");
  expect(readFileSync(path, "utf8")).toBe("whole");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir.path)).toEqual(["file"]);
});
