import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  errnoCode,
  exitCodeOf,
  ioError,
  isPodError,
  messageOf,
  PodError,
  renderForTerminal,
} from "../../src/base/errors.ts";

function missingFile(): unknown {
  try {
    return readFileSync("/nonexistent/file");
  } catch (error) {
    return error;
  }
}

describe("a PodError", () => {
  test("carries its kind, message, data and cause", () => {
    const cause = new Error("why");
    const error = new PodError("io", "what", { cause, data: { bytes: 3 } });
    expect([error.code, error.message, error.data, error.cause]).toEqual([
      "io",
      "what",
      { bytes: 3 },
      cause,
    ]);
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe("PodError");
  });

  test("has no cause and empty data when none are given", () => {
    const error = new PodError("internal", "x");
    expect("cause" in error).toBe(false);
    expect(error.data).toEqual({});
  });

  test("is recognised by kind, and by nothing else", () => {
    const error = new PodError("denied", "io");
    expect(isPodError(error)).toBe(true);
    expect(isPodError(error, "io", "denied")).toBe(true);
    expect(isPodError(error, "io")).toBe(false);
    for (const other of [new Error("denied"), { code: "denied" }, "denied", null, undefined]) {
      expect(isPodError(other)).toBe(false);
    }
  });
});

describe("messages", () => {
  test("are one line without a stack, whatever was thrown", () => {
    expect(messageOf(new Error("a\n  b\r\nc "))).toBe("a b c");
    expect(messageOf("text")).toBe("text");
    expect(messageOf(undefined)).toBe("undefined");
    expect(messageOf(new Error(""))).toBe("unknown error");
  });

  test("on the terminal begin with `error:` and hold no stack", () => {
    expect(renderForTerminal(new PodError("usage", "no such option"))).toBe(
      "error: no such option",
    );
    expect(renderForTerminal(new Error("x\n    at y"))).not.toContain("\n");
  });

  test("of the operating system say what was done, to which path, and keep the short name", () => {
    const cause = missingFile();
    const error = ioError("cannot read the manifest", cause);
    expect(error.code).toBe("io");
    expect(error.message).toStartWith("cannot read the manifest: ENOENT");
    expect(error.message).toContain("/nonexistent/file");
    expect(error.data).toEqual({ errno: "ENOENT" });
    expect(error.cause).toBe(cause);
    expect(ioError("x", new Error("y")).data).toEqual({});
  });
});

test("the short name of a failed call is known for system errors only", () => {
  expect(errnoCode(missingFile())).toBe("ENOENT");
  for (const other of [new Error("x"), { code: 5 }, "ENOENT", null, undefined]) {
    expect(errnoCode(other)).toBeUndefined();
  }
});

test("exit codes follow the kind of error", () => {
  expect(exitCodeOf(new PodError("usage", ""))).toBe(2);
  expect(exitCodeOf(new PodError("unknown_pod", ""))).toBe(3);
  expect(exitCodeOf(new PodError("timed_out", ""))).toBe(4);
  expect(exitCodeOf(new PodError("io", ""))).toBe(1);
  expect(exitCodeOf("anything")).toBe(1);
});

test("what reaches the terminal moves no cursor, whoever wrote it", () => {
  const text = "in \u001b]0;PWNED\u0007\u001b[2J\u009b2J\u007f here";
  for (const error of [
    new PodError("invalid_manifest", `${text}\n\tnext`),
    new PodError("io", text),
    new Error(text),
  ]) {
    const shown = renderForTerminal(error);
    expect(shown).toContain("in ]0;PWNED[2J2J here");
    expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  }
  expect(renderForTerminal(new PodError("invalid_manifest", "a;\n\tb"))).toBe("error: a;\n\tb");
});
