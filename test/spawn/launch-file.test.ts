import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import { VERSION } from "../../src/base/version.ts";
import { type LaunchFile, takeLaunchFile, writeLaunchFile } from "../../src/spawn/launch-file.ts";
import { temp } from "../support/temp.ts";

const CONTENT: LaunchFile = {
  version: 1,
  program: VERSION,
  name: "child",
  instance: "child-1",
  prompts: { packs: [] },
  secrets: ["KEY"],
  manifest: { pod: { name: "child" } },
  store: "/sessions",
  parent: { name: "root", lineage: "l" },
};

describe("a launch file", () => {
  test("comes as it was written, and is gone then", async () => {
    await using directory = temp();
    const path = directory.join("launch.json");
    writeLaunchFile(path, CONTENT);
    expect(takeLaunchFile(path)).toEqual(CONTENT);
    expect(existsSync(path)).toBe(false);
  });

  test.each([
    ["of another version of the program is completed", { program: "0", secrets: undefined }, true],
    ["of another version with a hole in it is refused", { program: "0", store: undefined }, false],
    ["of another form is refused", { version: 2 }, false],
  ])("%s", async (_, change, ok) => {
    await using directory = temp();
    const path = directory.join("launch.json");
    writeFileSync(path, JSON.stringify({ ...CONTENT, ...change }));
    try {
      expect(takeLaunchFile(path)).toEqual({ ...CONTENT, program: "0", secrets: [] });
      expect(ok).toBe(true);
    } catch (error) {
      expect([ok, isPodError(error, "invalid_argument")]).toEqual([false, true]);
    }
  });
});
