import { expect, test } from "bun:test";
import fc from "fast-check";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { IgnoreRules } from "../../src/tools/ignore-rules.ts";
import { temp } from "../support/temp.ts";

const verdict = (rules: string, path: string, isDirectory = false) =>
  IgnoreRules.parse(rules).test(path, isDirectory);

const cases: readonly (readonly [string, string, "ignore" | "keep" | undefined])[] = [
  ["*.log", "a/b.log", "ignore"],
  ["*.log\n!keep.log", "a/keep.log", "keep"],
  ["# comment\n\n", "# comment", undefined],
  ["\\#file", "#file", "ignore"],
  ["\\!file", "!file", "ignore"],
  ["name  ", "name", "ignore"],
  ["name\\ ", "name ", "ignore"],
  ["name\r", "name", "ignore"],
  ["/top", "sub/top", undefined],
  ["/top", "top", "ignore"],
  ["/*.rs", "sub/a.rs", undefined],
  ["a/b", "x/a/b", undefined],
  ["**/a/b", "x/a/b", "ignore"],
  ["a/**", "a/b/c", "ignore"],
  ["a/**/z", "a/z", "ignore"],
  ["a/**/z", "a/b/c/z", "ignore"],
  ["a/*", "a/b/c", "ignore"],
  ["/*.rs", "a.rs/b", "ignore"],
  ["a?c", "a/c", undefined],
  ["[a-c].txt", "b.txt", "ignore"],
  ["[!a-c].txt", "b.txt", undefined],
  ["[[:digit:]]x", "7x", "ignore"],
  ["{a,b}", "a", undefined],
  ["{a,b}", "{a,b}", "ignore"],
  ["[unclosed", "[unclosed", undefined],
  ["build/", "build", undefined],
  ["\uFEFFfirst", "first", "ignore"],
];

test("patterns mean what gitignore(5) says", () => {
  for (const [rules, path, expected] of cases) {
    expect(verdict(rules, path), `${rules} on ${path}`).toBe(expected);
  }
  expect(verdict("build/", "build", true)).toBe("ignore");
});

test("a directory that is entered is no longer ignored, what is in it is judged by itself", () => {
  const rules = IgnoreRules.parse("odd*\n*.log\n/sub/*\n!.log");
  const name = "odd [name]*!";
  expect(rules.test(`${name}/a`, false)).toBe("ignore");
  rules.enter(name);
  expect(rules.test(`${name}/a`, false)).toBe(undefined);
  expect(rules.test(`${name}/a.log`, false)).toBe("ignore");
  expect(rules.test(`${name}/.log`, false)).toBe("keep");
  expect(rules.test("odd [name]*?!/a", false)).toBe("ignore");
  rules.enter("sub");
  rules.enter("sub/deep");
  expect(rules.test("sub/deep/a", false)).toBe(undefined);
  expect(rules.test("sub/other/a", false)).toBe("ignore");
});

test("a tree of any size is judged with the same rules", () => {
  const rules = IgnoreRules.parse("*.log");
  rules.enter("a.log");
  for (let n = 0; n < 25_000; n += 1) {
    expect(rules.test(`a.log/${n}.${n % 2 === 0 ? "log" : "txt"}`, false) === "ignore").toBe(
      n % 2 === 0,
    );
  }
});

test("git agrees", async () => {
  if (spawnSync("git", ["--version"]).status !== 0) return;
  await using dir = temp();
  spawnSync("git", ["init", "-q", dir.path]);
  const paths = ["a", "b.c", "d/a", "d/b.c", "d/e/a", "d/e/b.c", "a.b/c"];
  for (const path of paths) {
    mkdirSync(dir.join(path, ".."), { recursive: true });
    writeFileSync(dir.join(path), "");
  }
  const part = fc.constantFrom("a", "b", "c", "d", "e", ".", "/", "*", "**", "?", "[a-d]", "[!a]");
  const line = fc
    .tuple(fc.constantFrom("", "", "", "!", "/"), fc.array(part, { minLength: 1, maxLength: 5 }))
    .map(([start, parts]) => start + parts.join(""))
    // The package takes `a**/b` by the manual, git does not.
    .filter((pattern) => !/[^/]\*\*|\*\*[^/]/.test(pattern));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 3 }), (lines) => {
      writeFileSync(dir.join(".gitignore"), lines.join("\n"));
      const rules = IgnoreRules.parse(lines.join("\n"));
      const asked = spawnSync("git", ["check-ignore", "--no-index", "--stdin"], {
        cwd: dir.path,
        input: paths.join("\n"),
        encoding: "utf8",
      });
      const ignored = new Set(asked.stdout.split("\n"));
      for (const path of paths) {
        const ours = rules.test(path, false) === "ignore";
        expect(ours, `${JSON.stringify(lines)} on ${path}`).toBe(ignored.has(path));
      }
    }),
    { numRuns: 250 },
  );
});
