import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseReference } from "../../src/prompts/reference.ts";
import { promptVariables, renderAsset } from "../../src/prompts/template.ts";
import { temp } from "../support/temp.ts";

const variables = promptVariables("/work/p", new Date("2026-03-04T05:06:07.089Z"), [
  "Read",
  "Bash",
]);

/** A `$user` library with these files; `render` renders one of them. */
function library(files: Record<string, string>) {
  const dir = temp();
  for (const [name, text] of Object.entries(files)) {
    const file = dir.join(`${name}.md`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return {
    render: (name: string) =>
      renderAsset(parseReference(`$user/${name}`), { user: dir.path }, variables),
    file: (name: string) => dir.join(`${name}.md`),
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

describe("rendering", () => {
  test("variables are inserted, with or without blanks", async () => {
    await using user = library({
      a: "{{ cwd }}|{{date}}|{{  time }}|{{ datetime }}|{{ tools }}",
    });
    expect(user.render("a")).toBe("/work/p|2026-03-04|05:06:07|2026-03-04T05:06:07Z|Bash, Read");
  });

  test("one line end at the end belongs to the file", async () => {
    await using user = library({ a: "x\n\n", b: "x\r\n", c: "x" });
    expect(user.render("a")).toBe("x\n");
    expect(user.render("b")).toBe("x");
    expect(user.render("c")).toBe("x");
  });

  test("includes are found beside the file that includes them", async () => {
    await using user = library({
      a: 'A[{% include "sub/b" %}]',
      "sub/b": "B[{% include 'c' %}]",
      "sub/c": "{{ cwd }}\n",
      c: "wrong",
    });
    expect(user.render("a")).toBe("A[B[/work/p]]");
  });

  test("an include may name another library", async () => {
    await using user = library({ a: '{% include "$insomnia/common/workspace" %}' });
    expect(user.render("a")).toContain("Working directory: `/work/p`");
  });

  test("values are not read as templates, and braces elsewhere are text", async () => {
    await using user = library({ a: "{{ cwd }} { } }} %} {x} ${{ cwd }}" });
    const text = renderAsset(
      parseReference("$user/a"),
      { user: dirname(user.file("a")) },
      { ...variables, cwd: "{{ date }}$&" },
    );
    expect(text).toBe("{{ date }}$& { } }} %} {x} ${{ date }}$&");
  });
});

describe("what is wrong in a template", () => {
  const unsupported = (tag: string) =>
    `unsupported template syntax \`${tag}\`: only {{ variable }} and {% include "name" %} are understood`;
  const known = "(known: cwd, date, time, datetime, tools)";
  test.each([
    ["{{ pwd }}", `unknown variable \`pwd\` ${known}`],
    ["{{ cwd | upper }}", unsupported("{{ cwd | upper }}")],
    ["{{- cwd -}}", unsupported("{{- cwd -}}")],
    ["{{ 'x' }}", unsupported("{{ 'x' }}")],
    ["{{}}", unsupported("{{}}")],
    ["{{ cwd", unsupported("{{")],
    ["{% if cwd %}x{% endif %}", unsupported("{% if cwd %}")],
    ["{% include x %}", unsupported("{% include x %}")],
    ["{%\nfor x in tools %}", unsupported("{%\\nfor x in tools %}")],
    ["{% raw", unsupported("{%")],
    ["{# comment #}", unsupported("{# comment #}")],
    ["{% include 'none' %}", "prompt asset not found: '$user/none'"],
    [
      "{% include '../a' %}",
      "invalid prompt reference '../a': path must not contain '.' or '..' segments",
    ],
    [
      "{% include '$workspace/a' %}",
      "prompt prefix '$workspace' is not configured for this loader",
    ],
    ["{% include '' %}", "invalid prompt reference '': reference must not be empty"],
  ])("%j is refused with file and line: %s", async (tag, message) => {
    await using user = library({ a: `one\ntwo ${tag} rest` });
    expect(() => user.render("a")).toThrow(
      expect.objectContaining({
        code: "invalid_argument",
        message: `${user.file("a")}:2: ${message}`,
      }),
    );
  });

  test("the place is that of the included file", async () => {
    await using user = library({ a: "{% include 'b' %}", b: "\n\n{{ nope }}" });
    expect(() => user.render("a")).toThrow(`${user.file("b")}:3: unknown variable`);
  });

  test("a cycle of includes ends", async () => {
    await using user = library({ a: "{% include 'b' %}", b: "\n{% include 'a' %}" });
    expect(() => user.render("a")).toThrow(
      `${user.file("b")}:2: includes nest deeper than 16 levels`,
    );
  });

  test("includes that multiply end", async () => {
    const twice = (name: string) => `{% include '${name}' %}`.repeat(2);
    const files: Record<string, string> = { f12: "x" };
    for (let i = 0; i < 12; i += 1) files[`f${i}`] = twice(`f${i + 1}`);
    await using user = library(files);
    expect(() => user.render("f0")).toThrow("more than 256 includes");
  });
});
