import { expect, test } from "bun:test";
import { toolSchemas } from "../../scripts/tool-schemas.ts";
import { listPodsTool, stopPodTool } from "../../src/spawn/control-tools.ts";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { readPodOutputTool, sendToPodTool } from "../../src/spawn/talk-tools.ts";
import { fileTools } from "../../src/tools/file-tools.ts";
import { bashTools } from "../../src/tools/shell/bash.ts";
import { FileTracker } from "../../src/tools/tracker.ts";
import { startSpawner } from "../spawn/spawner.ts";

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
