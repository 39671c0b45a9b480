/** What Grep shows of what it found: lines with their surroundings, counts, pages. */
import { expect, test } from "bun:test";
import { type Bench, bench, linesOf, searched } from "./support.ts";

type Input = Record<string, unknown>;

/** Paths (or lines) found, relative to the root. */
async function found(b: Bench, pattern: string, input: Input = {}): Promise<string[]> {
  return await searched(b, "Grep", { pattern, ...input });
}

test("65: count mode counts matching lines per file", async () => {
  await using b = bench();
  b.file("a.txt", "x x\nx\nno\nx");
  b.file("b.txt", "x\n");
  const result = await b.call("Grep", { pattern: "x", output_mode: "count" });
  expect(result.summary).toBe("Found matches in 2 file(s), 4 total line(s)");
  expect(linesOf(result)).toEqual([`${b.path("a.txt")}:3`, `${b.path("b.txt")}:1`]);
});

const TEN = Array.from({ length: 10 }, (_, index) => `line ${index + 1}`).join("\n");

test("66: context lines are marked with hyphens and shown once", async () => {
  await using b = bench();
  b.file("a", TEN);
  const show = async (pattern: string, input: Input) =>
    await found(b, pattern, { output_mode: "content", ...input });
  expect(await show("line 6", { "-C": 1 })).toEqual(["a-5-line 5", "a:6:line 6", "a-7-line 7"]);
  expect(await show("line [46]", { "-A": 1, "-B": 1 })).toEqual([
    "a-3-line 3",
    "a:4:line 4",
    "a-5-line 5",
    "a:6:line 6",
    "a-7-line 7",
  ]);
  expect(await show("line [59]", { "-B": 2, "-A": 3 })).toEqual([
    ...["a-3-line 3", "a-4-line 4", "a:5:line 5", "a-6-line 6", "a-7-line 7", "a-8-line 8"],
    ...["a:9:line 9", "a-10-line 10"],
  ]);
  expect(await show("line 6", { "-A": 1, "-C": 0 })).toEqual(["a:6:line 6"]);
  expect(await show("line 1$", { "-n": false, "-A": 1 })).toEqual(["a:line 1", "a-line 2"]);
  expect(await show("line 1$", { "-n": null, "-B": null })).toEqual(["a:1:line 1"]);
});

test("content summaries count matching lines and files; final line breaks go", async () => {
  await using b = bench();
  b.file("a", "x\r\ny\r\nx\r\n");
  b.file("b", "x");
  const result = await b.call("Grep", { pattern: "x", output_mode: "content" });
  expect(result.summary).toBe("3 matching line(s) in 2 file(s)");
  expect(linesOf(result)).toEqual([
    `${b.path("a")}:1:x`,
    `${b.path("a")}:3:x`,
    `${b.path("b")}:1:x`,
  ]);
  const none = await b.call("Grep", { pattern: "z", output_mode: "content" });
  expect(none).toEqual({ summary: "No matches", isError: false });
});

test("67: head_limit and offset cut pages out of the sorted result", async () => {
  await using b = bench();
  for (const name of ["a", "b", "c", "d", "e"]) b.file(name, "needle");
  const page = await b.call("Grep", { pattern: "needle", head_limit: 2 });
  expect(page.summary).toBe("Found matches in 2 file(s) (truncated at 2)");
  expect(linesOf(page)).toEqual([b.path("a"), b.path("b")]);
  expect(await found(b, "needle", { offset: 3 })).toEqual(["d", "e"]);
  expect(await found(b, "needle", { offset: 9 })).toEqual([]);
  const all = await b.call("Grep", { pattern: "needle", head_limit: 0 });
  expect(all.summary).toBe("Found matches in 5 file(s)");
});

test("what is exactly as much as head_limit is not called truncated", async () => {
  await using b = bench();
  for (const name of ["a", "b"]) b.file(name, "needle\nneedle\n");
  b.file("c", "none");
  const by = async (input: Input) =>
    (await b.call("Grep", { pattern: "needle", ...input })).summary;
  expect(await by({ head_limit: 2 })).toBe("Found matches in 2 file(s)");
  expect(await by({ head_limit: 1 })).toBe("Found matches in 1 file(s) (truncated at 1)");
  expect(await by({ head_limit: 1, offset: 1 })).toBe("Found matches in 1 file(s)");
  const count = { output_mode: "count" };
  expect(await by({ ...count, head_limit: 2 })).toBe("Found matches in 2 file(s), 4 total line(s)");
  expect(await by({ ...count, head_limit: 1 })).toBe(
    "Found matches in 1 file(s), 2 total line(s) (truncated at 1)",
  );
  const content = { output_mode: "content" };
  expect(await by({ ...content, head_limit: 4 })).toBe("4 matching line(s) in 2 file(s)");
  for (const limit of [1, 2, 3]) {
    expect(await by({ ...content, head_limit: limit })).toEndWith(`(truncated at ${limit})`);
  }
});

test("in content mode the limit counts matches, and context ends at the next", async () => {
  await using b = bench();
  b.file("a", TEN);
  const input = { pattern: "line", output_mode: "content", head_limit: 2, offset: 2, "-A": 1 };
  const result = await b.call("Grep", input);
  expect(result.summary).toBe("2 matching line(s) in 1 file(s) (truncated at 2)");
  expect(linesOf(result)).toEqual([`${b.path("a")}:3:line 3`, `${b.path("a")}:4:line 4`]);
});

test("the last match that head_limit lets through has its context too", async () => {
  await using b = bench();
  b.file("a", "1\nm\n2\n3\nm\n4\n");
  const show = async (input: Input) =>
    await found(b, "m", { output_mode: "content", head_limit: 1, ...input });
  expect(await show({ "-A": 2 })).toEqual(["a:2:m", "a-3-2", "a-4-3"]);
  expect(await show({ "-A": 1 })).toEqual(["a:2:m", "a-3-2"]);
  expect(await show({ "-C": 9 })).toEqual(["a-1-1", "a:2:m", "a-3-2", "a-4-3"]);
  expect(await show({ "-A": 9, offset: 1 })).toEqual(["a:5:m", "a-6-4"]);
  // The context lies beyond the portion that holds the match.
  b.file("a", `${`${"x".repeat(1023)}\n`.repeat(1023)}m\n${"y".repeat(2000)}\nz\nz\nm\n`);
  const shown = await show({ "-A": 2 });
  expect(shown.map((line) => line.slice(0, 8))).toEqual(["a:1024:m", "a-1025-y", "a-1026-z"]);
});

test("a match before a line too long to search keeps its context", async () => {
  await using b = bench();
  b.file("a", `m\n1\n2\n3\n${"x".repeat(1_040_000)}\nm\n`);
  // So many steps that the long line is refused although it is within a portion.
  const input = { pattern: "(m{40}|[a-z]{0,40}){1,3}m|^m", output_mode: "content", "-A": 2 };
  const result = await b.call("Grep", input);
  expect(result.summary).toBe("1 matching line(s) in 1 file(s), 1 file(s) skipped");
  expect(linesOf(result).map((line) => line.slice(b.root.length + 1))).toEqual([
    "a:1:m",
    "a-2-1",
    "a-3-2",
  ]);
});

test("context without end is cut off as matches are", async () => {
  await using b = bench();
  b.file("a", `m\n${`${"x".repeat(99)}\n`.repeat(50_000)}`);
  const input = { pattern: "m", output_mode: "content", "-A": 1_000_000, head_limit: 1 };
  const result = await b.call("Grep", input);
  expect(result.summary).toBe("1 matching line(s) in 1 file(s) (truncated at 1 MiB of output)");
  expect(linesOf(result).length).toBeLessThan(25_000);
});

test("output that nobody could read is cut off and said to be", async () => {
  await using b = bench();
  b.file("a", `${"x".repeat(100_000)}\n`.repeat(20));
  const result = await b.call("Grep", { pattern: "x", output_mode: "content" });
  expect(result.summary).toContain("(truncated at 1 MiB of output)");
  expect(linesOf(result).length).toBeLessThan(12);
});
