import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mergeLayers } from "../../src/manifest/merge.ts";
import type { ManifestLayer } from "../../src/manifest/schema.ts";
import { layers } from "./arbitrary.ts";

const read = (target: string) => ({ target, permission: "read" as const, recursive: true });

describe("merge in general", () => {
  test("the grouping of layers does not matter", () => {
    fc.assert(
      fc.property(layers, layers, layers, (a, b, c) => {
        expect(mergeLayers(mergeLayers(a, b), c)).toStrictEqual(mergeLayers(a, mergeLayers(b, c)));
      }),
    );
  });

  test("the empty layer changes nothing, above or below", () => {
    fc.assert(
      fc.property(layers, (layer) => {
        expect(mergeLayers(layer, {})).toStrictEqual(layer);
        expect(mergeLayers({}, layer)).toStrictEqual(layer);
      }),
    );
  });

  test("inputs are not changed", () => {
    fc.assert(
      fc.property(layers, layers, (a, b) => {
        const before = structuredClone([a, b]);
        mergeLayers(a, b);
        expect([a, b]).toStrictEqual(before);
      }),
    );
  });

  test("no layer lifts a deny rule", () => {
    fc.assert(
      fc.property(layers, layers, (a, b) => {
        const merged = mergeLayers(a, b).scope?.deny ?? [];
        expect(merged).toStrictEqual([...(a.scope?.deny ?? []), ...(b.scope?.deny ?? [])]);
      }),
    );
  });

  test("a model never mixes an upper identity with anything from below", () => {
    fc.assert(
      fc.property(layers, layers, (a, b) => {
        fc.pre(b.model?.ref !== undefined || b.model?.scheme !== undefined);
        const { model } = mergeLayers(a, b);
        expect({ model }).toStrictEqual({ model: b.model });
      }),
    );
  });
});

describe("merge key by key", () => {
  const cases: [string, ManifestLayer, ManifestLayer, ManifestLayer][] = [
    [
      "a plain value is the upper one",
      { pod: { name: "a" }, worker: { max_turns: 3, top_k: 1 } },
      { pod: { name: "b" }, worker: { max_turns: 4 } },
      { pod: { name: "b" }, worker: { max_turns: 4, top_k: 1 } },
    ],
    [
      "stop sequences are replaced whole",
      { worker: { stop_sequences: ["a", "b"] } },
      { worker: { stop_sequences: [] } },
      { worker: { stop_sequences: [] } },
    ],
    [
      "tool output sizes are merged by tool name",
      { worker: { tool_output: { default_max_bytes: 1, per_tool: { Bash: 1, Read: 2 } } } },
      { worker: { tool_output: { per_tool: { Bash: 9 } } } },
      { worker: { tool_output: { default_max_bytes: 1, per_tool: { Bash: 9, Read: 2 } } } },
    ],
    [
      "scope rules accumulate, lower ones first",
      { scope: { allow: [read("/a")], deny: [read("/a/x")] } },
      { scope: { allow: [read("/b")], deny: [read("/b/x")] } },
      { scope: { allow: [read("/a"), read("/b")], deny: [read("/a/x"), read("/b/x")] } },
    ],
    [
      "`scope.inherit = false` drops lower allow rules and keeps lower deny rules",
      { scope: { allow: [read("/a")], deny: [read("/a/x")] } },
      { scope: { inherit: false, allow: [read("/b")] } },
      { scope: { inherit: false, allow: [read("/b")], deny: [read("/a/x")] } },
    ],
    [
      "a model without `ref` and `scheme` changes the lower one key by key",
      { model: { ref: "a/b", auth: { kind: "api_key", env: "A", file: "/k" } } },
      { model: { auth: { kind: "api_key", env: "B" } } },
      { model: { ref: "a/b", auth: { kind: "api_key", env: "B" } } },
    ],
    [
      "a new `ref` discards the lower model with its key and address",
      { model: { ref: "a/b", base_url: "https://a", auth: { kind: "api_key", env: "A" } } },
      { model: { ref: "c/d" } },
      { model: { ref: "c/d" } },
    ],
    [
      "a new `scheme` discards the lower model",
      { model: { ref: "a/b", model_id: "x" } },
      { model: { scheme: "gemini" } },
      { model: { scheme: "gemini" } },
    ],
    [
      "the compaction section is merged key by key, its model by the rule for models",
      { compaction: { prune_min_savings: 1, model: { ref: "a/b", base_url: "https://a" } } },
      { compaction: { compact_threshold: 2, model: { ref: "c/d" } } },
      { compaction: { prune_min_savings: 1, compact_threshold: 2, model: { ref: "c/d" } } },
    ],
  ];
  test.each(cases)("%s", (_name, lower, upper, merged) => {
    expect(mergeLayers(lower, upper)).toStrictEqual(merged);
  });
});

test("of [sandbox] the upper layer's keys count, lists included, and the others stay", () => {
  const merged = mergeLayers(
    { sandbox: { mode: "warn", write: ["/a"], env: ["A"] } },
    { sandbox: { mode: "enforce", write: ["/b"], network: "deny" } },
  );
  expect(merged).toEqual({
    sandbox: { mode: "enforce", write: ["/b"], network: "deny", env: ["A"] },
  });
});
