import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import { loadScenario, substitute } from "../../src/model/scenario.ts";
import { temp } from "../support/temp.ts";

/** The message with which `text` is refused as file `name`, with the path as FILE. */
async function problem(name: string, text: string): Promise<string> {
  await using dir = temp();
  const path = dir.join(name);
  writeFileSync(path, text);
  try {
    await loadScenario(path);
    return "none";
  } catch (error) {
    if (!isPodError(error, "invalid_manifest")) return `unexpected ${error}`;
    return error.message.replaceAll(path, "FILE");
  }
}

describe("a scenario", () => {
  test("is the same in TOML and JSON", async () => {
    await using dir = temp();
    const toml = dir.join("a.toml");
    const json = dir.join("a.json");
    writeFileSync(
      toml,
      '[[rules]]\nmatch = "x"\ntext = "y"\n[[rules.calls]]\ntool = "Read"\ninput = { n = 1 }\n',
    );
    const rule = { match: "x", text: "y", calls: [{ tool: "Read", input: { n: 1 } }] };
    writeFileSync(json, JSON.stringify({ rules: [rule] }));
    expect((await loadScenario(toml)).rules).toEqual((await loadScenario(json)).rules);
  });

  test("of the documentation is valid", async () => {
    await using dir = temp();
    const guide = await Bun.file(`${import.meta.dir}/../../docs/scripted-model.md`).text();
    const example = guide.slice(guide.indexOf("## Example"));
    const toml = /```toml\n(.*?)```/s.exec(example)?.[1] ?? "";
    writeFileSync(dir.join("guide.toml"), toml);
    expect((await loadScenario(dir.join("guide.toml"))).rules).toHaveLength(5);
  });

  test("that cannot be read says which", async () => {
    await using dir = temp();
    mkdirSync(dir.join("d.toml"));
    for (const [name, reason] of [
      ["none.json", "ENOENT"],
      ["d.toml", "not a regular file"],
    ] as const) {
      const error = await loadScenario(dir.join(name)).catch((e: unknown) => e);
      expect(isPodError(error, "io")).toBe(true);
      expect(String(error)).toContain(`cannot read scenario ${dir.join(name)}: ${reason}`);
    }
  });
});

describe("a mistake", () => {
  test.each([
    ["x.json", "{", "FILE: not valid JSON: "],
    ["x.toml", '[[rules]]\ntext = "a\n', "FILE:2: "],
    ["x.json", "{}", "FILE: rules: missing"],
    ["x.json", '{"rules":[]}', "FILE: rules: Array must contain at least 1 element"],
    ["x.toml", '[[rules]]\ntext = "a"\n\n[[rules]]\ntextt = "b"\n', "FILE:5: rules[1].textt: unk"],
    ["x.toml", '[[rules]]\ntext = "a"\ntimes = 0\n', "FILE:3: rules[0].times: "],
    [
      "x.toml",
      '[[rules]]\ntext = "a"\n[[rules.calls]]\ntool = "A"\n[[rules.calls]]\ntool = 3\n',
      "FILE:6: rules[0].calls[1].tool: Expected string, received number",
    ],
    [
      "x.toml",
      '[[rules]]\ntext = "a"\ncalls = [\n  { toool = "A" },\n]\n',
      "FILE:3: rules[0].calls[0].tool: missing; FILE:3: rules[0].calls[0].toool: unknown key",
    ],
    ["x.toml", '[[rules]]\nmatch = "("\ntext = "a"\n', "FILE:2: rules[0].match: Invalid regular"],
    ["x.toml", '[[rules]]\nnot_match = "["\ntext = "a"\n', "FILE:2: rules[0].not_match: "],
    ["x.toml", '[[rules]]\nmatch = "a"\n', "FILE:1: rules[0].text: a rule answers with text"],
    ["x.json", '{"rules":[{"calls":[]}]}', "FILE: rules[0].text: a rule answers with text"],
    [
      "x.json",
      '{"rules":[{"error":"e","calls":[{"tool":"A"}]}]}',
      "FILE: rules[0].error: an answer that fails cannot have calls",
    ],
    [
      "x.toml",
      '[[rules]]\nmatch = "(a)"\ntext = "$1 $2 $<n>"\n',
      "FILE:3: rules[0].text: $2: match has no such group; write $$ for a dollar sign; " +
        "FILE:3: rules[0].text: $<n>: match has no such group",
    ],
    [
      "x.json",
      '{"rules":[{"calls":[{"tool":"A","input":{"x":[{"y":"$1"}]}}]}]}',
      "FILE: rules[0].calls: $1: match has no such group",
    ],
  ])("in %s %j is told with its place", async (name, text, message) => {
    expect(await problem(name, text)).toStartWith(message);
  });
});

test("references stand for groups, the Pod and the directory", () => {
  const match = /(?<verb>\w+) (\d)?/.exec("read x") ?? undefined;
  const substitutes = { match, pod: "lead", scenarioDirectory: "/s" };
  const written = "$1|$2|$<verb>|{pod}|{scenario_dir}|$$1|$$$1|{other}|$HOME|$";
  expect(substitute(written, substitutes)).toBe("read||read|lead|/s|$1|$read|{other}|$HOME|$");
});
