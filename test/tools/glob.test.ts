import { expect, test } from "bun:test";
import fc from "fast-check";
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { compileGlob } from "../../src/tools/glob-pattern.ts";
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

/** Relative paths found, sorted. */
async function found(b: Bench, pattern: string): Promise<string[]> {
  return (await searched(b, "Glob", { pattern })).sort();
}

test("59: a star crosses directories; hidden and ignored files are found", async () => {
  await using b = bench();
  for (const name of ["a.rs", "sub/b.rs", "sub/deep/c.rs", ".hidden/d.rs", "target/e.rs", "x.ts"]) {
    b.file(name, "");
  }
  b.file(".gitignore", "target/\n");
  mkdirSync(b.path(".git"));
  b.file(".git/f.rs", "");
  const all = [".git/f.rs", ".hidden/d.rs", "a.rs", "sub/b.rs", "sub/deep/c.rs", "target/e.rs"];
  expect(await found(b, "*.rs")).toEqual(all);
  expect(await found(b, "**/*.rs")).toEqual(all);
  expect(await found(b, "sub/*.rs")).toEqual(["sub/b.rs", "sub/deep/c.rs"]);
  expect(await found(b, "sub/**")).toEqual(["sub/b.rs", "sub/deep/c.rs"]);
  expect(await found(b, "s?b/b.{rs,ts}")).toEqual(["sub/b.rs"]);
  for (const nothing of ["/a.rs", "./a.rs", `${b.root}/a.rs`, "", "A.rs"]) {
    expect(await found(b, nothing)).toEqual([]);
  }
});

test("two stars are any number of directories in braces too", async () => {
  await using b = bench();
  for (const name of ["x.ts", "d/y.ts", "d/e/z.tsx", "src/q/f.js"]) b.file(name, "");
  expect(await found(b, "{**/*.ts,**/*.tsx}")).toEqual(["d/e/z.tsx", "d/y.ts", "x.ts"]);
  expect(await found(b, "{d,src/{**/f,none}}*")).toEqual(["d/e/z.tsx", "d/y.ts", "src/q/f.js"]);
});

test("60: newer files come first, equal times by path", async () => {
  await using b = bench();
  for (const [name, time] of [
    ["old", 1000],
    ["new", 2000],
    ["b", 1500],
    ["a", 1500],
  ] as const) {
    utimesSync(b.file(name, ""), time, time);
  }
  const result = await b.call("Glob", { pattern: "*" });
  expect(result.summary).toBe("Found 4 file(s) matching *");
  expect(linesOf(result)).toEqual(["new", "a", "b", "old"].map((name) => b.path(name)));
});

test("61: a thousand files are all shown, of one more the oldest is not", async () => {
  await using b = bench();
  for (let n = 0; n < 1000; n += 1) utimesSync(b.file(`f${n}`, ""), n, n);
  const whole = await b.call("Glob", { pattern: "*" });
  expect(whole.summary).toBe("Found 1000 file(s) matching *");
  expect(linesOf(whole)).toHaveLength(1000);
  utimesSync(b.file("f1000", ""), 1000, 1000);
  const cut = await b.call("Glob", { pattern: "*" });
  expect(cut.summary).toBe("Found 1001+ files matching * (truncated to 1000)");
  expect(linesOf(cut)).toHaveLength(1000);
  expect([linesOf(cut)[0], linesOf(cut).at(-1)]).toEqual([b.path("f1000"), b.path("f1")]);
});

test("61: 1000 files are shown and all are counted; the shown ones are the newest", async () => {
  await using b = bench();
  mkdirSync(b.path("d"));
  for (let n = 0; n < 5001; n += 1) {
    const path = b.path(`d/f${n}`);
    writeFileSync(path, "");
    utimesSync(path, n, n);
  }
  const result = await b.call("Glob", { pattern: "*" });
  expect(result.summary).toBe("Found 5001+ files matching * (truncated to 1000)");
  const lines = linesOf(result);
  expect(lines).toHaveLength(1000);
  expect([lines[0], lines.at(-1)]).toEqual([b.path("d/f5000"), b.path("d/f4001")]);
});

test("62: a bad pattern is refused, and no match has no content", async () => {
  await using b = bench();
  expect(await b.call("Glob", { pattern: "[unterminated" })).toEqual(
    refused(
      "invalid glob pattern: error parsing glob '[unterminated': " +
        "unclosed character class; missing ']'",
    ),
  );
  for (const pattern of ["{a", "a}", "\\", "[z-a]"]) {
    const { summary } = await b.call("Glob", { pattern });
    expect(summary).toContain("invalid glob pattern: error parsing glob");
  }
  expect(await b.call("Glob", { pattern: "*.rs" })).toEqual({
    summary: "No files found matching *.rs",
    isError: false,
  });
});

test("63: nothing below a denied directory is listed", async () => {
  await using b = bench((root) => [rule("read", `${root}/secret`)]);
  b.file("secret/deep/key", "needle");
  b.file("open", "needle");
  expect(await found(b, "*")).toEqual(["open"]);
});

test("a scope of single directories is found from a base above it", async () => {
  await using b = bench();
  b.file("sub/a", "");
  writeFileSync(`${b.outside}/b`, "");
  const above = b.root.slice(0, -"/work".length);
  const result = await b.call("Glob", { pattern: "*", path: above });
  expect(linesOf(result)).toEqual([b.path("sub/a")]);
});

test("links are neither followed nor listed, but the base may be one", async () => {
  await using b = bench();
  b.file("real/a", "");
  symlinkSync("real", b.path("linked"));
  symlinkSync("real/a", b.path("link"));
  expect(await found(b, "*")).toEqual(["real/a"]);
  const result = await b.call("Glob", { pattern: "*", path: b.path("linked/") });
  expect(linesOf(result)).toEqual([b.path("linked/a")]);
});

test("a base that is relative, missing, outside or a file", async () => {
  await using b = bench();
  const file = b.file("a.txt", "");
  const glob = async (path: string) => await b.call("Glob", { pattern: "*", path });
  expect(await glob("sub")).toEqual(refused("path must be absolute: sub"));
  expect(await glob(b.path("none"))).toEqual(failed(`file not found: ${b.path("none")}`));
  const nothing = { summary: "No files found matching *", isError: false };
  expect(await glob(b.outside)).toEqual(nothing);
  expect(await glob(`${b.outside}/none`)).toEqual(nothing);
  expect(linesOf(await glob(file))).toEqual([file]);
});

test("the event loop goes on while a large directory is searched, and a cancel ends it", async () => {
  await using b = bench();
  for (let directory = 0; directory < 40; directory += 1) {
    mkdirSync(b.path(`d${directory}`));
    for (let n = 0; n < 250; n += 1) writeFileSync(b.path(`d${directory}/f${n}`), "");
  }
  const longest = await longestPause(async () => {
    expect(await found(b, "*".repeat(8) + "7")).toHaveLength(1000);
  });
  expect(longest).toBeLessThan(250);
  expect((await cancelled(b, "Glob", { pattern: "*" })).isError).toBe(true);
});

test("patterns of plain names match exactly themselves", () => {
  const name = fc.string({
    unit: fc.constantFrom("a", "b", "*", "?", "[", "]", "{", "}", "/", ","),
  });
  const options = { crossSlash: true };
  fc.assert(
    fc.property(name, name, (path, other) => {
      const escaped = path.replace(/[*?[\]{},\\]/g, "\\$&");
      const glob = compileGlob(escaped, options);
      expect(glob.test(path)).toBe(true);
      expect(glob.test(other)).toBe(other === path);
    }),
  );
});

test("what lies deeper than a path can say is counted as skipped", async () => {
  await using b = bench();
  b.file("top.rs", "");
  const name = "d".repeat(250);
  const script = `for i in {1..20}; do mkdir ${name} && cd ${name} || exit 1; done; touch deep.rs`;
  try {
    expect(Bun.spawnSync(["bash", "-c", script], { cwd: b.root, stderr: "ignore" }).exitCode).toBe(
      0,
    );
    const result = await b.call("Glob", { pattern: "*.rs" });
    expect(result.summary).toBe("Found 1 file(s) matching *.rs, 1 file(s) or directories skipped");
    expect(linesOf(result)).toEqual([b.path("top.rs")]);
  } finally {
    Bun.spawnSync(["rm", "-rf", b.path(name)]);
  }
});
