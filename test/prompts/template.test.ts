import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { assetOrigin } from "../../src/prompts/origin.ts";
import { parseReference } from "../../src/prompts/reference.ts";
import {
  MAX_RENDERED_CHARACTERS,
  prepareTemplate,
  promptVariables,
} from "../../src/prompts/template.ts";
import { temp } from "../support/temp.ts";

const variables = promptVariables("/work/p", new Date("2026-03-04T05:06:07.089Z"), [
  "Read",
  "Bash",
]);

/** A `$user` library with these files; `render` prepares and renders one of them. */
function library(files: Record<string, string>) {
  const dir = temp();
  for (const [name, text] of Object.entries(files)) {
    const file = dir.join(`${name}.md`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return {
    render: async (name: string, values = variables) => {
      const origin = assetOrigin(parseReference(`$user/${name}`), { user: dir.path });
      return (await prepareTemplate(origin)).render(values);
    },
    file: (name: string) => dir.join(`${name}.md`),
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

describe("rendering", () => {
  test("variables are inserted, with or without blanks", async () => {
    await using user = library({
      a: "{{ cwd }}|{{date}}|{{  time }}|{{ datetime }}|{{ tools }}",
    });
    expect(await user.render("a")).toBe(
      '/work/p|2026-03-04|05:06:07|2026-03-04T05:06:07Z|["Bash", "Read"]',
    );
  });

  test("one line end at the end belongs to the file", async () => {
    await using user = library({ a: "x\n\n", b: "x\r\n", c: "x" });
    expect(await user.render("a")).toBe("x\n");
    expect(await user.render("b")).toBe("x");
    expect(await user.render("c")).toBe("x");
  });

  test("includes are found beside the file that includes them", async () => {
    await using user = library({
      a: 'A[{% include "sub/b" %}]',
      "sub/b": "B[{% include 'c' %}]",
      "sub/c": "{{ cwd }}\n",
      c: "wrong",
    });
    expect(await user.render("a")).toBe("A[B[/work/p]]");
  });

  test("an include may name another library", async () => {
    await using user = library({ a: '{% include "$insomnia/common/workspace" %}' });
    expect(await user.render("a")).toContain("Working directory: `/work/p`");
  });

  test("values are not read as templates, and braces elsewhere are text", async () => {
    await using user = library({ a: "{{ cwd }} { } }} %} {x} ${{ cwd }}" });
    expect(await user.render("a", { ...variables, cwd: "{{ date }}$&" })).toBe(
      "{{ date }}$& { } }} %} {x} ${{ date }}$&",
    );
  });

  test("the rest of the language is there: conditions, loops, filters, macros, comments, raw", async () => {
    await using user = library({
      a: "{# note #}{% for t in tools %}{{ loop.index }}.{{ t | upper }} {% endfor %}{% include 'b' %}",
      b: "{% set n = 2 %}{% if n > 1 and 'Read' in tools %}yes{% else %}no{% endif %}{% raw %}{{ x }}{% include 'nope' %}{% endraw %}",
      c: "{% from 'lib' import hello %}{{ hello('you') }}",
      lib: "{% macro hello(who) %}hello {{ who }}{% endmacro %}",
      d: "{% extends 'base' %}{% block body %}mine{% endblock %}",
      base: "[{% block body %}theirs{% endblock %}]",
      e: "{{ nothing | default('-') }}{% include 'none' ignore missing %}{% include ['none', 'sub/f'] %}",
      "sub/f": "f:{% include 'g' %}{{- cwd -}}",
      "sub/g": "g",
      g: "wrong",
    });
    expect(await user.render("a")).toBe("1.BASH 2.READ yes{{ x }}{% include 'nope' %}");
    expect(await user.render("c")).toBe("hello you");
    expect(await user.render("d")).toBe("[mine]");
    expect(await user.render("e")).toBe("-f:g/work/p");
  });

  test("a list looks the same with and without the engine", async () => {
    await using user = library({ a: "{{ tools }}", b: "{{ tools }}{# engine #}" });
    expect(await user.render("b")).toBe(await user.render("a"));
  });
});

describe("what is wrong in a template", () => {
  const known = "(known: cwd, date, time, datetime, tools)";
  test.each([
    ["{{ pwd }}", `unknown variable \`pwd\` ${known}`],
    ["{{ pwd }}{# engine #}", "undefined value (no such variable)"],
    ["{% if pwd %}x{% endif %}", "undefined value (no such variable)"],
    ["{% for x in pwd %}{% endfor %}", "undefined value (no such variable)"],
    ["{{ cwd | shout }}", "unknown filter: filter shout is unknown"],
    ["{{}}", "syntax error: unexpected end of variable block"],
    ["{% include x %}", "invalid operation: template name was not a string"],
    ["{% unless cwd %}", "syntax error: unknown statement unless"],
    ["{% include 'none' %}", "prompt asset not found: '$user/none'"],
    [
      "{% include ['none', 'no'] %}",
      'template not found: tried to include one of multiple templates, none of which existed ["none", "no"]',
    ],
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
    await expect(user.render("a")).rejects.toMatchObject({
      code: "invalid_argument",
      message: `${user.file("a")}:2: ${message}`,
    });
  });

  test("a block without its end is refused with the file", async () => {
    await using user = library({ a: "one\n{% if cwd %}x", b: "one\ntwo {{ cwd" });
    await expect(user.render("a")).rejects.toThrow(
      `${user.file("a")}:2: syntax error: unexpected end`,
    );
    await expect(user.render("b")).rejects.toThrow(
      `${user.file("b")}:2: syntax error: unexpected end`,
    );
  });

  test("the place is that of the included file", async () => {
    await using user = library({
      a: "{% include 'b' %}",
      b: "\n\n{{ nope }}",
      c: "{# engine #}{% include 'b' %}",
    });
    await expect(user.render("a")).rejects.toThrow(`${user.file("b")}:3: unknown variable`);
    await expect(user.render("c")).rejects.toThrow(`${user.file("b")}:3: undefined value`);
  });

  test("a cycle of includes ends", async () => {
    await using user = library({
      a: "{% include 'b' %}",
      b: "\n{% include 'a' %}",
      c: "{# engine #}{% include 'c' %}",
    });
    await expect(user.render("a")).rejects.toThrow(
      `${user.file("b")}:2: includes nest deeper than 16 levels`,
    );
    await expect(user.render("c")).rejects.toThrow(user.file("c"));
  });

  test("includes that multiply end", async () => {
    const twice = (name: string) => `{% include '${name}' %}`.repeat(2);
    const files: Record<string, string> = { f12: "x" };
    for (let i = 0; i < 12; i += 1) files[`f${i}`] = twice(`f${i + 1}`);
    await using user = library(files);
    await expect(user.render("f0")).rejects.toThrow("more than 256 includes");
  });

  test("neither endless work nor endless text comes out of a template", async () => {
    await using user = library({
      a: "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
      b: `{{ 'x' * ${MAX_RENDERED_CHARACTERS + 1} }}`,
    });
    await expect(user.render("a")).rejects.toThrow(`${user.file("a")}:1: engine ran out of fuel`);
    await expect(user.render("b")).rejects.toThrow("limit is");
  });
});
