/** The JSON Schema for editors and the program judge alike: what one refuses, so does the other. */
import Ajv from "ajv";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { manifestJsonSchema } from "../../src/manifest/json-schema.ts";
import { manifestLayerSchema } from "../../src/manifest/schema.ts";

const validate = new Ajv({ strict: false }).compile(manifestJsonSchema());

const judged = (layer: unknown): { editor: boolean; program: boolean } => ({
  editor: validate(layer),
  program: manifestLayerSchema().safeParse(layer).success,
});

const rule = (target: unknown) => ({ target, permission: "read" });
const PATHS: readonly unknown[] = ["a", "/a/..b", "..", "../a", "a/..", "/a/../b", "a\0b", ""];
const CASES: readonly (readonly [
  name: string,
  layer: (value: unknown) => unknown,
  values: readonly unknown[],
])[] = [
  [
    "pod.name",
    (name) => ({ pod: { name } }),
    [
      "a",
      "a.b-c_d",
      "a/b",
      "pods.x",
      "PoDs.x",
      "pods",
      "-a",
      "",
      "a\n",
      "a".repeat(64),
      "a".repeat(65),
      1,
    ],
  ],
  ["pod.prompt_pack", (prompt_pack) => ({ pod: { prompt_pack } }), ["a", "../a", "", "a\0"]],
  ["scope.allow", (target) => ({ scope: { allow: [rule(target)] } }), PATHS],
  ["scope.deny", (target) => ({ scope: { deny: [rule(target)] } }), PATHS],
  ["sandbox.write", (path) => ({ sandbox: { write: [path] } }), PATHS],
  ["model.script", (script) => ({ model: { script } }), ["a", "../a", "", "a\0b"]],
  [
    "model.auth",
    (auth) => ({ model: { auth } }),
    [
      { kind: "none" },
      { kind: "none", env: "X" },
      { kind: "api_key", file: "a\0" },
      { kind: "command", command: [] },
      {},
    ],
  ],
  [
    "model.base_url",
    (base_url) => ({ model: { base_url } }),
    [
      "http://a",
      "https://a.b:8080/v1/",
      "HTTPS://A",
      "https://[::1]:1/x",
      "http://a/u@b",
      "http://a?x=u@b",
      "foo",
      "ftp://x",
      "",
      "http:a",
      "http:/a",
      "http:///a",
      "http://",
      "http://u:p@a",
      "https://u@a",
      "https://@a",
      "http://a b",
      "http://a\tb",
      " http://a",
      "http://a ",
      "http:\\\\a",
      "http://u\\@a",
      "http://u:p\\@a/",
      "http://a/\nx",
    ],
  ],
  [
    "worker",
    (worker) => ({ worker }),
    [
      { max_turns: 0 },
      { max_turns: 1 },
      { max_turns: 1.5 },
      { reasoning: "" },
      { reasoning: 7 },
      { temperature: "x" },
    ],
  ],
  [
    "limits",
    (limits) => ({ limits }),
    [{ max_depth: 0 }, { max_children: 2 ** 32 }, { ready_timeout_ms: 2 ** 31 }],
  ],
];

describe("the schema and the program agree about", () => {
  test.each(CASES)("%s", (_, layer, values) => {
    for (const value of values) {
      const { editor, program } = judged(layer(value));
      expect([value, editor]).toEqual([value, program]);
    }
  });

  test("whatever names, paths and addresses there are, as far as a pattern can say", () => {
    const word = fc.string({
      unit: fc.constantFrom(..."aA.-_/:\\@?# \0\n0[]".split("")),
      maxLength: 12,
    });
    fc.assert(
      fc.property(word, (text) => {
        const paths = { scope: { allow: [rule(text)] }, sandbox: { write: [text] } };
        for (const layer of [{ pod: { name: text } }, paths]) {
          const { editor, program } = judged(layer);
          expect(editor).toBe(program);
        }
        // Whether a host is one only a parser can tell: the schema may take what the program refuses.
        const address = judged({ model: { base_url: `http://${text}` } });
        expect(address.editor || !address.program).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
