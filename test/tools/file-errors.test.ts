import { expect, test } from "bun:test";
import { ioFailure } from "../../src/tools/file-errors.ts";

test.each([
  ["EDQUOT", 122, "Disk quota exceeded"],
  ["EIO", 5, "Input/output error"],
  ["ENOSPC", 28, "No space left on device"],
])("%s has the words of the system", (code, errno, words) => {
  const cause = Object.assign(new Error(`${code}: no space left on device, write`), {
    code,
    errno: -errno,
  });
  expect(ioFailure("/p/f", cause).message).toBe(`I/O error at /p/f: ${words} (os error ${errno})`);
});
