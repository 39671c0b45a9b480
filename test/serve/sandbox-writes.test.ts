/** `[sandbox] write` at the start of a root: links are followed once, and not those of its own commands. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import type { Manifest } from "../../src/manifest/schema.ts";
import { withFixedWrites } from "../../src/serve/sandbox-writes.ts";
import { temp } from "../support/temp.ts";

function manifestWith(root: string, write: string[]): Pick<Manifest, "scope" | "sandbox"> {
  return {
    scope: { allow: [{ target: root, permission: "write", recursive: true }], deny: [] },
    sandbox: { mode: "enforce", write, network: "allow", local_sockets: "deny", env: [] },
  };
}

describe("places beside the scope", () => {
  test("are resolved when the root starts", async () => {
    await using dir = temp();
    const [work, real] = [dir.join("work"), dir.join("real")];
    for (const path of [work, real]) mkdirSync(path);
    symlinkSync(real, dir.join("cache"));
    const { sandbox } = withFixedWrites(
      manifestWith(work, [dir.join("cache"), `${dir.join("cache")}/later`, `${work}/target`]),
    );
    expect(sandbox.write).toEqual([real, `${real}/later`, `${work}/target`]);
  });

  test("do not lead over a link where the Pod itself may write, nor over one to nowhere", async () => {
    await using dir = temp();
    const [work, victim] = [dir.join("work"), dir.join("victim")];
    for (const path of [work, victim]) mkdirSync(path);
    symlinkSync(victim, `${work}/target`);
    symlinkSync(dir.join("gone"), dir.join("broken"));
    expect(() => withFixedWrites(manifestWith(work, [`${work}/target`]))).toThrow(
      "target is a symbolic link where the pod itself may write",
    );
    expect(() => withFixedWrites(manifestWith(work, [`${work}/target/deep`]))).toThrow(
      "is a symbolic link where the pod itself may write",
    );
    expect(() => withFixedWrites(manifestWith(work, [dir.join("broken")]))).toThrow(
      "is a broken link",
    );
  });
});
