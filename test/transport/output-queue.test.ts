import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { OutputQueue } from "../../src/transport/output-queue.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);

/** A socket that takes as many bytes per write as `room` says, then nothing. */
function socket(room: () => number) {
  const taken: Uint8Array[] = [];
  return {
    writes: 0,
    write(data: Uint8Array): number {
      this.writes += 1;
      const count = Math.min(room(), data.length);
      if (count > 0) taken.push(data.slice(0, count));
      return count;
    },
    text: () => Buffer.concat(taken).toString(),
  };
}

describe("output queue", () => {
  test("what goes in comes out in order, whatever the kernel takes at a time", () => {
    const lines = fc.array(fc.string({ unit: "grapheme", minLength: 1 }), { maxLength: 50 });
    fc.assert(
      fc.property(lines, fc.array(fc.nat({ max: 20 }), { minLength: 1 }), (texts, rooms) => {
        let turn = 0;
        const sink = socket(() => rooms[turn++ % rooms.length] ?? 0);
        const queue = new OutputQueue(sink, 1 << 20);
        for (const [i, text] of texts.entries()) {
          expect(queue.push(bytes(text))).toBe(true);
          if (i % 3 === 0) queue.flush();
        }
        if (rooms.some((room) => room > 0)) {
          while (queue.flush() !== "empty") continue;
          expect(sink.text()).toBe(texts.join(""));
          expect(queue.empty).toBe(true);
        }
      }),
    );
  });

  test("many small lines become few writes", () => {
    const sink = socket(() => Number.POSITIVE_INFINITY);
    const queue = new OutputQueue(sink, 1 << 20);
    for (let i = 0; i < 1000; i += 1) queue.push(bytes("x\n"));
    expect(queue.flush()).toBe("empty");
    expect(sink.writes).toBe(1);
  });

  test("the bound holds for big lines and for tiny ones", () => {
    const full = (size: number): number => {
      const queue = new OutputQueue(
        socket(() => 0),
        10_000,
      );
      let count = 0;
      while (queue.push(bytes("x".repeat(size)))) {
        count += 1;
        queue.flush();
      }
      return count;
    };
    expect(full(4000)).toBe(2);
    expect(full(1)).toBeLessThan(10_000);
  });

  test("one line above the bound passes when nothing else waits", () => {
    const queue = new OutputQueue(
      socket(() => 0),
      10,
    );
    expect(queue.push(bytes("x".repeat(100)))).toBe(true);
    expect(queue.push(bytes("y"))).toBe(false);
  });

  test("room that was written is free again", () => {
    const queue = new OutputQueue(
      socket(() => 1 << 20),
      1000,
    );
    for (let i = 0; i < 1000; i += 1) {
      expect(queue.push(bytes("x".repeat(500)))).toBe(true);
      expect(queue.flush()).toBe("empty");
    }
  });

  test("after a broken write everything vanishes without a further write", () => {
    const sink = socket(() => -1);
    const queue = new OutputQueue(sink, 1000);
    queue.push(bytes("a"));
    expect(queue.flush()).toBe("broken");
    expect(queue.push(bytes("b"))).toBe(true);
    expect(queue.flush()).toBe("broken");
    expect(queue.empty).toBe(true);
    expect(sink.writes).toBe(1);
  });
});
