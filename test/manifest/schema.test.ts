import { describe, expect, test } from "bun:test";
import { listKeys, namesBelow } from "../../src/manifest/keys.ts";
import { manifestSchema, PATH_KEYS } from "../../src/manifest/schema.ts";
import { DEFAULTS } from "../../src/manifest/sections.ts";

const keys = listKeys();

describe("the list of keys", () => {
  test("every key says what it means", () => {
    expect(keys.filter(({ description }) => description === "")).toEqual([]);
  });

  test("every key appears once", () => {
    expect(new Set(keys.map(({ key }) => key)).size).toBe(keys.length);
  });

  test("the keys that hold paths are those that say what they are relative to", () => {
    const described = keys.filter(({ description }) => /relative to the/.test(description));
    expect(described.map(({ key }) => key).sort()).toEqual(
      PATH_KEYS.map((path) => path.join(".").replace(/\.\*$/, "").replaceAll(".*", "[]")).sort(),
    );
  });

  test("the defaults are named where the keys are described", () => {
    for (const [name, value] of Object.entries(DEFAULTS)) {
      const key = keys.find((entry) => entry.key.endsWith(`.${name}`));
      expect(key?.description).toContain(`(default ${JSON.stringify(value).replaceAll('"', "`")})`);
    }
  });

  test("types are shown as one writes them", () => {
    const typeOf = (key: string) => keys.find((entry) => entry.key === key)?.type;
    expect(typeOf("model.auth.kind")).toBe('"none" | "api_key" | "command"');
    expect(typeOf("worker.reasoning")).toBe("string | integer");
    expect(typeOf("worker.stop_sequences")).toBe("array of string");
    expect(typeOf("worker.tool_output.per_tool.*")).toBe("integer");
    expect(typeOf("scope.deny[].permission")).toBe('"read" | "write"');
    expect(typeOf("worker.temperature")).toBe("number");
    expect(typeOf("scope.inherit")).toBe("boolean");
    expect(typeOf("compaction")).toBe("table");
  });

  test("the names of a table are those directly below it", () => {
    expect(namesBelow(keys, "")).toEqual([
      "pod",
      "model",
      "worker",
      "scope",
      "compaction",
      "limits",
      "sandbox",
    ]);
    expect(namesBelow(keys, "scope.allow[]")).toEqual(["target", "permission", "recursive"]);
  });
});

test("a resolved manifest has all defaults", () => {
  const allow = [{ target: "/p", permission: "write" }];
  expect(manifestSchema().parse({ pod: { name: "a" }, scope: { allow }, compaction: {} })).toEqual({
    pod: { name: "a" },
    model: {},
    worker: {
      instruction: "$insomnia/default",
      stop_sequences: [],
      tool_output: { default_max_bytes: 16_384, per_tool: {} },
    },
    scope: { allow: [{ target: "/p", permission: "write", recursive: true }], deny: [] },
    compaction: {
      prune_protected_turns: 3,
      prune_min_savings: 4096,
      compact_retained_tokens: 8000,
      compact_auto_read_budget: 8000,
      compact_worker_max_input_tokens: 50_000,
    },
    limits: { max_depth: 4, max_children: 16, ready_timeout_ms: 10_000 },
    sandbox: { mode: "enforce", write: [], network: "allow", local_sockets: "deny", env: [] },
  });
});
