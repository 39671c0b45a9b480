import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isCurrent } from "../../scripts/protocol-schema.ts";
import { decodeEvent, EVENT_DATA, encodeMessage } from "../../src/protocol/event.ts";
import { protocolJsonSchema } from "../../src/protocol/json-schema.ts";
import { decodeMethod, METHODS } from "../../src/protocol/method.ts";

const DOCUMENT = readFileSync(join(import.meta.dir, "../../docs/protocol.md"), "utf8");

describe("the documents of the protocol", () => {
  test("hold the schemas that the program decodes with: bun run docs", () => {
    expect(isCurrent()).toBe(true);
  });

  test("have a JSON Schema for every method and event, and none is empty", () => {
    const { definitions } = protocolJsonSchema() as {
      definitions: Record<"method" | "event", { anyOf: { title: string; properties: object }[] }>;
    };
    expect(definitions.method.anyOf.map(({ title }) => title)).toEqual(Object.keys(METHODS));
    expect(definitions.event.anyOf.map(({ title }) => title)).toEqual(Object.keys(EVENT_DATA));
    for (const { properties } of [...definitions.method.anyOf, ...definitions.event.anyOf]) {
      expect(Object.keys(properties).length).toBeGreaterThan(0);
    }
  });

  test("show lines that decode and encode to the same bytes (1)", () => {
    const lines = [...DOCUMENT.matchAll(/^\{"(method|event)".*\}$/gm)];
    expect(lines.length).toBeGreaterThan(40);
    const shown = new Set<string>();
    for (const [line, kind] of lines) {
      if (kind === "method") {
        const decoded = decodeMethod(line);
        expect([line, decoded.ok]).toEqual([line, true]);
        if (!decoded.ok) continue;
        shown.add(decoded.method.method);
        expect(encodeMessage(decoded.method)).toBe(line);
      } else {
        const event = decodeEvent(line);
        expect(event === undefined ? line : encodeMessage(event)).toBe(line);
        shown.add(event?.event ?? "");
      }
    }
    expect([...shown].toSorted()).toEqual(
      [...new Set([...Object.keys(METHODS), ...Object.keys(EVENT_DATA)])].toSorted(),
    );
  });

  test("an input segment of a kind from the future is taken as unknown (2)", () => {
    const line = '{"method":"run","params":{"input":[{"kind":"future_thing","x":1}]}}';
    const decoded = decodeMethod(line);
    expect(decoded.ok && encodeMessage(decoded.method)).toBe(
      '{"method":"run","params":{"input":[{"kind":"unknown"}]}}',
    );
  });
});

describe("a run of plain text, decoded without the schema,", () => {
  const text = { kind: "text", content: "do it" };
  const run = (params: object, more: object = {}) => ({ method: "run", params, ...more });

  test.each([
    [run({ input: [text] })],
    [run({ input: [] }, { id: "i" })],
    [run({ input: [text, { ...text, content: "" }], key: "k" })],
    [run({ input: [text], more: 1 })],
    [run({ input: [{ ...text, more: 1 }] })],
    [run({ input: [text], key: "" })],
    [run({ input: [text], key: "k".repeat(129) })],
    [run({ input: [text] }, { id: 1 })],
    [run({ input: [{ kind: "text" }] })],
    [run({ input: text })],
    [run({ input: Array.from({ length: 1025 }, () => text) })],
    [run([])],
    [run({})],
  ])("is what the schema says: %j", (value) => {
    const decoded = decodeMethod(JSON.stringify(value));
    const parsed = METHODS.run().safeParse(value);
    expect(decoded.ok).toBe(parsed.success);
    if (decoded.ok && parsed.success) expect(decoded.method).toEqual(parsed.data);
  });
});
