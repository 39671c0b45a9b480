import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseLayer } from "../../src/manifest/layer.ts";
import { mergeLayers } from "../../src/manifest/merge.ts";
import { ManifestError } from "../../src/manifest/problem.ts";
import { parseResolvedManifest, renderManifest } from "../../src/manifest/render.ts";
import { resolveManifest } from "../../src/manifest/resolve.ts";
import { layers } from "./arbitrary.ts";

const REQUIRED = {
  pod: { name: "a" },
  scope: { allow: [{ target: "/p", permission: "read" as const, recursive: true }] },
};
const manifests = layers.map((layer) => resolveManifest(mergeLayers(layer, REQUIRED)));

test("a rendered manifest, loaded as a layer, resolves to itself", async () => {
  await fc.assert(
    fc.asyncProperty(manifests, async (manifest) => {
      const layer = await parseLayer(await renderManifest(manifest), { base: "/elsewhere" });
      expect(resolveManifest(layer)).toEqual(manifest);
    }),
  );
});

test("a manifest handed over as JSON is the same manifest", () => {
  fc.assert(
    fc.property(manifests, (manifest) => {
      expect(parseResolvedManifest(JSON.parse(JSON.stringify(manifest)))).toEqual(manifest);
    }),
  );
});

test("the rendered form is TOML as a person would write it", async () => {
  expect(await renderManifest(resolveManifest(REQUIRED))).toBe(`[pod]
name = "a"

[model]

[worker]
instruction = "$insomnia/default"
stop_sequences = []

[worker.tool_output]
default_max_bytes = 16384

[worker.tool_output.per_tool]

[scope]
deny = []

[[scope.allow]]
target = "/p"
permission = "read"
recursive = true

[limits]
max_depth = 4
max_children = 16
ready_timeout_ms = 10000

[sandbox]
mode = "enforce"
write = []
network = "allow"
local_sockets = "deny"
env = []
`);
});

describe("a manifest handed over as JSON", () => {
  const valid = resolveManifest(REQUIRED);
  const cases: [unknown, string][] = [
    [null, "expected a table, found null"],
    ["", "expected a table, found a string"],
    [{ ...valid, extra: 1 }, "extra: unknown key"],
    [{ ...valid, pod: {} }, "pod.name: is required (a string)"],
    [{ ...valid, pod: { name: "../x" } }, "pod.name: invalid pod name `../x`"],
    [{ ...valid, scope: { allow: [] } }, "scope.allow: must be at least 1 long"],
    [{ ...valid, scope: { ...valid.scope, inherit: false } }, "scope.inherit: unknown key"],
    [
      { ...valid, pod: { name: "a", prompt_pack: "rel" } },
      "path must be absolute (pod.prompt_pack): rel",
    ],
    [
      { ...valid, model: { auth: { kind: "api_key", file: "rel" } } },
      "path must be absolute (model.auth.file): rel",
    ],
    [
      { ...valid, model: { scheme: "script", script: "rel" } },
      "path must be absolute (model.script): rel",
    ],
    [
      { ...valid, scope: { allow: [{ target: "rel", permission: "read" }] } },
      "path must be absolute (scope.allow.target): rel",
    ],
    [
      { ...valid, scope: { ...valid.scope, deny: [{ target: "rel", permission: "read" }] } },
      "path must be absolute (scope.deny.target): rel",
    ],
    [
      { ...valid, compaction: { model: { auth: { kind: "api_key", file: "rel" } } } },
      "path must be absolute (compaction.model.auth.file): rel",
    ],
  ];
  test.each(cases)("%j is refused: %s", (value, problem) => {
    expect(() => parseResolvedManifest(value)).toThrow(ManifestError);
    expect(() => parseResolvedManifest(value)).toThrow(
      `failed to parse resolved manifest: ${problem}`,
    );
  });

  test("is read without loading a TOML parser", async () => {
    const script = `
      const { parseResolvedManifest } = await import("./src/manifest/render.ts");
      const { findPromptDirectories } = await import("./src/manifest/discover.ts");
      parseResolvedManifest(${JSON.stringify(valid)});
      findPromptDirectories({ cwd: "/", bases: { config: undefined } });
      const count = () => Object.keys(require.cache).filter((p) => p.includes("smol-toml")).length;
      const before = count();
      await import("smol-toml");
      console.log(before, count() > 0);
    `;
    const child = Bun.spawn([process.execPath, "-e", script], {
      cwd: `${import.meta.dir}/../..`,
      stdout: "pipe",
    });
    expect(await new Response(child.stdout).text()).toBe("0 true\n");
    expect(await child.exited).toBe(0);
  });
});

test("path checks come in the order of the specification", () => {
  const rule = (target: string) => ({ target, permission: "read" as const, recursive: true });
  const merged = {
    pod: { prompt_pack: "p" },
    model: { auth: { kind: "api_key" as const, file: "k" } },
    scope: { deny: [rule("d")] },
    compaction: { model: { auth: { kind: "api_key" as const, file: "c" } } },
  };
  expect(() => resolveManifest(merged)).toThrow(
    "failed to resolve manifest config: " +
      [
        "missing required field: pod.name",
        "path must be absolute (pod.prompt_pack): p",
        "path must be absolute (model.auth.file): k",
        "missing required field: scope.allow",
        "path must be absolute (scope.deny.target): d",
        "path must be absolute (compaction.model.auth.file): c",
      ].join(";\n"),
  );
});
