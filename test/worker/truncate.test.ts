import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { outputLimit, truncateOutput, truncationAlert } from "../../src/worker/truncate.ts";

const MARKER = /\n\n\[truncated: (\d+) bytes dropped, refine your query\]$/;

describe("truncated output", () => {
  test("fits the limit and says how many bytes are gone (16)", () => {
    const cut = truncateOutput("x".repeat(1000), 200);
    const dropped = Number(MARKER.exec(cut?.text ?? "")?.[1]);
    const kept = (cut?.text ?? "").replace(MARKER, "").length;
    expect(kept).toBe(200 - 68);
    expect(kept + dropped).toBe(1000);
    expect(cut?.after).toBe(Buffer.byteLength(cut?.text ?? ""));
    expect(cut?.after).toBeLessThanOrEqual(200);
  });

  test("is left alone at exactly the limit (17)", () => {
    expect(truncateOutput("x".repeat(200), 200)).toBeUndefined();
    expect(truncateOutput("x".repeat(201), 200)).toBeDefined();
    expect(truncateOutput("日".repeat(100), 300)).toBeUndefined();
    expect(truncateOutput("", 0)).toBeUndefined();
  });

  test("is cut between characters (18)", () => {
    const cut = truncateOutput("é".repeat(200), 201);
    const kept = (cut?.text ?? "").replace(MARKER, "");
    expect(kept).toBe("é".repeat(66)); // 133 bytes of room, one less than a character
    expect(cut?.before).toBe(400);
  });

  test("is the marker alone below 68 bytes (1.8: limit 40 gives 51 bytes)", () => {
    expect(truncateOutput("x".repeat(1000), 40)).toMatchObject({ before: 1000, after: 52 });
    expect(truncateOutput("x".repeat(999), 40)?.after).toBe(51);
  });

  test("of any text is whole characters within the limit, and the numbers add up", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 300 }),
        fc.integer({ min: 68, max: 400 }),
        (text, limit) => {
          const cut = truncateOutput(text, limit);
          const bytes = Buffer.byteLength(text);
          if (cut === undefined) return expect(bytes).toBeLessThanOrEqual(limit);
          const kept = cut.text.replace(MARKER, "");
          expect(text.startsWith(kept)).toBe(true);
          expect(Buffer.byteLength(cut.text)).toBeLessThanOrEqual(limit);
          expect(Buffer.byteLength(kept) + Number(MARKER.exec(cut.text)?.[1])).toBe(bytes);
        },
      ),
    );
  });
});

describe("the limit", () => {
  test("of a tool wins over the default (19)", () => {
    const limits = { defaultMaxBytes: 1024, perTool: { Read: 4096 } };
    expect(outputLimit(limits, "Read")).toBe(4096);
    expect(outputLimit(limits, "Grep")).toBe(1024);
    expect(outputLimit(limits, "constructor")).toBe(1024);
  });

  test("is named in the warning (1.8)", () => {
    expect(truncationAlert("Read", { text: "", before: 9, after: 5 }, 5)).toBe(
      "tool `Read` output truncated from 9 to 5 bytes (limit 5)",
    );
  });
});

describe("output whose end matters", () => {
  test("keeps its tail, between characters, with the number of bytes before it", () => {
    const cut = truncateOutput(`${"é".repeat(200)}END`, 201, "tail");
    const [, dropped = "", tail = ""] =
      /^\[truncated: (\d+) bytes dropped before this\]\n\n(.*)$/s.exec(cut?.text ?? "") ?? [];
    expect(tail).toBe(`${"é".repeat(65)}END`);
    expect(Buffer.byteLength(tail) + Number(dropped)).toBe(403);
    expect(Buffer.byteLength(cut?.text ?? "")).toBeLessThanOrEqual(201);
    expect(cut?.after).toBe(Buffer.byteLength(cut?.text ?? ""));
  });
});
