import { expect, test } from "bun:test";
import { manifestJsonSchema } from "../../src/manifest/json-schema.ts";
import { listKeys } from "../../src/manifest/keys.ts";

type Node = Record<string, unknown>;

/** The schema of a key of `listKeys`, alternatives included. */
function find(schema: unknown, key: string): Node | undefined {
  let nodes: Node[] = [schema as Node];
  for (const part of key.split(/\.|(?=\[\])/)) {
    nodes = nodes
      .flatMap((node) => [node, ...((node.anyOf ?? node.oneOf ?? []) as Node[])])
      .flatMap((node) => {
        const next =
          part === "[]"
            ? node.items
            : part === "*"
              ? node.additionalProperties
              : (node.properties as Node | undefined)?.[part];
        return typeof next === "object" && next !== null ? [next as Node] : [];
      });
  }
  return nodes[0];
}

test("the JSON Schema knows every key that a manifest may have, with its meaning", () => {
  const schema = manifestJsonSchema();
  expect(schema.$schema).toBe("http://json-schema.org/draft-07/schema#");
  for (const { key, description } of listKeys()) {
    const node = find(schema, key);
    expect([key, node === undefined]).toEqual([key, false]);
    if (description !== "" && node?.anyOf === undefined && !key.endsWith(".auth.kind")) {
      expect([key, node?.description]).toEqual([key, expect.any(String)]);
    }
  }
});

test("the JSON Schema refuses unknown keys everywhere but those of other programs at the top", () => {
  const schema = manifestJsonSchema();
  const walk = (node: unknown, path: string): void => {
    if (typeof node !== "object" || node === null) return;
    const { type, properties, additionalProperties } = node as Node;
    if (type === "object" && properties !== undefined) {
      expect([path, additionalProperties]).toEqual([path, false]);
    }
    for (const [name, inner] of Object.entries(node)) walk(inner, `${path}.${name}`);
  };
  walk(schema, "");
  expect(Object.keys(schema.patternProperties as Node)).toEqual(["^x-"]);
});
