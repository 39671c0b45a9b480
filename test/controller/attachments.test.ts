import { describe, expect, test } from "bun:test";
import {
  attachmentsFor,
  MAX_ATTACHED_BYTES,
  MAX_ATTACHMENT_BYTES,
  MAX_WARNINGS,
} from "../../src/controller/attachments.ts";
import { messageText } from "../../src/protocol/history.ts";
import type { Segment } from "../../src/protocol/segment.ts";

/** Attachments of an input, with the files given by path. */
async function attach(
  segments: readonly Segment[],
  files: Record<string, string | Uint8Array>,
  signal?: AbortSignal,
) {
  const warnings: string[] = [];
  const read: string[] = [];
  const items = await attachmentsFor(
    segments,
    async (path) => {
      read.push(path);
      const content = files[path];
      if (content === undefined) throw new Error(`file not found: /w/${path}`);
      return typeof content === "string" ? new TextEncoder().encode(content) : content;
    },
    (level, source, message) => warnings.push(`${level} ${source} ${message}`),
    signal,
  );
  const texts = items.map((item) =>
    item.type === "message" ? `${item.role}: ${messageText(item)}` : item.type,
  );
  return { texts, warnings, read };
}

const file = (path: string): Segment => ({ kind: "file_ref", path });

describe("what an input brings along", () => {
  test("is the text of each referenced file, as a system message, in order", async () => {
    const segments: Segment[] = [file("b.txt"), { kind: "text", content: "and" }, file("a.txt")];
    const { texts, warnings } = await attach(segments, { "a.txt": "A\n", "b.txt": "B" });
    expect(texts).toEqual(["system: [File: b.txt]\nB", "system: [File: a.txt]\nA\n"]);
    expect(warnings).toEqual([]);
  });

  test("is nothing for plain text and pasted text", async () => {
    const { texts, read } = await attach(
      [
        { kind: "text", content: "hi @a.txt" },
        { kind: "paste", id: 1, chars: 2, lines: 1, content: "xx" },
      ],
      { "a.txt": "A" },
    );
    expect(texts).toEqual([]);
    expect(read).toEqual([]);
  });

  test("is a warning for a file that cannot be read, and the others all the same", async () => {
    const { texts, warnings } = await attach([file("gone"), file("a.txt")], { "a.txt": "A" });
    expect(texts).toEqual(["system: [File: a.txt]\nA"]);
    expect(warnings).toEqual([
      "warn pod file ref @gone could not be resolved: file not found: /w/gone",
    ]);
  });

  test("is a warning for a file that is not text", async () => {
    const { texts, warnings } = await attach([file("bin")], { bin: new Uint8Array([0x61, 0xff]) });
    expect(texts).toEqual([]);
    expect(warnings).toEqual([
      "warn pod file ref @bin could not be resolved: file is not valid UTF-8 text: bin",
    ]);
  });

  test("is the first 16 KiB of a long file, with its size and where the rest is", async () => {
    expect(MAX_ATTACHMENT_BYTES).toBe(16_384);
    const whole = await attach([file("f")], { f: "x".repeat(MAX_ATTACHMENT_BYTES) });
    expect(whole.texts[0]).toBe(`system: [File: f]\n${"x".repeat(MAX_ATTACHMENT_BYTES)}`);
    const { texts, warnings } = await attach([file("f")], {
      f: "x".repeat(MAX_ATTACHMENT_BYTES + 1),
    });
    expect(texts[0]).toBe(
      `system: [File: f]\n${"x".repeat(MAX_ATTACHMENT_BYTES)}\n` +
        "[...truncated, 16385 bytes total — use Read for the rest]",
    );
    expect(warnings).toEqual([]);
  });

  test("is never cut inside a character (W34)", async () => {
    for (const character of ["ü", "€", "😀"]) {
      for (let shift = 0; shift < 4; shift += 1) {
        const { texts, warnings } = await attach([file("f")], {
          f: "x".repeat(shift) + character.repeat(MAX_ATTACHMENT_BYTES),
        });
        expect(warnings).toEqual([]);
        expect(texts[0]).not.toContain("\uFFFD");
        expect(texts[0]).toContain("[...truncated, ");
      }
    }
  });

  test("is a warning for each reference that has no resolver, in the words of the reference", async () => {
    const { texts, warnings } = await attach(
      [
        { kind: "knowledge_ref", slug: "k" },
        { kind: "workflow_invoke", slug: "w" },
        { kind: "unknown" },
      ],
      {},
    );
    expect(texts).toEqual([]);
    const tail = "(resolver not yet implemented); passed to LLM as placeholder";
    expect(warnings).toEqual([
      `warn pod knowledge ref #k cannot be resolved ${tail}`,
      `warn pod workflow /w cannot be resolved ${tail}`,
      "warn pod received unknown segment kind from a newer client; passed to LLM as placeholder",
    ]);
  });

  test("warns of files first, then of references (spec protocol 7.3)", async () => {
    const { warnings } = await attach([{ kind: "unknown" }, file("gone")], {});
    expect(warnings.map((text) => text.includes("file ref"))).toEqual([true, false]);
  });

  test("is the text after a byte order mark, unchanged", async () => {
    const { texts } = await attach([file("f")], { f: "\uFEFFx" });
    expect(texts[0]).toBe("system: [File: f]\n\uFEFFx");
  });

  test("is bounded for all files together, each is read once, and the rest is said in one warning", async () => {
    const names = Array.from({ length: 200 }, (_, index) => `f${index}`);
    const files = Object.fromEntries(names.map((name) => [name, "x".repeat(MAX_ATTACHMENT_BYTES)]));
    const { texts, warnings, read } = await attach([...names, ...names].map(file), files);
    const fits = MAX_ATTACHED_BYTES / MAX_ATTACHMENT_BYTES;
    expect([texts.length, read.length]).toEqual([fits, fits]);
    expect(warnings).toEqual([
      `warn pod ${200 - fits} referenced file(s) were not read: an input brings at most 1048576 bytes along`,
    ]);
  });

  test("is a few warnings and a count when much cannot be resolved", async () => {
    const { warnings } = await attach(
      Array.from({ length: 1000 }, (_, index) => file(`gone${index}`)),
      {},
    );
    expect(warnings).toHaveLength(MAX_WARNINGS + 1);
    expect(warnings.at(-1)).toBe("warn pod 992 more references could not be resolved");
  });

  test("ends with an abort", async () => {
    const { texts, warnings, read } = await attach(
      [file("a"), file("b")],
      { a: "A", b: "B" },
      AbortSignal.abort(),
    );
    expect([texts, read]).toEqual([[], []]);
    expect(warnings).toEqual([
      "warn pod 2 referenced file(s) were not read: the run was interrupted",
    ]);
  });
});
