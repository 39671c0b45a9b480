import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { fileTools } from "../../src/tools/file-tools.ts";
import { within } from "../support/temp.ts";
import {
  type Bench,
  bench,
  cancelled,
  failed,
  linesOf,
  longestPause,
  refused,
  rule,
  searched,
} from "./support.ts";

type Input = Record<string, unknown>;

/** Paths (or lines) found, relative to the root. */
async function found(b: Bench, pattern: string, input: Input = {}): Promise<string[]> {
  return await searched(b, "Grep", { pattern, ...input });
}

test("files that match are listed by path and counted", async () => {
  await using b = bench();
  for (const name of ["b/x", "a", "b.txt", "c"]) b.file(name, name === "c" ? "no" : "a needle\n");
  expect(await b.call("Grep", { pattern: "n..dle" })).toEqual({
    summary: "Found matches in 3 file(s)",
    content: [b.path("a"), b.path("b/x"), b.path("b.txt")].join("\n"),
    isError: false,
  });
  expect(await b.call("Grep", { pattern: "nothing" })).toEqual({
    summary: "No files matched",
    isError: false,
  });
});

test("63: nothing below a denied directory is searched", async () => {
  await using b = bench((root) => [rule("read", `${root}/secret`)]);
  b.file("secret/key", "needle");
  b.file("open", "needle");
  expect(await found(b, "needle")).toEqual(["open"]);
  const named = await b.call("Grep", { pattern: "needle", path: b.path("secret/key") });
  expect(named.summary).toBe("No files matched");
});

test("64: git's ignore files count only inside a repository, and glob overrules them", async () => {
  await using b = bench();
  b.file("kept.txt", "needle");
  b.file("target/out.txt", "needle");
  b.file(".gitignore", "target/\n");
  expect(await found(b, "needle")).toEqual(["kept.txt", "target/out.txt"]);
  mkdirSync(b.path(".git"));
  expect(await found(b, "needle")).toEqual(["kept.txt"]);
  expect(await found(b, "needle", { glob: "*" })).toEqual(["kept.txt", "target/out.txt"]);
});

test("an ignore file that is a link is none, as in git: it could lead out of the scope", async () => {
  await using b = bench();
  mkdirSync(b.path(".git"));
  writeFileSync(`${b.outside}/rules`, "secret\n");
  b.file("secret", "needle");
  mkdirSync(b.path(".git/info"));
  for (const name of [".gitignore", ".ignore", ".git/info/exclude"]) {
    symlinkSync(`${b.outside}/rules`, b.path(name));
  }
  expect(await found(b, "needle")).toEqual(["secret"]);
});

test(".ignore counts everywhere, overrules git's and may be above the base", async () => {
  await using b = bench();
  mkdirSync(b.path(".git"));
  b.file(".gitignore", "*.log\n/sub/git\n");
  b.file(".ignore", "!keep.log\nown\n");
  for (const name of ["sub/a.log", "sub/keep.log", "sub/own", "sub/git", "sub/free"]) {
    b.file(name, "needle");
  }
  const expected = ["sub/free", "sub/keep.log"];
  expect(await found(b, "needle")).toEqual(expected);
  expect(await found(b, "needle", { path: b.path("sub") })).toEqual(expected);
});

test(".ignore may include a directory that git ignores, of which other rules still hold", async () => {
  await using b = bench();
  mkdirSync(b.path(".git"));
  b.file(".gitignore", "vendor/\n*.log\n");
  b.file(".ignore", "!vendor/\n");
  for (const name of ["vendor/a", "vendor/sub/b", "vendor/sub/c.log"]) b.file(name, "needle");
  expect(await found(b, "needle")).toEqual(["vendor/a", "vendor/sub/b"]);
});

test("the user's own excludes are the weakest, and count in repositories only", async () => {
  await using b = bench();
  const globalExcludes = b.file(".excludes", "*.tmp\n/mine\n");
  for (const name of ["a.tmp", "mine", "repo/b.tmp", "repo/c.tmp", "repo/mine", "repo/sub/mine"]) {
    b.file(name, "needle");
  }
  b.file("repo/.git/info/exclude", "!b.tmp");
  const grep = fileTools({ scope: b.scope, cwd: b.root, globalExcludes: () => globalExcludes }).at(
    -1,
  );
  const context = { signal: new AbortController().signal, callId: "c1" };
  const result = await grep?.run({ pattern: "needle" }, context);
  expect(result?.content?.replaceAll(`${b.root}/`, "").split("\n")).toEqual([
    "a.tmp",
    "mine",
    "repo/b.tmp",
    "repo/sub/mine",
  ]);
});

test("a repository inside another one has rules of its own, with info/exclude", async () => {
  await using b = bench();
  mkdirSync(b.path(".git"));
  b.file(".gitignore", "*.tmp\n");
  b.file("inner/.git/info/exclude", "*.bak\n");
  for (const name of ["a.tmp", "a.bak", "inner/b.tmp", "inner/b.bak"]) b.file(name, "needle");
  expect(await found(b, "needle")).toEqual(["a.bak", "inner/b.tmp"]);
});

test("in a worktree the excludes of its repository count", async () => {
  await using b = bench();
  b.file("main/.git/info/exclude", "*.bak\n");
  b.file("main/.git/worktrees/tree/commondir", "../..\n");
  b.file("main/.git/worktrees/tree/gitdir", `${b.path("tree/.git")}\n`);
  b.file("tree/.git", `gitdir: ${b.path("main/.git/worktrees/tree")}\n`);
  for (const name of ["tree/a.bak", "tree/sub/b.bak", "tree/c"]) b.file(name, "needle");
  expect(await found(b, "needle")).toEqual(["tree/c"]);
});

test("hidden files are left out unless an ignore file, a type or glob names them", async () => {
  await using b = bench();
  for (const name of [".env", ".hidden/a.rs", ".b.rs", "c.rs"]) b.file(name, "needle");
  expect(await found(b, "needle")).toEqual(["c.rs"]);
  expect(await found(b, "needle", { glob: ".env" })).toEqual([".env"]);
  expect(await found(b, "needle", { glob: "*" })).toEqual([
    ".b.rs",
    ".env",
    ".hidden/a.rs",
    "c.rs",
  ]);
  expect(await found(b, "needle", { type: "rust" })).toEqual([".b.rs", "c.rs"]);
  b.file(".ignore", "!.env\n");
  expect(await found(b, "needle")).toEqual([".env", "c.rs"]);
});

test("a base is searched even if it is hidden, ignored or a link", async () => {
  await using b = bench();
  mkdirSync(b.path(".git"));
  b.file(".gitignore", "target\n*.log\n");
  const file = b.file("target/.deep/a", "needle");
  b.file("target/.deep/b.log", "needle");
  symlinkSync(file, b.path("link"));
  expect(await found(b, "needle")).toEqual([]);
  expect(await found(b, "needle", { path: b.path("target/.deep") })).toEqual(["target/.deep/a"]);
  expect(await found(b, "needle", { path: b.path("link") })).toEqual(["link"]);
});

test("glob follows the rules of ignore files and knows braces", async () => {
  await using b = bench();
  for (const name of ["a.ts", "b.tsx", "c.md", "src/d.ts", "src/x/e.ts"]) b.file(name, "needle");
  const by = async (glob: string) => await found(b, "needle", { glob });
  expect(await by("*.ts")).toEqual(["a.ts", "src/d.ts", "src/x/e.ts"]);
  expect(await by("src/*.ts")).toEqual(["src/d.ts"]);
  expect(await by("**/x/*")).toEqual(["src/x/e.ts"]);
  expect(await by("*.{tsx,md}")).toEqual(["b.tsx", "c.md"]);
  expect(await by("!*.ts")).toEqual(["b.tsx", "c.md"]);
  expect(await by("!src/")).toEqual(["a.ts", "b.tsx", "c.md"]);
  expect(await by("/*.ts")).toEqual(["a.ts"]);
  expect(await by("[!ab].??")).toEqual(["c.md", "src/d.ts", "src/x/e.ts"]);
  expect(await by("{src,none}/**/[[:alpha:]].ts")).toEqual(["src/d.ts", "src/x/e.ts"]);
  for (const glob of ["[a", "{a", "[[:none:]]"]) {
    const bad = await b.call("Grep", { pattern: "x", glob });
    expect(bad.summary).toContain(`invalid glob pattern: error parsing glob '${glob}'`);
  }
});

test("two stars in the braces of glob are any number of directories", async () => {
  await using b = bench();
  for (const name of ["x.ts", "d/y.ts", "d/e/z.tsx", "src/q/f.js"]) b.file(name, "needle");
  const by = async (glob: string) => await found(b, "needle", { glob });
  expect(await by("{**/*.ts,**/*.tsx}")).toEqual(["d/e/z.tsx", "d/y.ts", "x.ts"]);
  expect(await by("{src/**,d/**}")).toEqual(["d/e/z.tsx", "d/y.ts", "src/q/f.js"]);
  expect(await by("d/{**,none}")).toEqual(["d/e/z.tsx", "d/y.ts"]);
  expect(await by("{**/{**/z,f}.*,none/x}")).toEqual(["d/e/z.tsx", "src/q/f.js"]);
  // Neither escaped nor outside braces do these characters begin anything.
  for (const name of ["{d/x", ",d/x"]) b.file(name, "needle");
  expect(await by("/\\{**/x")).toEqual(["{d/x"]);
  expect(await by("/,**/x")).toEqual([",d/x"]);
  expect(await by("/,**")).toEqual([]);
});

test("types choose by name; all means any of them", async () => {
  await using b = bench();
  for (const name of ["a.rs", "b.py", "c.pyi", "d.unknown", "Makefile"]) b.file(name, "needle");
  expect(await found(b, "needle", { type: "py" })).toEqual(["b.py", "c.pyi"]);
  expect(await found(b, "needle", { type: "make" })).toEqual(["Makefile"]);
  const all = await found(b, "needle", { type: "all" });
  expect(all).toEqual(["Makefile", "a.rs", "b.py", "c.pyi"]);
});

test("68: a NUL near the start makes a file binary, a later one ends the search", async () => {
  await using b = bench();
  b.file("binary", "needle\n\0");
  b.file("late", `needle\n${"x\n".repeat(40_000)}\0\nneedle\n`);
  const by = async (output_mode: string) => await found(b, "needle", { output_mode });
  expect(await by("files_with_matches")).toEqual(["late"]);
  expect(await by("count")).toEqual(["late:1"]);
  expect(await by("content")).toEqual(["late:1:needle"]);
});

test("what a NUL keeps from being searched is said", async () => {
  await using b = bench();
  const late = b.file("late", `needle\n${"x\n".repeat(40_000)}\0\nneedle\nhidden\n`);
  const binary = b.file("binary", "needle\n\0");
  const by = async (input: Input) =>
    (await b.call("Grep", { pattern: "needle", ...input })).summary;
  const note = ", 1 file(s) searched only up to a NUL byte";
  for (const path of [b.root, late]) {
    // What is listed is listed: nothing of the answer is missing.
    expect(await by({ path })).toBe("Found matches in 1 file(s)");
    expect(await by({ path, output_mode: "count" })).toBe(
      `Found matches in 1 file(s), 1 total line(s)${note}`,
    );
    expect(await by({ path, output_mode: "content" })).toBe(
      `1 matching line(s) in 1 file(s)${note}`,
    );
    expect(await by({ path, pattern: "hidden" })).toBe(`No files matched${note}`);
  }
  for (const output_mode of ["files_with_matches", "content", "count"]) {
    for (const pattern of ["needle", "none"]) {
      expect(await by({ path: binary, output_mode, pattern })).toBe(
        `Binary file, not searched: ${binary}`,
      );
    }
  }
});

test("a path that is neither a directory nor a file is refused, unless it is out of reach", async () => {
  await using b = bench();
  const fifo = b.path("fifo");
  Bun.spawnSync(["mkfifo", fifo, `${b.outside}/fifo`]);
  const grep = async (path: string) => await b.call("Grep", { pattern: "x", path });
  const refusal = refused(`path is a FIFO, not a regular file: ${fifo}`);
  expect(await within(grep(fifo), 2000, "searching a FIFO")).toEqual(refusal);
  expect(await b.call("Glob", { pattern: "*", path: fifo })).toEqual(refusal);
  expect((await grep(`${b.outside}/fifo`)).summary).toBe("No files matched");
  expect((await grep("/dev/zero")).summary).toBe("No files matched");
  // Those in a directory are passed over.
  expect((await grep(b.root)).summary).toBe("No files matched");
});

test("69: a bad pattern, an unknown type and a wrong mode are refused", async () => {
  await using b = bench();
  const open = await b.call("Grep", { pattern: "(" });
  expect(open.summary).toContain("Invalid argument: invalid regex: missing closing ): `(`");
  const type = await b.call("Grep", { pattern: "x", type: "nonexistent" });
  expect(type).toEqual(
    refused("invalid argument: invalid type nonexistent: unrecognized file type: nonexistent"),
  );
  const mode = await b.call("Grep", { pattern: "x", output_mode: "lines" });
  for (const name of ["files_with_matches", "content", "count"]) {
    expect(mode.summary).toContain(name);
  }
});

test("70: a multiline match is one entry over its lines", async () => {
  await using b = bench();
  b.file("a", "one\nfoo\nbar two\nfoo bar\n");
  const input = { pattern: "foo[\\s\\S]*?bar", multiline: true };
  const content = await b.call("Grep", { ...input, output_mode: "content" });
  expect(content.content).toBe(`${b.path("a")}:2:foo\nbar two\n${b.path("a")}:4:foo bar`);
  expect(content.summary).toBe("2 matching line(s) in 1 file(s)");
  expect(await found(b, "foo.bar", { ...input, output_mode: "count" })).toEqual(["a:2"]);
  expect(await found(b, "foo[\\s\\S]*?bar")).toEqual(["a"]);
  expect(await found(b, "foo\\nbar", { multiline: true })).toEqual(["a"]);
});

test("71: a file that is not UTF-8 hinders neither the others nor itself", async () => {
  await using b = bench();
  b.file("a", "needle\n");
  b.file("latin1", Buffer.from([0xe9, ...Buffer.from(" needle\n")]));
  expect(await found(b, "needle")).toEqual(["a", "latin1"]);
  const shown = await found(b, "needle", { output_mode: "content" });
  expect(shown).toEqual(["a:1:needle", "latin1:1:\uFFFD needle"]);
});

test("a file that cannot be read is passed over and counted", async () => {
  await using b = bench();
  b.file("a", "needle\n");
  // A name that is not UTF-8 can be listed, but not opened by the name that the runtime shows.
  writeFileSync(Buffer.concat([Buffer.from(`${b.root}/bad`), Buffer.from([0xff])]), "needle");
  const result = await b.call("Grep", { pattern: "needle" });
  expect(result.summary).toBe("Found matches in 1 file(s), 1 file(s) skipped");
  expect(linesOf(result)).toEqual([b.path("a")]);
});

test("UTF-16 with a mark is decoded, and a UTF-8 mark is not part of the first line", async () => {
  await using b = bench();
  const text = "first\r\nnädel\r\n";
  const little = Buffer.from(`\uFEFF${text}`, "utf16le");
  b.file("le", little);
  b.file("be", Buffer.from(little).swap16());
  b.file("utf8", `\uFEFF${text}`);
  const input = { output_mode: "content" };
  expect(await found(b, "nädel", input)).toEqual(["be:2:nädel", "le:2:nädel", "utf8:2:nädel"]);
  expect(await found(b, "^first")).toEqual(["be", "le", "utf8"]);
});

test("case, and a pattern that sees no newline", async () => {
  await using b = bench();
  b.file("a", "Needle\n\n");
  expect(await found(b, "needle")).toEqual([]);
  expect(await found(b, "needle", { "-i": true })).toEqual(["a"]);
  expect(await found(b, "e\\s", {})).toEqual([]);
  expect(await found(b, "^$", { output_mode: "content" })).toEqual(["a:2:"]);
});

test("a file of many portions is searched with the right numbers and context", async () => {
  await using b = bench();
  const lines = Array.from({ length: 300_000 }, (_, index) => `line number ${index + 1}`);
  b.file("log", lines.join("\n"));
  const shown = await found(b, "number \\d?\\d?00000$", { output_mode: "content", "-C": 1 });
  const around = (n: number) => [
    `log-${n - 1}-line number ${n - 1}`,
    `log:${n}:line number ${n}`,
    `log-${n + 1}-line number ${n + 1}`,
  ];
  expect(shown).toEqual([...around(100_000), ...around(200_000), ...around(300_000).slice(0, 2)]);
  expect(await found(b, "number", { output_mode: "count" })).toEqual(["log:300000"]);
  const every = await found(b, "00$", { output_mode: "content", "-A": 1, head_limit: 2500 });
  expect(every.slice(0, 2)).toEqual(["log:100:line number 100", "log-101-line number 101"]);
  expect(every).toHaveLength(5000);
  expect(every.at(-1)).toBe("log-250001-line number 250001");
});

test("a base that is relative or missing is refused, one outside has nothing", async () => {
  await using b = bench();
  const grep = async (path: string) => await b.call("Grep", { pattern: "x", path });
  expect(await grep("sub")).toEqual(refused("path must be absolute: sub"));
  expect(await grep(b.path("none"))).toEqual(failed(`file not found: ${b.path("none")}`));
  writeFileSync(`${b.outside}/x`, "x");
  expect((await grep(b.outside)).summary).toBe("No files matched");
});

test("the event loop goes on while large files are searched, and a cancel ends it", async () => {
  await using b = bench();
  const line = "const a=1;".repeat(100_000);
  for (let n = 0; n < 8; n += 1) b.file(`min${n}.js`, line);
  const longest = await longestPause(async () => {
    expect(await found(b, "a.*b")).toEqual([]);
  });
  expect(longest).toBeLessThan(250);
  expect((await cancelled(b, "Grep", { pattern: "[a-z].*[XYZ]" })).isError).toBe(true);
});

test("what is too long to search is skipped and counted: a line, or with multiline a file", async () => {
  await using b = bench();
  b.file("large", `${"x".repeat(99)}\n`.repeat(11_000).concat("needle\n"));
  const spanning = await b.call("Grep", { pattern: "needle", multiline: true });
  expect(spanning.summary).toBe("No files matched, 1 file(s) skipped");
  expect(await found(b, "needle")).toEqual(["large"]);
  for (const length of [1_100_000, 3_000_000]) {
    b.file("large", `needle\n${"x".repeat(length)}\nneedle`);
    const counted = await b.call("Grep", { pattern: "needle", output_mode: "count" });
    expect(counted.summary).toBe("No files matched, 1 file(s) skipped");
  }
});

test("very deep trees are searched to the bottom, and no descriptor stays open", async () => {
  await using b = bench();
  const deep = Array.from({ length: 90 }, (_, depth) => `d${depth}`).join("/");
  const path = b.file(`${deep}/a.txt`, "needle\n");
  b.file("d0/b.txt", "needle\n");
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  const all = await b.call("Grep", { pattern: "needle" });
  expect(linesOf(all)).toEqual([b.path("d0/b.txt"), path]);
  expect((await b.call("Grep", { pattern: "needle", head_limit: 1 })).summary).toContain("at 1)");
  const controller = new AbortController();
  controller.abort();
  await b.call("Grep", { pattern: "needle" }, controller.signal);
  expect(open()).toBe(before);
});

test("what no match can lack is looked for first, and misses nothing", async () => {
  await using b = bench();
  b.file("utf16.txt", Buffer.from("\ufeffneedle\n", "utf16le"));
  b.file("upper.txt", "NEEDLE\n");
  b.file("late.txt", `${"x\n".repeat(600_000)}needle\n`);
  b.file("none.txt", "nothing\n");
  const found = linesOf(await b.call("Grep", { pattern: "n[e]edle", "-i": true }));
  expect(found).toEqual(["late", "upper", "utf16"].map((name) => b.path(`${name}.txt`)));
});
