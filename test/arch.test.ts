/** The architecture of AGENTS.md as a test, and the proof that each of its rules can fail. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  breaches,
  importsOf,
  MAX_LINES,
  overlong,
  tokensOf,
  type Sources,
} from "./support/architecture.ts";
import { lonelyExports } from "./support/exports.ts";

const ROOT = join(import.meta.dir, "..");

function readSources(folder = "src"): Sources {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" });
  return new Map(
    files
      .filter((file) => /\.[cm]?[jt]sx?$/.test(file))
      .sort()
      .map((file) => [file, readFileSync(join(ROOT, folder, file), "utf8")]),
  );
}

/** Everything that is written here: sources, tests, measurements and scripts, by the path below the root. */
function readProject(): Sources {
  const folders = ["src", "test", "bench", "scripts"];
  return new Map(
    folders.flatMap((folder) =>
      [...readSources(folder)].map(([file, source]) => [`${folder}/${file}`, source] as const),
    ),
  );
}

describe("the source tree", () => {
  test("keeps to its architecture", () => {
    expect(breaches(readSources())).toEqual([]);
  });

  test("has no file that is too long, tests and benchmarks among them", () => {
    expect(overlong(readProject())).toEqual([]);
  });

  test("exports nothing that no other file imports", () => {
    expect(lonelyExports(readProject())).toEqual([]);
  });

  test("is scanned at least as well as by Bun, which sees no type imports", () => {
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    for (const [file, source] of readSources()) {
      const ours = importsOf(tokensOf(source)).map((entry) => entry.module);
      for (const { path } of transpiler.scanImports(source))
        expect([file, ours]).toEqual([file, expect.arrayContaining([path])]);
    }
  });
});

describe("the checker", () => {
  const check = (files: Record<string, string>): string[] =>
    breaches(new Map(Object.entries(files)));

  test.each([
    ['import "../tools/tool.ts";'],
    ['import type { Tool } from "../tools/tool.ts";'],
    ['import { type Tool, from } from "../tools/tool.ts";'],
    ['import Tool, * as all from "../tools/tool.ts"'],
    ['import text from "../tools/tool.ts" with { type: "text" };'],
    ['export { Tool } from "../tools/tool.ts";'],
    ['export type { Tool } from "../tools/tool.ts";'],
    ['export * as tools from "../tools/tool.ts";'],
    ['const tool = await import("../tools/tool.ts");'],
    ['type Tool = import("../tools/tool.ts").Tool;'],
    ['const x = `a ${"}"} b ${await import("../tools/tool.ts")} c`;'],
    ['const x = /["\'`]/.test(y); import "../tools/tool.ts"; // "'],
  ])("sees an import of a higher layer: %s", (source) => {
    expect(check({ "base/a.ts": `// first\n${source}\n` })).toEqual([
      "src/base/a.ts:2: base must not import tools/tool.ts: not a lower layer",
    ]);
  });

  test.each([
    ['// import "../tools/tool.ts";'],
    ['/* import "../tools/tool.ts";\n console.log(process.env) */'],
    ["const x = 'import \"../tools/tool.ts\"; process.exit(1)';"],
    ['const x = `import "../tools/tool.ts"; ${y} console.log()`;'],
    ["const x = /console.log(process.env)/;"],
    ['export type Kind = "a"; const from = "../tools/tool.ts";'],
    ["const x = child.process.env; const y = { import: 1, console: 2 };"],
    ["process.exitCode = 1; process.kill(1, 0);"],
    ['import { z } from "zod/v3"; import "node:fs"; import "./b.ts";'],
  ])("lets pass what is no breach: %s", (source) => {
    expect(check({ "base/a.ts": source })).toEqual([]);
  });

  test("knows scope below protocol, equals apart, roots in their layer, a folder as one", () => {
    expect(check({ "protocol/a.ts": 'import "../scope/b.ts"; import "./c.ts";' })).toEqual([]);
    expect(
      check({ "serve/a.ts": 'import "../spawn/a.ts";', "main.ts": 'import "./serve/a.ts";' }),
    ).toEqual([]);
    for (const [file, target] of [
      ["scope/a.ts", "../protocol/b.ts"],
      ["spawn/a.ts", "../controller/b.ts"],
      ["session/a.ts", "../model/b.ts"],
      ["cli/a.ts", "../main.ts"],
      ["serve/a.ts", "../cli/a.ts"],
      ["base/a.ts", "../nowhere/b.ts"],
      ["base/a.ts", "../../test/b.ts"],
      ["worker/a.ts", "../tools/bash.ts"],
      ["worker/a.ts", "../model/catalog.ts"],
    ] as const) {
      expect(check({ [file]: `import "${target}";` })).toHaveLength(1);
    }
    expect(check({ "elsewhere/a.ts": "" })).toEqual([
      "src/elsewhere/a.ts:1: elsewhere has no layer",
    ]);
  });

  test("finds cycles, of type imports too", () => {
    const files = {
      "base/a.ts": 'import type { B } from "./b.ts";',
      "base/b.ts": 'import "./c.ts";',
      "base/c.ts": 'export * from "./a.ts";',
      "base/d.ts": 'import "./a.ts";',
    };
    expect(check(files)).toEqual(["cycle: base/a.ts -> base/b.ts -> base/c.ts -> base/a.ts"]);
    expect(check({ "base/a.ts": 'import "./a.ts";' })).toEqual(["cycle: base/a.ts -> base/a.ts"]);
  });

  test.each([
    ["tools/a.ts", 'import "ai";', "ai may be imported only in model/"],
    ["tools/a.ts", 'import "@ai-sdk/openai";', "@ai-sdk/openai may be imported only in model/"],
    ["base/process.ts", 'import "bun:ffi";', "bun:ffi may be imported only in base/libc.ts"],
    [
      "tools/bash.ts",
      'import "zod-to-json-schema";',
      "zod-to-json-schema may be imported only in tools/tool.ts, manifest/, protocol/json-schema.ts",
    ],
    ["manifest/a.ts", 'import { z } from "zod";', "zod may be imported nowhere"],
    ["manifest/a.ts", 'import type { z } from "zod/v4";', "zod/v4 may be imported nowhere"],
    ["base/a.ts", 'import process from "node:process";', "node:process may be imported nowhere"],
    ["base/a.ts", "await import(name);", "import of a computed path"],
    ["cli/a.ts", "process.env.HOME;", "process.env may be used only in main.ts, serve/, base/"],
    ["cli/a.ts", "Bun.env.HOME;", "Bun.env may be used only in main.ts, serve/, base/"],
    ["cli/a.ts", "import.meta.env;", "import.meta.env may be used only in main.ts, serve/, base/"],
    ["cli/a.ts", "process?.exit(1);", "process.exit may be used only in main.ts, serve/, base/"],
    ["cli/a.ts", 'process["env"];', "process[ may be used nowhere"],
    ["cli/a.ts", "const { env } = process;", "process[ may be used nowhere"],
    ["base/log.ts", "console.error(1);", "console.error may be used only in cli/, main.ts"],
    ["serve/a.ts", "process.stdout.write(x);", "process.stdout may be used only in cli/, main.ts"],
    ["worker/a.ts", "Bun.stderr.writer();", "Bun.stderr may be used only in cli/, main.ts"],
    ["base/utils.ts", "", "a file is not named utils"],
    ["model/index.ts", "", "a file is not named index"],
    ["base/twoWords.ts", "", "file names are kebab-case"],
  ])("reports %s with %s", (file, source, what) => {
    expect(check({ [file]: source })).toEqual([`src/${file}:1: ${what}`]);
  });

  test.each([
    ["export function f() {}", 'import { f } from "../src/base/a.ts"; f();'],
    ["export async function f() {}", 'import { f as g } from "../src/base/a.ts"; g();'],
    ["export type f = 1;", 'type T = import("../src/base/a.ts").f;'],
    ["export abstract class f {}", 'import * as all from "../src/base/a.ts"; all.f;'],
    ["export const f = 1;", 'const { f } = await import("../src/base/a.ts");'],
    ["export interface f {}", 'import { b } from "../src/base/a.ts"; // f'],
  ])("asks of an export who imports it: %s", (source, user) => {
    const file = "src/base/a.ts";
    const lonely = [`${file}:1: f is exported and imported nowhere`];
    const check = (text: string): string[] =>
      lonelyExports(
        new Map([
          [file, source],
          ["test/b.ts", text],
        ]),
      );
    expect(check("f;")).toEqual(lonely);
    expect(check(user)).toEqual(user.endsWith("// f") ? lonely : []);
  });

  test("counts lines", () => {
    for (const file of ["src/base/a.ts", "test/base/a.test.ts", "bench/a.ts"]) {
      expect(overlong(new Map([[file, "x;\n".repeat(MAX_LINES)]]))).toEqual([]);
      expect(overlong(new Map([[file, "x;\n".repeat(MAX_LINES + 1)]]))).toEqual([
        `${file}:401: 401 lines, at most 400`,
      ]);
    }
  });
});
