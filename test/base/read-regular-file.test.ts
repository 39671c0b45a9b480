import { expect, test } from "bun:test";
import { symlinkSync, writeFileSync } from "node:fs";
import { readRegularFile } from "../../src/base/files.ts";
import { temp } from "../support/temp.ts";

const text = (path: string, limit: number): string =>
  new TextDecoder().decode(readRegularFile(path, limit));

test("a file is read whole up to the limit, through links too", async () => {
  await using dir = temp();
  const content = "x".repeat(10_000);
  writeFileSync(dir.join("file"), content);
  writeFileSync(dir.join("empty"), "");
  symlinkSync(dir.join("file"), dir.join("link"));
  expect(text(dir.join("file"), 10_000)).toBe(content);
  expect(text(dir.join("link"), 20_000)).toBe(content);
  expect(text(dir.join("empty"), 0)).toBe("");
  expect(() => readRegularFile(dir.join("file"), 9999)).toThrow("10000 bytes, limit is 9999");
  expect(() => readRegularFile(dir.join("none"), 1)).toThrow("ENOENT");
});

test.skipIf(process.platform !== "linux")("a file that does not know its size is bounded", () => {
  expect(text("/proc/self/status", 64 * 1024)).toContain("VmRSS");
  expect(() => readRegularFile("/proc/self/status", 100)).toThrow("more than 100 bytes");
});

test("pipes, devices and directories are not read, and nothing waits for them", async () => {
  await using dir = temp();
  expect(Bun.spawnSync(["mkfifo", dir.join("pipe")]).exitCode).toBe(0);
  symlinkSync("/dev/zero", dir.join("zero"));
  for (const path of [dir.join("pipe"), dir.join("zero"), dir.path]) {
    expect(() => readRegularFile(path, 100)).toThrow("not a regular file");
  }
});
