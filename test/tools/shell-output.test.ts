/** The collector of a command's output, piece by piece against all at once. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { duplicateOnto } from "../../src/base/libc.ts";
import {
  CommandOutput,
  INLINE_BYTES,
  INLINE_LINES,
  MAX_FILE_BYTES,
} from "../../src/tools/shell/output.ts";
import { temp } from "../support/temp.ts";

function collect(path: string, pieces: readonly Uint8Array[]): CommandOutput {
  const output = new CommandOutput(() => ({ fd: openSync(path, "w"), path }));
  for (const piece of pieces) output.add(piece);
  return output;
}

/** Cuts `bytes` at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((n) => n % (bytes.length + 1)), bytes.length].toSorted(
    (a, b) => a - b,
  );
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const texts = fc
  .array(fc.tuple(fc.constantFrom("x", "é", "日", ""), fc.nat(300)), { maxLength: 200 })
  .map((lines) => lines.map(([letter, count]) => letter.repeat(count)).join("\n"));

describe("an output", () => {
  test.skipIf(process.platform !== "linux")(
    "that could not be filed whole says how much of it is there, and why",
    async () => {
      await using dir = temp();
      const path = dir.join("a");
      let fd = openSync("/dev/full", "w");
      const full = new CommandOutput(() => ({ fd, path: "/dev/full" }));
      full.add(Buffer.from("line\n".repeat(100)));
      expect(full.shown()?.text).toStartWith(
        "[showing last 80 of 100 lines — first 0 bytes at /dev/full (disk full)]",
      );
      expect(full.shownPartial()?.text).toStartWith(
        "[partial output before timeout — first 0 bytes at /dev/full (disk full)]",
      );
      expect(full.where).toBe("first 0 bytes at /dev/full (disk full)");
      full.close();

      // The first piece arrives, the second does not, a third would again.
      fd = openSync(path, "w");
      const torn = new CommandOutput(() => ({ fd, path }));
      torn.add(Buffer.from("1\n".repeat(100)));
      const elsewhere = openSync("/dev/full", "w");
      expect(duplicateOnto(fd, 200)).toBe(true);
      expect(duplicateOnto(elsewhere, fd)).toBe(true);
      torn.add(Buffer.from("2\n"));
      expect(duplicateOnto(200, fd)).toBe(true);
      torn.add(Buffer.from("3\n"));
      expect(readFileSync(path, "utf8")).toBe("1\n".repeat(100));
      torn.close();
      for (const open of [elsewhere, 200]) closeSync(open);
    },
  );

  test("is shown and filed the same however it comes", async () => {
    await using dir = temp();
    fc.assert(
      fc.property(texts, fc.array(fc.nat(), { maxLength: 8 }), (text, places) => {
        const bytes = Buffer.from(text);
        const path = dir.join("a");
        const output = collect(path, cut(bytes, places));
        const whole = collect(dir.join("a"), [bytes]);
        expect(output.shown()).toEqual(whole.shown());
        expect([output.bytes, output.lines]).toEqual([whole.bytes, whole.lines]);
        const lines = text === "" ? 0 : text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
        expect(output.lines).toBe(lines);
        const fits = bytes.length <= INLINE_BYTES && lines <= INLINE_LINES;
        expect(output.path === undefined).toBe(fits);
        if (fits) expect(output.shown()?.text ?? "").toBe(text);
        else expect(readFileSync(path, "utf8")).toBe(text);
        for (const each of [output, whole]) each.close();
      }),
      { numRuns: 150 },
    );
  });

  test("that is cut shows an end of itself, at most what fits, in whole lines and characters", async () => {
    await using dir = temp();
    fc.assert(
      fc.property(texts, (text) => {
        const output = collect(dir.join("a"), [Buffer.from(text)]);
        output.close();
        if (output.path === undefined) return;
        const shown = output.shown()?.text ?? "";
        const tail = shown.slice(shown.indexOf("\n") + 1);
        expect(text.endsWith(tail)).toBe(true);
        expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(INLINE_BYTES);
        const count = tail.split("\n").length - (tail.endsWith("\n") ? 1 : 0);
        expect(count).toBeLessThanOrEqual(INLINE_LINES);
        if (count > 1) expect(text[text.length - tail.length - 1]).toBe("\n");
        expect(shown).toMatch(
          new RegExp(`^\\[showing last ${count} of ${output.lines} lines — full`),
        );
      }),
      { numRuns: 150 },
    );
  });

  test("without end fills its file up to a limit, and says so", async () => {
    await using dir = temp();
    const path = dir.join("a");
    const piece = Buffer.alloc(1024 * 1024, "0123456\n");
    const pieces = MAX_FILE_BYTES / piece.length + 1;
    const output = collect(
      path,
      Array.from({ length: pieces }, () => piece),
    );
    output.add(Buffer.from("last\n"));
    output.close();
    expect(statSync(path).size).toBe(MAX_FILE_BYTES);
    const shown = output.shown()?.text ?? "";
    expect(shown).toStartWith(
      `[showing last 80 lines (tail of ${pieces * piece.length + 5}-byte output) — ` +
        `first ${MAX_FILE_BYTES} bytes at ${path}]\n`,
    );
    expect(shown).toEndWith("0123456\nlast\n");
  });

  test("whose file cannot be made is shown all the same, with the reason", () => {
    const output = new CommandOutput(() => {
      throw new Error("no space left on device");
    });
    output.add(Buffer.from("1\n".repeat(100)));
    expect(output.shown()?.text).toStartWith(
      "[showing last 80 of 100 lines — the rest is lost: no space left on device]\n1\n",
    );
    output.close();
  });

  test("read in parts is whole, and says what it leaves out", async () => {
    await using dir = temp();
    const output = collect(dir.join("a"), [Buffer.from("ab")]);
    expect(output.since(0)).toEqual({ text: "ab", skipped: 0 });
    output.add(Buffer.from("cd"));
    expect(output.since(2)).toEqual({ text: "cd", skipped: 0 });
    expect(output.since(4)).toEqual({ text: "", skipped: 0 });
    output.add(Buffer.from("é".repeat(INLINE_BYTES)));
    const { text, skipped } = output.since(4);
    expect(Buffer.byteLength(text) + skipped).toBe(2 * INLINE_BYTES);
    expect(text).not.toContain("\uFFFD");
    output.close();
  });
});
