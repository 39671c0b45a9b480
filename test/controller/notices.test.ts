import { describe, expect, test } from "bun:test";
import { MAX_NOTICES, MAX_REPORTS, type Notice, Notices } from "../../src/controller/notices.ts";

const note = (text: string, wake = true): Notice => ({ text, wake });
const report = (id: string): Notice => ({ id, text: `report ${id}`, wake: true });

function taken(notices: Notices): string[] {
  const texts: string[] = [];
  notices.take((waiting) => texts.push(...waiting.map(({ text }) => text)));
  return texts;
}

describe("the queue of notices", () => {
  test("gives everything at once, oldest first, and is empty then", () => {
    const notices = new Notices();
    notices.add(note("one"));
    notices.add(note("two", false));
    expect(notices.count).toBe(2);
    expect(taken(notices)).toEqual(["one", "two"]);
    expect(taken(notices)).toEqual([]);
    expect(notices.count).toBe(0);
  });

  test("keeps everything when whoever takes it fails (W11)", () => {
    const notices = new Notices();
    notices.add(note("one"));
    const fail = (): never => {
      throw new Error("disk full");
    };
    expect(() => notices.take(fail)).toThrow("disk full");
    expect(taken(notices)).toEqual(["one"]);
  });

  test("is waking while one of those that wait is worth a model call", () => {
    const notices = new Notices();
    expect(notices.waking).toBe(false);
    notices.add(note("bookkeeping", false));
    expect(notices.waking).toBe(false);
    notices.add(note("news"));
    expect(notices.waking).toBe(true);
    taken(notices);
    expect(notices.waking).toBe(false);
  });

  test("holds 128 notes; the oldest go when more come, and that is said (worker 23)", () => {
    const notices = new Notices();
    expect(MAX_NOTICES).toBe(128);
    for (let n = 0; n < MAX_NOTICES; n += 1) expect(notices.add(note(`n${n}`))).toBeUndefined();
    for (let n = 0; n < 5; n += 1) expect(notices.add(note(`late${n}`))?.text).toBe(`n${n}`);
    expect(notices.count).toBe(MAX_NOTICES);
    const texts = taken(notices);
    expect(texts[0]).toBe("n5");
    expect(texts.at(-1)).toBe("late4");
  });

  test("never drops a report for a note, and says when no more should be taken", () => {
    const notices = new Notices();
    for (let n = 0; n < MAX_REPORTS; n += 1) {
      expect(notices.full).toBe(false);
      expect(notices.add(report(`${n}`))).toBeUndefined();
    }
    expect(notices.full).toBe(true);
    for (let n = 0; n < 2 * MAX_NOTICES; n += 1) notices.add(note(`n${n}`));
    const texts = taken(notices);
    expect(texts.filter((text) => text.startsWith("report"))).toHaveLength(MAX_REPORTS);
    expect(texts).toHaveLength(MAX_REPORTS + MAX_NOTICES);
  });

  test("is not waking any more when the only waking one was dropped", () => {
    const notices = new Notices();
    notices.add(note("news"));
    for (let n = 0; n < MAX_NOTICES; n += 1) notices.add(note(`n${n}`, false));
    expect(notices.waking).toBe(false);
  });
});
