import { expect, test } from "bun:test";
import { join } from "node:path";
import { guardedDirectories } from "../../src/serve/root-scope.ts";

test("a Pod that runs from source guards what its next processes would run", () => {
  const guarded = guardedDirectories("/run", "/sessions", { config: "/config", data: "/data" });
  expect(guarded).toEqual([
    "/run",
    "/sessions",
    "/config",
    "/data/rooms",
    join(import.meta.dir, "../.."),
  ]);
});
