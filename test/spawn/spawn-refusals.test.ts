/** SpawnPod: what is refused, with which words, and that nothing is changed then. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { spawnPodTool } from "../../src/spawn/spawn-pod.ts";
import { fakeChild, grant, rule, startSpawner, type TestSpawner } from "./spawner.ts";
import { POLITE, refuses, spawn } from "./spawning.ts";

describe("a refused SpawnPod changes nothing", () => {
  let spawner: TestSpawner;
  let scope: object[];
  beforeAll(async () => {
    spawner = await startSpawner();
    scope = [grant(spawner.directory("src"))];
  });
  afterAll(async () => await spawner[Symbol.asyncDispose]());

  const refused = (input: object, ...parts: string[]) =>
    refuses(spawner, { name: "coder", task: "t", scope, ...input }, ...parts);

  const names = [
    "",
    ".",
    "..",
    "../x",
    "/abs",
    "a/b",
    "a\nb",
    "a\tb",
    "a\0b",
    "-a",
    ".a",
    "ü",
    " a",
  ];
  for (const name of [...names, "a".repeat(65), "pods.json", "pods.lock", "Pods.json"]) {
    test(`for the name ${JSON.stringify(name.slice(0, 20))} (61, W34)`, async () => {
      await refused({ name }, "Invalid argument: invalid pod name `");
    });
  }

  test("and shows an invalid name without its control characters", async () => {
    const outcome = await spawn(spawner, { name: "a\nb\0\u001b[31m", task: "t", scope });
    expect(outcome.summary).toContain("invalid pod name `a\\nb\\u0000\\u001b[31m`");
  });

  test("for the spawner's own name, no scope, and a relative target (59)", async () => {
    const own = "Invalid argument: spawned pod name `root` collides with spawner's own name";
    await refused({ name: "root" }, own);
    await refused({ scope: [] }, "Invalid argument: scope must not be empty");
    const relative = "Invalid argument: scope.target must be absolute: src/x";
    await refused({ scope: [...scope, grant("src/x"), grant("y")] }, relative);
  });

  test("for input that does not fit the schema, naming the field (59)", async () => {
    const invalid = "Tool execution failed: Invalid argument: invalid SpawnPod input: ";
    await refused({ name: undefined }, `${invalid}missing field \`name\``);
    await refused({ task: 7 }, `${invalid}task: `);
    await refused({ scope: "all" }, `${invalid}scope: `);
    await refused(
      { scope: [{ target: "/x", permission: "execute" }] },
      `${invalid}scope.0.permission`,
    );
    await refused(
      { scope: [{ permission: "read" }] },
      `${invalid}missing field \`scope.0.target\``,
    );
    await refused({ scope: [{ ...grant("/x"), recursive: "yes" }] }, `${invalid}scope.0.recursive`);
    for (const input of [null, "text", 7, []]) {
      const outcome = await spawner.call(spawnPodTool(spawner.context), input);
      expect(outcome.summary).toStartWith(invalid);
    }
  });

  test("for a scope outside the spawner's (60)", async () => {
    const { home } = spawner.world;
    const text = `requested scope \`${home}\` is not within spawner \`root\`'s effective scope`;
    await refused({ scope: [grant(home, "read")] }, `Invalid argument: ${text}`);
    await refused({ scope: [...scope, grant("/etc")] }, "is not within spawner `root`'s");
    expect(spawner.access(join(spawner.world.work, "f"))).toBe("write");
  });

  test("for a target that leaves the scope by `..` or through a link (63, W20, W21)", async () => {
    const { work, home } = spawner.world;
    await refused(
      { scope: [grant(`${work}/../etc`)] },
      "Invalid argument: scope.target cannot be resolved",
    );
    mkdirSync(join(home, "other"));
    symlinkSync(join(home, "other"), join(work, "l"));
    await refused({ scope: [grant(join(work, "l"))] }, "is not within spawner `root`'s");
    await refused({ scope: [grant(join(work, "l", "deep/er"))] }, "is not within spawner `root`'s");
    symlinkSync("loop", join(work, "loop"));
    await refused(
      { scope: [grant(`${work}/\0`)] },
      "Invalid argument: scope.target cannot be resolved",
    );
  });

  test("for a rule that the spawner itself is denied", async () => {
    await using strict = await startSpawner({
      scope: ({ work }) => ({ allow: [rule(work)], deny: [rule(join(work, "secret"), "read")] }),
    });
    const target = join(strict.world.work, "secret", "x");
    const text = `requested scope \`${target}\` is denied for spawner \`root\` by rule`;
    await refuses(strict, { name: "coder", task: "t", scope: [grant(target, "read")] }, text);
  });

  test("for a registry that cannot be used", async () => {
    const context = { ...spawner.context, self: { ...spawner.context.self, instance: "other" } };
    const before = spawner.snapshot();
    const input = { name: "coder", task: "t", scope };
    const outcome = await spawner.call(spawnPodTool(context), input);
    expect(outcome.summary).toContain("Invalid argument: pod `root` is not registered");
    expect(spawner.snapshot()).toEqual(before);
  });
});

describe("limits", () => {
  test("refuse a socket path that does not fit, with both numbers (62, W35)", async () => {
    await using spawner = await startSpawner({ runtimeName: "r".repeat(60) });
    const scope = [grant(spawner.directory("src"))];
    const name = "n".repeat(60);
    const bytes = join(spawner.world.runtime, name, "sock").length;
    expect(bytes).toBeGreaterThan(107);
    const text = `Invalid argument: socket path is ${bytes} bytes, limit is 107: `;
    await refuses(spawner, { name, task: "t", scope }, text);
  });

  test("refuse one child too many, naming the limit (77, W46)", async () => {
    await using spawner = await startSpawner({ command: fakeChild(...POLITE), maxChildren: 1 });
    const input = (name: string) => ({ name, task: "t", scope: [grant(spawner.directory(name))] });
    expect((await spawn(spawner, input("a"))).isError).toBe(false);
    const text = "Invalid argument: too many live child pods (1, limit 1, [limits] max_children)";
    await refuses(spawner, input("b"), text);
  });

  test("refuse a child too deep, naming the limit (77, W46)", async () => {
    await using root = await startSpawner();
    const target = root.directory("a");
    await using child = await startSpawner({
      name: "a",
      parent: { spawner: root, target },
      maxDepth: 1,
    });
    const text = "pod `a` is at depth 1; children may be at most 1 levels below their root";
    await refuses(child, { name: "b", task: "t", scope: [grant(target)] }, text);
  });
});

describe("the model of a child", () => {
  const REF = "openai/gpt-5-mini";

  test("may be chosen among those that the manifest allows", async () => {
    await using spawner = await startSpawner({ models: [REF, "a/b"] });
    const chosen: unknown[] = [];
    const context: typeof spawner.context = {
      ...spawner.context,
      command: fakeChild(...POLITE),
      childManifest: (child) => {
        chosen.push(child.model);
        return spawner.context.childManifest(child);
      },
    };
    const call = (name: string, model?: string) =>
      spawner.call(spawnPodTool(context), {
        name,
        task: "go",
        scope: [grant(spawner.directory(name))],
        ...(model === undefined ? {} : { model }),
      });
    expect((await call("cheap", REF)).isError).toBe(false);
    expect((await call("same")).isError).toBe(false);
    expect(chosen).toEqual([
      expect.objectContaining({ model_id: REF }),
      expect.not.objectContaining({ model_id: expect.anything() }),
    ]);
  });

  test("that is not allowed is refused with what is", async () => {
    await using spawner = await startSpawner({ models: [REF, "a/b"] });
    const input = { name: "x", task: "t", scope: [grant(spawner.directory("src"))], model: "c/d" };
    await refuses(
      spawner,
      input,
      `model \`c/d\` must not be used for a child; allowed: ${REF}, a/b (limits.child_models)`,
      "leave `model` out to use your own",
    );
  });

  test("is the spawner's when the manifest allows no other", async () => {
    await using spawner = await startSpawner();
    const input = { name: "x", task: "t", scope: [grant(spawner.directory("src"))], model: REF };
    await refuses(spawner, input, "the manifest allows none (limits.child_models)");
  });
});
