import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseArguments } from "../../src/worker/arguments.ts";

describe("argument text", () => {
  test("of any object comes back as that object, and its text is stable (1.1)", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (input) => {
        const parsed = parseArguments(JSON.stringify(input, null, 2));
        if (!parsed.ok) throw new Error(parsed.reason);
        expect(JSON.parse(parsed.text)).toEqual(JSON.parse(JSON.stringify(input)));
        expect(parseArguments(parsed.text)).toEqual(parsed);
      }),
    );
  });

  test("that is broken is quoted from its beginning, whole characters only (W12)", () => {
    const parsed = parseArguments(`{"a": "${"😀".repeat(500)}`);
    const quoted = parsed.ok ? "" : (parsed.reason.split("received: ")[1] ?? "");
    expect(quoted).toStartWith('{"a": "😀');
    expect([...quoted]).toHaveLength(201);
    expect(quoted.isWellFormed()).toBe(true);
    expect(quoted).toEndWith("😀…");
  });

  test("never throws, whatever it is", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseArguments(text)));
  });
});
