/**
 * What a Pod loads before it is ready: every file and every schema on that path costs each child of
 * each Pod. What is not needed until much later is imported when it is.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, normalize } from "node:path";
import { within } from "./support/temp.ts";

const SOURCES = join(import.meta.dir, "../src");
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** Everything that a file loads with it: files below `src` and modules of others. */
function loadedWith(entry: string): ReadonlySet<string> {
  const loaded = new Set<string>();
  const visit = (file: string): void => {
    if (loaded.has(file)) return;
    loaded.add(file);
    if (!file.endsWith(".ts")) return;
    const source = readFileSync(join(SOURCES, file), "utf8");
    for (const { path, kind } of transpiler.scanImports(source)) {
      if (kind === "dynamic-import") continue;
      visit(path.startsWith(".") ? normalize(join(file, "..", path)) : path);
    }
  };
  visit(entry);
  return loaded;
}

describe("a Pod process", () => {
  const loaded = loadedWith("cli/serve-command.ts");

  test("is looked at whole", () => {
    for (const file of ["serve/pod.ts", "registry/registry.ts", "model/remote.ts", "node:fs"]) {
      expect(loaded).toContain(file);
    }
  });

  test.each([
    ["what people's commands need", /^cli\/(?!serve-command)|^commander/],
    ["vendor libraries", /^@ai-sdk|^model\/(anthropic|openai|gemini)/],
    ["the scripted model", /^model\/(script|scenario)\.ts/],
    ["TOML and templates", /^smol-toml|^minijinja/],
    ["what only sessions that go on need", /^serve\/(restore|coming-back)|^spawn\/revive/],
    ["the summariser", /^worker\/summariser/],
    ["engines of searches", /^re2js|^ignore$|^tools\/(grep-(run|search)|glob-find|walk)/],
    ["what runs commands", /^tools\/shell\/(?!bash\.ts)/],
    ["rules of the kernel", /^sandbox\/(confinement|ruleset)/],
    [
      "modules of the runtime that are slow to load",
      /^node:(crypto|util|fs\/promises|child_process)/,
    ],
  ])("does not load %s", (_, files) => {
    expect([...loaded].filter((file) => files.test(file))).toEqual([]);
  });

  test("does not name `promises` of node:fs, which would load them", () => {
    const named = [...loaded].filter(
      (file) =>
        file.endsWith(".ts") &&
        /import \{[^}]*\bpromises\b[^}]*\} from "node:fs"/.test(
          readFileSync(join(SOURCES, file), "utf8"),
        ),
    );
    expect(named).toEqual([]);
  });

  test("makes no schema while it is loaded", async () => {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "fixtures/count-schemas.ts")],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const [text] = await within(
      Promise.all([child.stdout.text(), child.exited]),
      20_000,
      "the end of the count",
    );
    expect(JSON.parse(text)).toEqual({ counted: 1, made: 0 });
  });
});
