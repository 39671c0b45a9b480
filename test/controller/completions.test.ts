import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { completionsOf, MAX_COMPLETIONS } from "../../src/controller/completions.ts";
import { temp } from "../support/temp.ts";

/** A directory with files and directories of these names; a `/` at the end makes a directory. */
function place(...names: string[]) {
  const dir = temp();
  for (const name of names) {
    if (name.endsWith("/")) mkdirSync(dir.join(name), { recursive: true });
    else writeFileSync(dir.join(name), "");
  }
  const ask = async (prefix: string, mayRead = (_path: string) => true) =>
    (await completionsOf("file", prefix, { cwd: dir.path, mayRead })).map(
      ({ value, is_dir }) => `${value}${is_dir ? " (dir)" : ""}`,
    );
  return Object.assign(dir, { ask });
}

describe("completions of a file's name", () => {
  test("are directories first, each in byte order, without a slash at the end", async () => {
    await using dir = place("b.ts", "a/", "Z", "é", "src/");
    expect(await dir.ask("")).toEqual(["a (dir)", "src (dir)", "Z", "b.ts", "é"]);
  });

  test("begin with what was typed, in its case, dot-files included", async () => {
    await using dir = place("main.ts", "main.js", "Main", ".hidden", "other");
    expect(await dir.ask("ma")).toEqual(["main.js", "main.ts"]);
    expect(await dir.ask(".h")).toEqual([".hidden"]);
    expect(await dir.ask("nothing")).toEqual([]);
  });

  test("in a directory are relative as the prefix was, and absolute where it was", async () => {
    await using dir = place("src/", "src/a.ts", "src/b.ts", "src/sub/");
    expect(await dir.ask("src/")).toEqual(["src/sub (dir)", "src/a.ts", "src/b.ts"]);
    expect(await dir.ask("src/a")).toEqual(["src/a.ts"]);
    expect(await dir.ask(`${dir.path}/src/b`)).toEqual([`${dir.path}/src/b.ts`]);
    expect(await dir.ask("./src/a")).toEqual(["src/a.ts"]);
    expect(await dir.ask(".")).toEqual(["src (dir)"]);
  });

  test("show only what the scope lets the pod read, links resolved", async () => {
    await using dir = place("open", "secret/", "secret/key");
    symlinkSync(dir.join("secret/key"), dir.join("link"));
    const mayRead = (path: string): boolean => !path.startsWith(dir.join("secret"));
    expect(await dir.ask("", mayRead)).toEqual(["open"]);
    expect(await dir.ask("secret/", mayRead)).toEqual([]);
  });

  test("show a link to a directory as no directory", async () => {
    await using dir = place("real/");
    symlinkSync(dir.join("real"), dir.join("link"));
    expect(await dir.ask("")).toEqual(["real (dir)", "link"]);
  });

  test("are the first hundred", async () => {
    await using dir = place(...Array.from({ length: 150 }, (_, n) => `f${1000 + n}`));
    const values = await dir.ask("f");
    expect(values).toHaveLength(MAX_COMPLETIONS);
    expect([values[0], values.at(-1)]).toEqual(["f1000", "f1099"]);
  });

  test("of what is no directory, cannot be read or makes no sense are none", async () => {
    await using dir = place("file");
    expect(await dir.ask("file/")).toEqual([]);
    expect(await dir.ask("missing/x")).toEqual([]);
    expect(await dir.ask("nul\0l")).toEqual([]);
  });

  test("of knowledge and workflows are none yet", async () => {
    await using dir = place("file");
    const surroundings = { cwd: dir.path, mayRead: () => true };
    expect(await completionsOf("knowledge", "", surroundings)).toEqual([]);
    expect(await completionsOf("workflow", "f", surroundings)).toEqual([]);
  });
});
