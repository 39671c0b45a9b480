import { expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { buildScope } from "../../src/scope/set.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { runTool } from "../../src/tools/tool.ts";
import { temp } from "../support/temp.ts";
import { bench, failed, refused, rule } from "./support.ts";

test("42: a broken link that points outside is refused and no file appears anywhere", async () => {
  await using b = bench();
  const link = b.path("link");
  symlinkSync(`${b.outside}/new`, link);
  const result = await b.call("Write", { file_path: link, content: "x" });
  expect(result.summary).toContain(
    `path is a symbolic link to something that does not exist: ${link}`,
  );
  expect(readdirSync(b.outside)).toEqual([]);
  expect(readdirSync(b.root)).toEqual(["link"]);
});

test("a broken link in the middle of a path is refused", async () => {
  await using b = bench();
  symlinkSync(`${b.outside}/new`, b.path("link"));
  const result = await b.call("Write", { file_path: b.path("link/deep/file"), content: "x" });
  expect(result.isError).toBe(true);
  expect(readdirSync(b.outside)).toEqual([]);
});

test("43: an existing file that was not read is not overwritten", async () => {
  await using b = bench();
  const path = b.file("a.txt", "old");
  expect(await b.call("Write", { file_path: path, content: "new" })).toEqual(
    refused(`file has not been read in this session; read it first: ${path}`),
  );
  expect(readFileSync(path, "utf8")).toBe("old");
});

test("44: what changed since it was read is neither overwritten nor edited", async () => {
  await using b = bench();
  const path = b.file("a.txt", "old");
  await b.call("Read", { file_path: path });
  writeFileSync(path, "theirs");
  const changed = refused(`file was modified externally after last read: ${path}`);
  expect(await b.call("Write", { file_path: path, content: "new" })).toEqual(changed);
  const edit = { file_path: path, old_string: "theirs", new_string: "mine" };
  expect(await b.call("Edit", edit)).toEqual(changed);
  expect(readFileSync(path, "utf8")).toBe("theirs");
});

test("45: the same bytes written again, at another time, change nothing", async () => {
  await using b = bench();
  const path = b.file("a.txt", "one two");
  await b.call("Read", { file_path: path });
  writeFileSync(path, "one two");
  utimesSync(path, 1000, 1000);
  const edit = { file_path: path, old_string: "two", new_string: "three" };
  expect((await b.call("Edit", edit)).isError).toBe(false);
});

test("46: missing parents are made and the bytes are counted", async () => {
  await using b = bench();
  const path = b.path("a/b/c/d/e/deep.txt");
  const result = await b.call("Write", { file_path: path, content: "grün" });
  expect(result).toEqual({ summary: `Created ${path} (5 bytes)`, isError: false });
  expect(readFileSync(path, "utf8")).toBe("grün");
});

test("47: what was written may be written again without a read", async () => {
  await using b = bench();
  const path = b.path("a.txt");
  await b.call("Write", { file_path: path, content: "1" });
  const result = await b.call("Write", { file_path: path, content: "22" });
  expect(result.summary).toBe(`Overwrote ${path} (2 bytes)`);
  expect(readdirSync(b.root)).toEqual(["a.txt"]);
});

test("48: a path with writing denied is read-only", async () => {
  await using b = bench((root) => [rule("write", `${root}/sub`)]);
  const path = b.file("sub/a.txt", "x");
  expect((await b.call("Read", { file_path: path })).isError).toBe(false);
  const readOnly = refused(`path is read-only in this scope: ${path}`);
  expect(await b.call("Write", { file_path: path, content: "y" })).toEqual(readOnly);
  const other = b.path("sub/new/b.txt");
  const result = await b.call("Write", { file_path: other, content: "y" });
  expect(result).toEqual(refused(`path is read-only in this scope: ${other}`));
  expect(readdirSync(b.path("sub"))).toEqual(["a.txt"]);
});

test("an unread read-only file is reported as not read first", async () => {
  await using b = bench((root) => [rule("write", `${root}/sub`)]);
  const path = b.file("sub/a.txt", "x");
  expect(await b.call("Write", { file_path: path, content: "y" })).toEqual(
    refused(`file has not been read in this session; read it first: ${path}`),
  );
});

test("49: a scope revoked between two writes stops the second and leaves reading", async () => {
  await using b = bench();
  const path = b.path("sub/a.txt");
  await b.call("Write", { file_path: path, content: "1" });
  b.scope.setDelegated([rule("write", b.path("sub"))]);
  expect(await b.call("Write", { file_path: path, content: "2" })).toEqual(
    refused(`path is read-only in this scope: ${path}`),
  );
  expect((await b.call("Read", { file_path: path })).content).toBe("     1\t1\n");
});

test("56: mode, owner and link survive an edit, of a script too (56, W28)", async () => {
  await using b = bench();
  const script = b.file("run.sh", "echo one\n");
  chmodSync(script, 0o755);
  if (process.getuid?.() === 0) chownSync(script, 12345, 23456);
  const before = statSync(script);
  symlinkSync("run.sh", b.path("link"));
  await b.call("Read", { file_path: b.path("link") });
  const edit = { file_path: b.path("link"), old_string: "one", new_string: "two" };
  expect((await b.call("Edit", edit)).isError).toBe(false);
  const { mode, uid, gid } = statSync(script);
  expect([mode, uid, gid]).toEqual([before.mode, before.uid, before.gid]);
  expect(readlinkSync(b.path("link"))).toBe("run.sh");
  expect(readFileSync(script, "utf8")).toBe("echo two\n");
});

test("a link and its target are one file for read-before-write", async () => {
  await using b = bench();
  const target = b.file("real.txt", "1");
  symlinkSync(target, b.path("link"));
  await b.call("Read", { file_path: target });
  const result = await b.call("Write", { file_path: b.path("link"), content: "2" });
  expect(result.summary).toBe(`Overwrote ${b.path("link")} (1 bytes)`);
  expect(lstatSync(b.path("link")).isSymbolicLink()).toBe(true);
  expect(readFileSync(target, "utf8")).toBe("2");
});

test("a new file has the mode that the umask leaves", async () => {
  await using b = bench();
  const umask = process.umask(0o027);
  try {
    await b.call("Write", { file_path: b.path("new.txt"), content: "x" });
  } finally {
    process.umask(umask);
  }
  expect(statSync(b.path("new.txt")).mode & 0o777).toBe(0o640);
});

test("a directory, a relative path and a path outside are refused", async () => {
  await using b = bench();
  const write = async (path: string) => await b.call("Write", { file_path: path, content: "x" });
  expect(await write(b.root)).toEqual(refused(`path is a directory: ${b.root}`));
  expect(await write("a.txt")).toEqual(refused("path must be absolute: a.txt"));
  const outside = `${b.outside}/a/b`;
  expect(await write(outside)).toEqual(refused(`path is outside allowed scope: ${outside}`));
  expect(readdirSync(b.outside)).toEqual([]);
});

test("a path that can only name a directory makes no file", async () => {
  await using b = bench();
  const write = async (path: string) => await b.call("Write", { file_path: path, content: "x" });
  for (const path of [b.path("new/"), b.path("sub/new//"), b.path("new/.")]) {
    expect(await write(path)).toEqual(
      refused(`path ends like that of a directory, not of a file: ${path}`),
    );
  }
  expect(await write(`${b.root}/`)).toEqual(refused(`path is a directory: ${b.root}/`));
  const outside = `${b.outside}/new/`;
  expect(await write(outside)).toEqual(refused(`path is outside allowed scope: ${outside}`));
  expect(readdirSync(b.root)).toEqual([]);
});

test("a parent that is a file is an I/O error", async () => {
  await using b = bench();
  const path = `${b.file("a.txt", "x")}/b`;
  expect(await b.call("Write", { file_path: path, content: "x" })).toEqual(
    failed(`I/O error at ${path}: Not a directory (os error 20)`),
  );
});

test("content above the limit is refused, because nobody could read it again", async () => {
  await using b = bench();
  const content = "x".repeat(10 * 1024 * 1024 + 1);
  const result = await b.call("Write", { file_path: b.path("a"), content });
  expect(result.summary).toContain("file would become too large");
  expect(readdirSync(b.root)).toEqual([]);
});

test("directories above a granted place that does not exist yet are made, others are not", async () => {
  await using dir = temp();
  const allow = [rule("write", dir.join("new/grant"))];
  const scope = new LiveScope(buildScope(allow, []));
  const write = fileTools({ scope, cwd: dir.path }).find((tool) => tool.name === "Write");
  if (write === undefined) throw new Error("no Write");
  const context = { signal: new AbortController().signal, callId: "c" };
  const path = dir.join("new/grant/sub/a.txt");
  const made = await runTool(write, { file_path: path, content: "x" }, context);
  expect(made.summary).toBe(`Created ${path} (1 bytes)`);
  const beside = dir.join("new/other/a.txt");
  const result = await runTool(write, { file_path: beside, content: "x" }, context);
  expect(result).toEqual(refused(`path is outside allowed scope: ${beside}`));
  expect(existsSync(dir.join("new/other"))).toBe(false);
});

test("a directory inside a region that a child holds is not made, even on the way to our own", async () => {
  await using b = bench();
  // The child holds `sub` and its direct children; what lies deeper is still ours.
  b.scope.setDelegated([{ target: b.path("sub"), permission: "write", recursive: false }]);
  const path = b.path("sub/new/a.txt");
  expect(await b.call("Write", { file_path: path, content: "x" })).toEqual(
    refused(`path is read-only in this scope: ${path}`),
  );
  expect(readdirSync(b.root)).toEqual([]);
});

test("a cancelled call writes nothing", async () => {
  await using b = bench();
  const signal = AbortSignal.abort();
  const result = await b.call("Write", { file_path: b.path("a"), content: "x" }, signal);
  expect(result.isError).toBe(true);
  expect(readdirSync(b.root)).toEqual([]);
});

test("text that no file can hold is refused, and nothing is made", async () => {
  await using b = bench();
  const path = b.path("a/b.txt");
  for (const content of ["x \ud83d y", "\ude00"]) {
    expect(await b.call("Write", { file_path: path, content })).toEqual(
      refused(
        "content has half of a surrogate pair, which no file can hold; send the whole character",
      ),
    );
  }
  expect(readdirSync(b.root)).toEqual([]);
  expect((await b.call("Write", { file_path: path, content: "\ud83d\ude00" })).isError).toBe(false);
});
