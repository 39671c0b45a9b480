import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { ToolOutputFiles } from "../../src/serve/tool-output.ts";
import { LiveScope } from "../../src/tools/live-scope.ts";
import { temp } from "../support/temp.ts";

const OWN = { target: "/p", permission: "write", recursive: true } as const;

test("a whole output becomes a private file that the tools may read and not write", async () => {
  await using dir = temp();
  const scope = new LiveScope({ allow: [OWN], deny: [] });
  const files = new ToolOutputFiles(dir.path, scope);
  expect(existsSync(dir.join("tool-output"))).toBe(false);
  const path = files.keep("all of it") ?? "";
  expect(readFileSync(path, "utf8")).toBe("all of it");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(scope.accessTo(path)).toBe("read");
  expect(scope.own().allow).toEqual([OWN]);
});

test("only so many are kept, the newest, and none larger than the limit", async () => {
  await using dir = temp();
  const files = new ToolOutputFiles(dir.path, new LiveScope({ allow: [OWN], deny: [] }));
  const paths = Array.from({ length: 70 }, (_, index) => files.keep(`${index}`) ?? "");
  expect(paths.map((path) => existsSync(path)).indexOf(true)).toBe(6);
  const huge = files.keep("x".repeat(17 * 1024 * 1024)) ?? "";
  expect(statSync(huge).size).toBeLessThan(16 * 1024 * 1024 + 100);
  expect(readFileSync(huge, "utf8")).toEndWith("more bytes were not kept]\n");
});

test("what cannot be written is not promised", async () => {
  const files = new ToolOutputFiles("/proc/nowhere", new LiveScope({ allow: [OWN], deny: [] }));
  expect(files.keep("x")).toBeUndefined();
});
