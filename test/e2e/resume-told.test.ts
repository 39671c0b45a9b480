/** What `pod resume` says of a tree: who did not come back, whoever it is, and who did. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { startWorld } from "../support/pod.ts";
import { killAll, startTree } from "./returning.ts";

test("a grandchild that cannot come back is named as well, each time", async () => {
  await using world = startWorld();
  await startTree(world);
  await killAll(world);
  rmSync(join(world.work, "a/b"), { recursive: true });
  // At first the child between them comes back just now, then it lives already.
  for (const _ of [1, 2]) {
    const resumed = await world.cli("resume", "root", "--tree");
    expect(resumed.stderr).toMatch(
      /not all came back: pod `mid`: pod `leaf` \(session [0-9a-f-]+\): its working directory \S+ is gone/,
    );
    expect([resumed.stdout, resumed.code]).toEqual([expect.stringContaining("with mid\n"), 1]);
    expect(world.allocation("mid")?.delegated_from).toBe("root");
  }
});
