/** What the file tools make of a file that a command has written: another process, of the same Pod. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { shellBench } from "./shell-support.ts";
import { refused } from "./support.ts";

test("44: what a command has changed since it was read is neither overwritten nor edited", async () => {
  await using bench = shellBench();
  const path = bench.file("a.txt", "old\n");
  await bench.call("Read", { file_path: path });
  expect((await bench.bash("echo theirs > a.txt")).summary).toBe("$ echo theirs > a.txt");
  const changed = refused(`file was modified externally after last read: ${path}`);
  expect(await bench.call("Write", { file_path: path, content: "mine\n" })).toEqual(changed);
  const edit = { file_path: path, old_string: "theirs", new_string: "mine" };
  expect(await bench.call("Edit", edit)).toEqual(changed);
  expect(readFileSync(path, "utf8")).toBe("theirs\n");
  await bench.call("Read", { file_path: path });
  expect((await bench.call("Edit", edit)).isError).toBe(false);
});

test("45: the same bytes written again by a command change nothing", async () => {
  await using bench = shellBench();
  const path = bench.file("a.txt", "one two");
  await bench.call("Read", { file_path: path });
  expect((await bench.bash("printf 'one two' > new && mv new a.txt")).isError).toBe(false);
  const edit = { file_path: path, old_string: "two", new_string: "three" };
  expect((await bench.call("Edit", edit)).summary).toBe(`Edited ${path} (1 replacement)`);
  expect(readFileSync(path, "utf8")).toBe("one three");
});
