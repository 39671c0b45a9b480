/** Paths that are fixed at the start of a root: links are followed once, and not those of its own commands. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import type { Manifest } from "../../src/manifest/schema.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { withFixedPaths } from "../../src/serve/fixed-paths.ts";
import { temp } from "../support/temp.ts";

function manifestWith(
  root: string,
  write: string[],
  pack?: string,
): Pick<Manifest, "pod" | "scope" | "sandbox"> {
  return {
    pod: { name: "p", ...(pack === undefined ? {} : { prompt_pack: pack }) },
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
    const { sandbox } = withFixedPaths(
      manifestWith(work, [dir.join("cache"), `${dir.join("cache")}/later`, `${work}/target`]),
    );
    expect(sandbox.write).toEqual([real, `${real}/later`, `${work}/target`]);
  });

  test("and the scope itself, but not over a link that a command can have made", async () => {
    await using dir = temp();
    const [work, real] = [dir.join("work"), dir.join("real")];
    for (const path of [work, real]) mkdirSync(path);
    for (const link of [dir.join("mine"), `${work}/theirs`]) symlinkSync(real, link);
    const rule = (target: string, permission: "read" | "write") => ({
      target,
      permission,
      recursive: true,
    });
    const { sandbox, pod, scope } = manifestWith(work, []);
    const fixedWith = (allow: ScopeRule[], deny: ScopeRule[] = []) =>
      withFixedPaths({ pod, sandbox, scope: { allow: [...scope.allow, ...allow], deny } }).scope;
    const mine = dir.join("mine");
    expect(fixedWith([rule(mine, "write")]).allow[1]?.target).toBe(real);
    expect(fixedWith([], [rule(mine, "read")]).deny[0]?.target).toBe(real);
    const theirs = `${work}/theirs`;
    expect(fixedWith([rule(theirs, "read")]).allow[1]?.target).toBe(real);
    const message = `${theirs} is a symbolic link where the pod itself may write`;
    expect(() => fixedWith([rule(theirs, "write")])).toThrow(`scope.allow: ${message}`);
    expect(() => fixedWith([], [rule(theirs, "read")])).toThrow(`scope.deny: ${message}`);
  });

  test("and so is a file with prompt texts", async () => {
    await using dir = temp();
    const work = dir.join("work");
    mkdirSync(work);
    for (const [link, target] of [
      [dir.join("mine.toml"), dir.join("real.toml")],
      [`${work}/theirs.toml`, "/etc/hosts"],
    ] as const) {
      symlinkSync(target, link);
    }
    writeFileSync(dir.join("real.toml"), "");
    const { pod } = withFixedPaths(manifestWith(work, [], dir.join("mine.toml")));
    expect(pod.prompt_pack).toBe(dir.join("real.toml"));
    expect(() => withFixedPaths(manifestWith(work, [], `${work}/theirs.toml`))).toThrow(
      `pod.prompt_pack: ${work}/theirs.toml is a symbolic link where the pod itself may write`,
    );
  });

  test("do not lead over a link where the Pod itself may write, nor over one to nowhere", async () => {
    await using dir = temp();
    const [work, victim] = [dir.join("work"), dir.join("victim")];
    for (const path of [work, victim]) mkdirSync(path);
    symlinkSync(victim, `${work}/target`);
    symlinkSync(dir.join("gone"), dir.join("broken"));
    expect(() => withFixedPaths(manifestWith(work, [`${work}/target`]))).toThrow(
      "target is a symbolic link where the pod itself may write",
    );
    expect(() => withFixedPaths(manifestWith(work, [`${work}/target/deep`]))).toThrow(
      "is a symbolic link where the pod itself may write",
    );
    expect(() => withFixedPaths(manifestWith(work, [dir.join("broken")]))).toThrow(
      "is a broken link",
    );
  });
});
