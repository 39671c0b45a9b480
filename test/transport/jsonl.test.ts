import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Event } from "../../src/protocol/event.ts";
import {
  type DecodedLine,
  encodeEvent,
  encodeLine,
  LineDecoder,
  MAX_LINE_BYTES,
} from "../../src/transport/jsonl.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const line = (text: string): DecodedLine => ({ kind: "line", text });
const tooLong: DecodedLine = { kind: "bad", reason: "too_long" };
const invalid: DecodedLine = { kind: "bad", reason: "invalid_utf8" };

/** Decodes `data` cut at the given offsets. */
function decode(data: Uint8Array, cuts: readonly number[] = [], maxBytes?: number): DecodedLine[] {
  const decoder = new LineDecoder(maxBytes);
  const points = [...new Set(cuts.map((cut) => cut % (data.length + 1)))].sort((a, b) => a - b);
  const lines: DecodedLine[] = [];
  let start = 0;
  for (const point of [...points, data.length]) {
    lines.push(...decoder.push(data.slice(start, point)));
    start = point;
  }
  return [...lines, ...decoder.finish()];
}

const cutsOf = fc.array(fc.nat({ max: 100_000 }), { maxLength: 40 });
const WHITE = [" ", "\t", "\r", "\v", "\f"];

describe("line decoder", () => {
  test("any lines in any chunks come out as the same lines", () => {
    const text = fc
      .string({ unit: "binary", maxLength: 60 })
      .map((s) => s.toWellFormed().replaceAll("\n", ""));
    const padding = fc.array(fc.constantFrom(...WHITE), { maxLength: 3 }).map((a) => a.join(""));
    const padded = fc.tuple(padding, text, padding);
    fc.assert(
      fc.property(fc.array(padded), cutsOf, fc.boolean(), (lines, cuts, ended) => {
        const data = lines.map((parts) => parts.join("")).join("\n") + (ended ? "\n" : "");
        const expected = lines
          .map((parts) => parts.join("").replace(/^[ \t\r\v\f]+|[ \t\r\v\f]+$/g, ""))
          .filter((s) => s !== "")
          .map(line);
        expect(decode(bytesOf(data), cuts)).toEqual(expected);
      }),
    );
  });

  test("any bytes decode the same in one piece, byte by byte and in any chunks, within a limit", () => {
    const bytes = fc
      .array(fc.oneof(fc.constant(0x0a), fc.constant(0x20), fc.nat({ max: 255 })), {
        maxLength: 200,
      })
      .map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(bytes, cutsOf, fc.nat({ max: 30 }), (data, cuts, limit) => {
        const whole = decode(data, [], limit);
        expect(decode(data, [...data.keys()], limit)).toEqual(whole);
        expect(decode(data, cuts, limit)).toEqual(whole);
      }),
    );
  });

  test("a character split between chunks survives", () => {
    const data = bytesOf("«𝕡𝕠𝕕»\n");
    for (let cut = 0; cut <= data.length; cut += 1) {
      expect(decode(data, [cut])).toEqual([line("«𝕡𝕠𝕕»")]);
    }
  });

  test("carriage returns, blanks and blank lines vanish", () => {
    expect(decode(bytesOf("\r\n  a\r\n\n \t \n b b \n"))).toEqual([line("a"), line("b b")]);
  });

  test("a byte-order mark is not white space", () => {
    expect(decode(bytesOf("\uFEFF{}\n"))).toEqual([line("\uFEFF{}")]);
  });

  test("a last line without line end is complete when the stream ends", () => {
    const decoder = new LineDecoder();
    expect(decoder.push(bytesOf("a\nb"))).toEqual([line("a")]);
    expect(decoder.finish()).toEqual([line("b")]);
    expect(decoder.finish()).toEqual([]);
  });

  test("invalid UTF-8 spoils its own line only", () => {
    const data = Buffer.concat([bytesOf("a\n"), Uint8Array.of(0x61, 0xff), bytesOf("\nb\n")]);
    expect(decode(data)).toEqual([line("a"), invalid, line("b")]);
    expect(decode(Uint8Array.of(0xe2, 0x82))).toEqual([invalid]);
  });

  test("a line of exactly the limit passes, one byte more does not", () => {
    expect(decode(bytesOf(`${"x".repeat(10)}\nok\n`), [], 10)).toEqual([
      line("x".repeat(10)),
      line("ok"),
    ]);
    expect(decode(bytesOf(`${"x".repeat(11)}\nok\n`), [], 10)).toEqual([tooLong, line("ok")]);
  });

  test("an endless line is reported once, when the limit is passed, and skipped", () => {
    const decoder = new LineDecoder(1000);
    const chunk = bytesOf("x".repeat(100));
    const reports: number[] = [];
    for (let i = 1; i <= 10_000; i += 1) {
      if (decoder.push(chunk).length > 0) reports.push(i);
    }
    expect(reports).toEqual([11]);
    expect(decoder.push(bytesOf("tail\nnext\n"))).toEqual([line("next")]);
    expect(decoder.finish()).toEqual([]);
  });

  test("a stream that ends inside a skipped line has nothing more to say", () => {
    const decoder = new LineDecoder(3);
    expect(decoder.push(bytesOf("abcdef"))).toEqual([tooLong]);
    expect(decoder.finish()).toEqual([]);
    expect(decoder.push(bytesOf("ok\n"))).toEqual([line("ok")]);
  });

  test("a chunk may be overwritten by its owner after push", () => {
    const decoder = new LineDecoder();
    const chunk = bytesOf("part");
    decoder.push(chunk);
    chunk.fill(0x7a);
    expect(decoder.push(bytesOf("ial\n"))).toEqual([line("partial")]);
  });

  test("the longest line in 64-byte chunks costs linear time", () => {
    const decoder = new LineDecoder();
    const chunk = new Uint8Array(64).fill(0x78);
    const start = performance.now();
    for (let size = 0; size < MAX_LINE_BYTES; size += chunk.length) decoder.push(chunk);
    const lines = decoder.push(bytesOf("\n"));
    expect(lines.map((l) => (l.kind === "line" ? l.text.length : l))).toEqual([MAX_LINE_BYTES]);
    // Copying the whole line for every chunk would move 2 TiB; this takes a fraction of a second.
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe("line encoder", () => {
  test("any message is one line that decodes to itself", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), cutsOf, (message, cuts) => {
        const bytes = encodeLine(message);
        expect(bytes.indexOf(0x0a)).toBe(bytes.length - 1);
        expect(decode(bytes, cuts)).toEqual([line(JSON.stringify(message))]);
      }),
    );
  });

  test("a lone surrogate becomes a replacement character", () => {
    expect(decode(encodeLine({ a: "x\ud800y" }))).toEqual([line('{"a":"x\uFFFDy"}')]);
  });
});

test("an event that fits no line is replaced by an error that says which and how long", () => {
  const event: Event = { event: "text_delta", data: { text: "x".repeat(1000) } };
  expect(encodeEvent(event)).toEqual(encodeLine(event));
  expect(new TextDecoder().decode(encodeEvent(event, 100))).toBe(
    '{"event":"error","data":{"code":"internal","message":' +
      '"event `text_delta` of 1041 bytes does not fit into a line"}}\n',
  );
});
