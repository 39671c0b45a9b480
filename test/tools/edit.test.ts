import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { type Bench, bench, failed, refused } from "./support.ts";

async function readable(b: Bench, name: string, content: string | Uint8Array): Promise<string> {
  const path = b.file(name, content);
  await b.call("Read", { file_path: path });
  return path;
}

const edit = async (b: Bench, path: string, from: string, to: string, all?: boolean) =>
  await b.call("Edit", {
    file_path: path,
    old_string: from,
    new_string: to,
    ...(all === undefined ? {} : { replace_all: all }),
  });

test("50: a repeated text is refused with its count, and replaced everywhere on request", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "a a");
  expect(await edit(b, path, "a", "b")).toEqual(
    refused(
      "string is not unique in file (2 occurrences); " +
        `pass replace_all=true or disambiguate: ${path}`,
    ),
  );
  const result = await edit(b, path, "a", "b", true);
  expect(result).toEqual({
    summary: `Edited ${path} (2 replacements)`,
    content: "     1\tb b\n",
    isError: false,
  });
});

test("51: occurrences are counted without overlap", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "aaaa");
  expect((await edit(b, path, "aa", "b")).summary).toContain("(2 occurrences)");
  await edit(b, path, "aa", "b", true);
  expect(readFileSync(path, "utf8")).toBe("bb");
});

test("52: dollar signs in the replacement are literal", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "x y x");
  await edit(b, path, "y", "$& $1 $$ $` $<n>");
  expect(readFileSync(path, "utf8")).toBe("x $& $1 $$ $` $<n> x");
  await edit(b, path, "x", "$$&", true);
  expect(readFileSync(path, "utf8")).toBe("$$& $& $1 $$ $` $<n> $$&");
});

test("53: an empty or unchanged text is refused before the file is looked at", async () => {
  await using b = bench();
  expect(await edit(b, "relative", "", "x")).toEqual(refused("old_string must not be empty"));
  expect(await edit(b, "relative", "x", "x")).toEqual(
    refused("old_string and new_string are identical"),
  );
});

test("54: a file that is not UTF-8 is not edited", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", Buffer.from([0x61, 0xff]));
  expect(await edit(b, path, "a", "b")).toEqual(
    refused(`invalid argument: file is not valid UTF-8: ${path}`),
  );
});

test("55: two edits of different words both apply, even when they run side by side", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "one two");
  const results = await Promise.all([edit(b, path, "one", "1"), edit(b, path, "two", "2")]);
  expect(results.map((result) => result.isError)).toEqual([false, false]);
  expect(readFileSync(path, "utf8")).toBe("1 2");
});

test("a text that is not there, a missing file and an unread one are told apart", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "x");
  expect(await edit(b, path, "y", "z")).toEqual(refused(`string not found in file: ${path}`));
  const missing = b.path("missing");
  expect(await edit(b, missing, "y", "z")).toEqual(failed(`file not found: ${missing}`));
  const unread = b.file("unread", "y");
  expect(await edit(b, unread, "y", "z")).toEqual(
    refused(`file has not been read in this session; read it first: ${unread}`),
  );
  const outside = `${b.outside}/missing`;
  expect(await edit(b, outside, "y", "z")).toEqual(
    refused(`path is outside allowed scope: ${outside}`),
  );
});

test("the preview shows three lines around the edited place, not around a look-alike", async () => {
  await using b = bench();
  const lines = Array.from({ length: 20 }, (_, index) => `line ${index + 1}`);
  lines[0] = "new";
  const path = await readable(b, "a.txt", `${lines.join("\r\n")}\r\n`);
  const result = await edit(b, path, "line 10", "new");
  expect(result.content).toBe(
    ["     7\tline 7", "     8\tline 8", "     9\tline 9", "    10\tnew"].join("\n") +
      "\n    11\tline 11\n    12\tline 12\n    13\tline 13\n",
  );
  expect(readFileSync(path, "utf8")).toContain("line 9\r\nnew\r\nline 11");
});

test("deleting the end shows what is last now, deleting everything shows nothing", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "1\n2\n3\n4\n5\n6\n");
  expect((await edit(b, path, "5\n6\n", "")).content).toBe("     2\t2\n     3\t3\n     4\t4\n");
  const all = await edit(b, path, "1\n2\n3\n4\n", "");
  expect(all).toEqual({ summary: `Edited ${path} (1 replacement)`, content: "", isError: false });
});

test("a byte order mark and carriage returns around the edit are kept", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "\uFEFFone\r\ntwo\r\n");
  await edit(b, path, "two", "2");
  expect(readFileSync(path)).toEqual(Buffer.from("\uFEFFone\r\n2\r\n"));
});

test("57: recently used files are listed most recent first, each once", async () => {
  await using b = bench();
  const first = await readable(b, "a.txt", "x");
  const second = b.path("b.txt");
  await b.call("Write", { file_path: second, content: "y" });
  await edit(b, first, "x", "z");
  expect(b.tracker.recent()).toEqual([first, second]);
});

test("58: the 20 most recent files are remembered", async () => {
  await using b = bench();
  for (let n = 1; n <= 25; n += 1) await readable(b, `f${n}`, "x");
  expect(b.tracker.recent()).toHaveLength(20);
  expect(b.tracker.recent()[0]).toBe(b.path("f25"));
  expect(b.tracker.recent().at(-1)).toBe(b.path("f6"));
});

test("an edit that would make the file too large is refused before it is built", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "a".repeat(100_000));
  const result = await edit(b, path, "a", "b".repeat(1_000_000), true);
  expect(result.summary).toContain("file would become too large");
  expect(readFileSync(path, "utf8").length).toBe(100_000);
});

test("null for replace_all is an input error", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "x");
  const result = await b.call("Edit", {
    file_path: path,
    old_string: "x",
    new_string: "y",
    replace_all: null,
  });
  expect(result.summary).toContain("invalid Edit input: replace_all");
  writeFileSync(path, "x");
});

test("half of a character is neither replaced nor put in", async () => {
  await using b = bench();
  const path = await readable(b, "a.txt", "x 😀 y");
  const half = (field: string) =>
    refused(
      `${field} has half of a surrogate pair, which no file can hold; send the whole character`,
    );
  expect(await edit(b, path, "\ud83d", "z")).toEqual(half("old_string"));
  expect(await edit(b, path, "x", "\ude00")).toEqual(half("new_string"));
  expect(readFileSync(path, "utf8")).toBe("x 😀 y");
  expect((await edit(b, path, "😀", "🙂")).isError).toBe(false);
  expect(readFileSync(path, "utf8")).toBe("x 🙂 y");
});
