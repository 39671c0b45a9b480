import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { loadManifest } from "../../src/manifest/load.ts";
import { originsOf } from "../../src/manifest/origins.ts";
import { temp } from "../support/temp.ts";

/** `key: source:line` of every value of a cascade with these layers. */
async function placesOf(user: string, project: string, overlay?: string): Promise<string[]> {
  await using dir = temp();
  mkdirSync(dir.join("p", ".insomnia"), { recursive: true });
  mkdirSync(dir.join("c"));
  writeFileSync(dir.join("c", "manifest.toml"), user);
  writeFileSync(dir.join("p", ".insomnia", "manifest.toml"), project);
  const loaded = await loadManifest({
    cwd: dir.join("p"),
    bases: { config: dir.join("c") },
    overlay,
  });
  return originsOf(loaded).map(({ key, source, line }) => `${key}: ${source}:${line ?? "-"}`);
}

test("every value names the layer and line that gave it", async () => {
  const places = await placesOf(
    '[pod]\nname = "a"\n[worker]\nmax_turns = 1\ntemperature = 0.5\n[[scope.allow]]\ntarget = "/u"\npermission = "read"\n',
    '[worker]\nmax_turns = 2\nstop_sequences = ["a", "b"]\n[[scope.allow]]\ntarget = "."\npermission = "write"\n',
    'pod.name = "b"\n\nworker.tool_output.per_tool = { Read = 5 }',
  );
  expect(places).toEqual([
    "pod.name: overlay:1",
    "worker.max_turns: project:2",
    "worker.temperature: user:5",
    "worker.instruction: default:-",
    "worker.stop_sequences: project:3",
    "worker.tool_output.default_max_bytes: builtin:-",
    "worker.tool_output.per_tool.Read: overlay:3",
    "scope.allow[0].target: user:7",
    "scope.allow[0].permission: user:8",
    "scope.allow[0].recursive: default:-",
    "scope.allow[1].target: project:5",
    "scope.allow[1].permission: project:6",
    "scope.allow[1].recursive: default:-",
    "scope.deny: default:-",
    "limits.max_depth: default:-",
    "limits.max_children: default:-",
    "limits.ready_timeout_ms: default:-",
    "sandbox.mode: default:-",
    "sandbox.write: default:-",
    "sandbox.network: default:-",
    "sandbox.local_sockets: default:-",
    "sandbox.env: default:-",
  ]);
});

test("a layer that says which model it is leaves nothing of the one below, in the origins too", async () => {
  const places = await placesOf(
    '[pod]\nname = "a"\n[model]\nref = "a/b"\nbase_url = "https://x"\n[scope]\nallow = [{ target = "/u", permission = "read" }]',
    '[model]\nref = "c/d"\n[scope]\ninherit = false\nallow = [{ target = ".", permission = "read" }]',
  );
  expect(places.filter((place) => /^(model|scope)/.test(place))).toEqual([
    "model.ref: project:2",
    "scope.allow[0].target: project:5",
    "scope.allow[0].permission: project:5",
    "scope.allow[0].recursive: default:-",
    "scope.deny: default:-",
  ]);
});

test("what a layer leaves to the default does not come from one of its lines", async () => {
  const capability =
    '{ tool_calling = "none", structured_output = "none", prompt_caching = { kind = "auto" } }';
  const places = await placesOf(
    `[pod]\nname = "a"\n[model]\nref = "a/b"\ncapability = ${capability}\n`,
    '[scope]\nallow = [{ target = ".", permission = "read", recursive = false }]\n' +
      '[[scope.deny]]\ntarget = "x"\npermission = "read"\n',
  );
  expect(places.filter((place) => /vision|recursive|kind/.test(place))).toEqual([
    "model.capability.vision: default:-",
    "model.capability.prompt_caching.kind: user:5",
    "scope.allow[0].recursive: project:2",
    "scope.deny[0].recursive: default:-",
  ]);
});

test("twenty thousand rules are placed at once", async () => {
  const rule = (_: unknown, index: number) => `{target="${index}",permission="read"},\n`;
  const started = performance.now();
  const places = await placesOf(
    '[pod]\nname = "a"\n',
    `scope.allow = [\n${Array.from({ length: 20_000 }, rule).join("")}]\n`,
  );
  expect(places).toContain("scope.allow[19999].target: project:20001");
  expect(performance.now() - started).toBeLessThan(10_000);
});
