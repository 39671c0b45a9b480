/** Schemas that are made when the program is built: each is its tool's own, and of no other tool. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { toolSchemas } from "../../scripts/tool-schemas.ts";
import { listPodsTool, stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../../src/spawn/talk-tools.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { bashTools } from "../../src/tools/shell/bash.ts";
import { FileTracker } from "../../src/tools/tracker.ts";
import { startSpawner } from "../spawn/spawner.ts";
import { tokensOf } from "../support/architecture.ts";

const SRC = join(import.meta.dir, "../../src");

/** Names in the calls of `defineTool` of a source; undefined for a call whose name it does not show. */
function toolNames(source: string): (string | undefined)[] {
  const tokens = tokensOf(source);
  return tokens.flatMap((token, at) => {
    const [called, ...begin] = tokens.slice(at + 1, at + 6);
    const isCall = /^[(<]$/.test(called?.text ?? "") && tokens[at - 1]?.text !== "function";
    if (token.text !== "defineTool" || !isCall) return [];
    const isNamed = begin
      .map(({ text }) => text)
      .join("")
      .startsWith("{name:");
    return [isNamed && begin.at(-1)?.kind === "string" ? begin.at(-1)?.text : undefined];
  });
}

test("the schemas that the built program tells a model are those of its tools, and all of them", async () => {
  await using spawner = await startSpawner();
  const { context, world } = spawner;
  const tools = [
    ...fileTools({ scope: context.scope, cwd: world.work, tracker: new FileTracker() }),
    ...bashTools(() => {
      throw new Error("nothing is called");
    }),
    ...[spawnPodTool, sendToPodTool, readPodOutputTool, stopPodTool, listPodsTool].map((make) =>
      make(context),
    ),
  ];
  const own = Object.fromEntries(tools.map(({ name, inputSchema }) => [name, inputSchema]));
  expect(Object.keys(own).length).toBeGreaterThan(10);
  expect(toolSchemas()).toEqual(own);
});

test("no two tools of the program have one name, by which prepared schemas are found", () => {
  const names = readdirSync(SRC, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) => toolNames(readFileSync(join(SRC, file), "utf8")));
  expect(names).not.toContain(undefined);
  expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  expect(names).toEqual(expect.arrayContaining(Object.keys(toolSchemas())));
});

test("the name of a tool is seen where it is defined, and missed where it is not said there", () => {
  const source = `import { defineTool } from "./tool.ts"; // defineTool({ name: "No" })
    const a = defineTool({ name: "Read", schema }); const b = defineTool(spec);
    const c = [defineTool({ description, name: "Late" }), defineTool({ name: NAME, schema })];`;
  expect(toolNames(source)).toEqual(["Read", undefined, undefined, undefined]);
});
