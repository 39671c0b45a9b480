import { expect, test } from "bun:test";
import fc from "fast-check";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { ContentPrinter } from "../../src/tools/grep-content.ts";
import { matchingLines } from "../../src/tools/grep-match.ts";
import { portionsOf } from "../../src/tools/grep-text.ts";
import { Pace } from "../../src/tools/pace.ts";
import { Regex } from "../../src/tools/regex.ts";
import { temp } from "../support/temp.ts";

const pace = new Pace(new AbortController().signal);

/** Grep's content output of one file, read in portions of `size` bytes. */
async function show(
  path: string,
  size: number,
  before: number,
  after: number,
): Promise<readonly string[]> {
  const lines: string[] = [];
  const options = { numbers: true, before, after };
  const printer = new ContentPrinter("f", options, (line) => lines.push(line));
  const regex = new Regex("m", { ignoreCase: false, multiline: false });
  const fd = openSync(path, "r");
  try {
    const cut = { whole: false, overlap: before };
    for await (const portion of portionsOf(fd, Buffer.alloc(size), cut, pace)) {
      printer.enter(portion);
      const spans = matchingLines(regex, portion.text, portion.fresh, false, pace);
      for await (const span of spans) printer.match(span);
    }
  } finally {
    closeSync(fd);
  }
  printer.finish();
  return lines;
}

/** The same, worked out line by line. */
function expected(content: string, before: number, after: number): string[] {
  const lines = content.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.flatMap((line, index) => {
    if (line.includes("m")) return [`f:${index + 1}:${line}`];
    const around = lines.slice(Math.max(0, index - after), index + before + 1);
    return around.some((other) => other.includes("m")) ? [`f-${index + 1}-${line}`] : [];
  });
}

test("the output does not depend on where a file is cut into portions", async () => {
  await using dir = temp();
  const path = dir.join("f");
  const text = fc.string({ unit: fc.constantFrom("\n", "\n", "m", "é", "x", "😀"), maxLength: 60 });
  const few = fc.integer({ min: 0, max: 4 });
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.integer({ min: 1, max: 24 }),
      few,
      few,
      async (content, size, b, a) => {
        writeFileSync(path, content);
        expect(await show(path, size, b, a)).toEqual(expected(content, b, a));
      },
    ),
    { numRuns: 1500 },
  );
});

test("a line that runs into a late NUL is not shown, whatever the portions", async () => {
  await using dir = temp();
  const path = dir.join("f");
  writeFileSync(path, `m\n${"x\n".repeat(40_000)}m is torn\0m\nm\n`);
  for (const size of [1024 * 1024, 65_536, 80_005]) {
    expect(await show(path, size, 0, 0)).toEqual(["f:1:m"]);
  }
});
