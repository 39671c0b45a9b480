import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isPodError, PodError, type ErrorKind } from "../../src/base/errors.ts";
import * as paths from "../../src/base/paths.ts";
import { printable } from "../../src/base/text.ts";
import { temp } from "../support/temp.ts";

const { resolveBases } = paths;

/** The error that `run` throws, checked to be of one kind. */
function refusal(run: () => unknown, kind: ErrorKind): string {
  try {
    run();
  } catch (error) {
    if (isPodError(error, kind)) return error.message;
    throw error;
  }
  throw new Error(`expected a refusal of kind ${kind}`);
}

describe("base directories", () => {
  test("come from HOME alone (1)", () => {
    expect(resolveBases({ HOME: "/h" })).toEqual({
      config: "/h/.config/insomnia",
      data: "/h/.insomnia",
      runtime: "/h/.insomnia/run",
    });
  });

  test("come from INSOMNIA_HOME before the XDG variables (2)", () => {
    const env = {
      INSOMNIA_HOME: "/s",
      XDG_CONFIG_HOME: "/x",
      XDG_RUNTIME_DIR: "/y",
      HOME: "/h",
    };
    expect(resolveBases(env)).toEqual({ config: "/s/config", data: "/s", runtime: "/s/run" });
  });

  test("come verbatim from the variable of their own before everything else (3)", () => {
    const env = {
      INSOMNIA_HOME: "/s",
      INSOMNIA_CONFIG_DIR: "/c",
      INSOMNIA_DATA_DIR: "/d",
      INSOMNIA_RUNTIME_DIR: "/r",
    };
    expect(resolveBases({ INSOMNIA_HOME: "/s", INSOMNIA_CONFIG_DIR: "/c" }).config).toBe("/c");
    expect(resolveBases(env)).toEqual({ config: "/c", data: "/d", runtime: "/r" });
  });

  test("come from XDG variables before HOME, data excepted", () => {
    expect(resolveBases({ XDG_CONFIG_HOME: "/x", XDG_RUNTIME_DIR: "/y", HOME: "/h" })).toEqual({
      config: "/x/insomnia",
      data: "/h/.insomnia",
      runtime: "/y/insomnia",
    });
  });

  test("treat an empty variable as unset (4)", () => {
    expect(resolveBases({ XDG_CONFIG_HOME: "", HOME: "/h" }).config).toBe("/h/.config/insomnia");
  });

  test("are missing without any variable, and asking for them names the variables (5)", () => {
    const bases = resolveBases({});
    expect(bases).toEqual({ config: undefined, data: undefined, runtime: undefined });
    expect(refusal(() => paths.requireRuntimeBase(bases), "invalid_argument")).toBe(
      "could not resolve runtime directory (set INSOMNIA_HOME, INSOMNIA_RUNTIME_DIR, XDG_RUNTIME_DIR, or HOME)",
    );
    expect(
      refusal(() => paths.requireSessionsDirectory(bases, undefined), "invalid_argument"),
    ).toBe(
      "could not resolve sessions directory (set --store, INSOMNIA_HOME, INSOMNIA_DATA_DIR, or HOME)",
    );
    expect(paths.requireSessionsDirectory(bases, "/store")).toBe("/store");
    expect(paths.requireSessionsDirectory(resolveBases({ HOME: "/h" }), undefined)).toBe(
      "/h/.insomnia/sessions",
    );
  });

  test.each(["INSOMNIA_RUNTIME_DIR", "INSOMNIA_HOME", "XDG_RUNTIME_DIR", "HOME"])(
    "are refused when %s is relative (6)",
    (name) => {
      expect(refusal(() => resolveBases({ [name]: "run" }), "invalid_argument")).toBe(
        `${name} must be an absolute path, not "run"`,
      );
    },
  );
});

describe("pod names", () => {
  test.each(["a", "worker-1", "A.b_c", "9", "a".repeat(64), "pods", "podsx.json"])(
    "may be %s",
    (name) => {
      expect(paths.isPodName(name)).toBe(true);
      expect(() => paths.assertPodName(name)).not.toThrow();
    },
  );

  test.each([
    "",
    ".",
    "..",
    "../x",
    "/abs",
    "a/b",
    "a\nb",
    "a\n",
    "pods.json",
    "pods.lock",
    "Pods.JSON",
    ".hidden",
    "-flag",
    "ä",
    "a b",
    "a\0",
    "a".repeat(65),
  ])("may not be %j (61)", (name) => {
    expect(paths.isPodName(name)).toBe(false);
    refusal(() => paths.podPaths("/run", name), "invalid_argument");
  });

  test("are quoted in a message without control characters and without end", () => {
    const message = refusal(() => paths.assertPodName("a\n\u001b[2J"), "invalid_argument");
    expect(message).toContain("`a\\n\\u001b[2J`");
    expect(printable("x".repeat(100))).toBe(`${"x".repeat(80)}…`);
  });

  test("lead to paths below the Pod's directory", () => {
    const pod = paths.podPaths("/run", "a");
    expect(pod.socket).toBe("/run/a/sock");
    expect(pod.status).toBe("/run/a/status.json");
    expect(Object.values(pod).every((path) => path.startsWith("/run/a"))).toBe(true);
  });
});

describe("socket paths", () => {
  const limit = paths.MAX_SOCKET_PATH_BYTES;

  test("may be as long as the kernel takes, in bytes", () => {
    expect(() => paths.assertSocketPath(`/${"x".repeat(limit - 1)}`)).not.toThrow();
  });

  test("are refused beyond that, with both numbers and the way out (62)", () => {
    const path = `/${"é".repeat(Math.ceil(limit / 2))}`;
    const message = refusal(() => paths.assertSocketPath(path), "path_too_long");
    expect(message).toContain(`${Buffer.byteLength(path)} bytes, limit is ${limit}`);
    expect(message).toContain("INSOMNIA_RUNTIME_DIR");
  });

  test("of the longest length can be bound, and one byte more cannot", async () => {
    await using dir = temp();
    const bind = (length: number): void => {
      const path = join(dir.path, "x".repeat(length - Buffer.byteLength(dir.path) - 1));
      Bun.listen({ unix: path, socket: { data() {} } }).stop(true);
    };
    expect(() => bind(limit)).not.toThrow();
    expect(() => bind(limit + 1)).toThrow();
  });
});

describe("a private directory", () => {
  test("is made with its parents, closed to others under any umask", async () => {
    await using dir = temp();
    const before = process.umask(0);
    try {
      paths.ensurePrivateDirectory(dir.join("a", "b"));
    } finally {
      process.umask(before);
    }
    for (const path of [dir.join("a"), dir.join("a", "b")]) {
      expect(statSync(path).mode & 0o777).toBe(0o700);
    }
    expect(() => paths.ensurePrivateDirectory(dir.join("a", "b"))).not.toThrow();
  });

  test("is refused when others may look into it, with the command that mends it", async () => {
    await using dir = temp();
    mkdirSync(dir.join("open"));
    chmodSync(dir.join("open"), 0o750);
    const check = (): void => paths.ensurePrivateDirectory(dir.join("open"));
    expect(refusal(check, "insecure_directory")).toBe(
      `${dir.join("open")} is open to other users (mode 0750); run: chmod 700 ${dir.join("open")}`,
    );
    expect(statSync(dir.join("open")).mode & 0o777).toBe(0o750); // judged, not changed
  });

  test.skipIf(process.geteuid?.() !== 0)("is refused when it belongs to someone else", async () => {
    await using dir = temp();
    mkdirSync(dir.join("theirs"), { mode: 0o700 });
    chownSync(dir.join("theirs"), 12345, 12345);
    const check = (): void => paths.ensurePrivateDirectory(dir.join("theirs"));
    expect(refusal(check, "insecure_directory")).toContain("belongs to user 12345, not to you");
  });

  test("is refused when something else has its name", async () => {
    await using dir = temp();
    writeFileSync(dir.join("file"), "");
    const check = (): void => paths.ensurePrivateDirectory(dir.join("file"));
    expect(check).toThrow(PodError);
    expect(check).toThrow(dir.join("file"));
  });

  test("may be reached through a link, and what the link leads to is judged", async () => {
    await using dir = temp();
    mkdirSync(dir.join("open"));
    chmodSync(dir.join("open"), 0o755);
    mkdirSync(dir.join("closed"), { mode: 0o700 });
    symlinkSync(dir.join("open"), dir.join("to-open"));
    symlinkSync(dir.join("closed"), dir.join("to-closed"));
    expect(() => paths.ensurePrivateDirectory(dir.join("to-closed"))).not.toThrow();
    refusal(() => paths.ensurePrivateDirectory(dir.join("to-open")), "insecure_directory");
  });
});

test("a path exists unless the system says that it does not", async () => {
  await using dir = temp();
  writeFileSync(dir.join("file"), "");
  expect(paths.pathExists(dir.path)).toBe(true);
  expect(paths.pathExists(dir.join("missing"))).toBe(false);
  // Not "missing" but "not a directory": something is in the way.
  expect(paths.pathExists(dir.join("file", "below"))).toBe(true);
});
