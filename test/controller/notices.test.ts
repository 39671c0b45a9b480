import { describe, expect, test } from "bun:test";
import { MAX_NOTICES, Notices } from "../../src/controller/notices.ts";

describe("the queue of notices", () => {
  test("gives everything at once, oldest first, and is empty then", () => {
    const notices = new Notices();
    notices.add("one", true);
    notices.add("two", false);
    expect(notices.count).toBe(2);
    expect(notices.take()).toEqual(["one", "two"]);
    expect(notices.take()).toEqual([]);
    expect(notices.count).toBe(0);
  });

  test("is waking while one of those that wait is worth a model call", () => {
    const notices = new Notices();
    expect(notices.waking).toBe(false);
    notices.add("bookkeeping", false);
    expect(notices.waking).toBe(false);
    notices.add("news", true);
    expect(notices.waking).toBe(true);
    notices.take();
    expect(notices.waking).toBe(false);
  });

  test("holds 128; the oldest goes when one more comes, and that is said", () => {
    const notices = new Notices();
    expect(MAX_NOTICES).toBe(128);
    for (let n = 0; n < MAX_NOTICES; n += 1) expect(notices.add(`n${n}`, true)).toBe(false);
    expect(notices.add("last", true)).toBe(true);
    expect(notices.count).toBe(MAX_NOTICES);
    const texts = notices.take();
    expect(texts[0]).toBe("n1");
    expect(texts.at(-1)).toBe("last");
  });

  test("is not waking any more when the only waking one was dropped", () => {
    const notices = new Notices();
    notices.add("news", true);
    for (let n = 0; n < MAX_NOTICES; n += 1) notices.add(`n${n}`, false);
    expect(notices.waking).toBe(false);
  });
});
