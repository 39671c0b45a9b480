/**
 * `pod check`: everything that could stop a Pod from starting in this directory, found without
 * starting one: manifests, scope, model with its key or scenario, prompts, directories. Asks no
 * network.
 */
import { dirname, join } from "node:path";
import { EXIT, messageOf, PodError } from "../base/errors.ts";
import {
  assertSocketPath,
  type BaseDirectories,
  type Environment,
  podPaths,
  requireRuntimeBase,
  requireSessionsDirectory,
  resolveBases,
} from "../base/paths.ts";
import { harmless } from "../base/text.ts";
import { type PromptDirectories, userManifestPath } from "../manifest/discover.ts";
import { type LoadedManifest, type LoadOptions, searchOf } from "../manifest/load.ts";
import { renderProblem } from "../manifest/problem.ts";
import type { Manifest } from "../manifest/schema.ts";
import { readConfigurationFile } from "../manifest/toml.ts";
import { checkRequestOptions, createModel } from "../model/provider.ts";
import { prepareInstruction } from "../prompts/system.ts";
import { canonicalCwd, named } from "../serve/configuration.ts";
import { guardedDirectories, rootScope } from "../serve/root-scope.ts";
import { withFixedPaths } from "../serve/fixed-paths.ts";
import { loadCascade } from "../serve/load-cascade.ts";
import { type PodModels, rootModels } from "../serve/models.ts";
import { librariesOf, prepareCatalog } from "../serve/prompts.ts";
import { requestOptions } from "../serve/request-options.ts";
import { loadOptionsOf, type ManifestOptions, manifestOptionsOf } from "./cascade.ts";
import { type Diagnostic, diagnosticsOf, placed } from "./check-problems.ts";
import { warningsOf } from "./check-warnings.ts";
import { checkDirectory, directoryFacts } from "./doctor/directories.ts";
import type { Streams } from "./output.ts";
import { painterFor } from "./terminal.ts";

/**
 * Prints what is wrong, or that nothing is; with `json` an object with `ok`, `files` and
 * `problems`. The exit code is 1 when something would stop a start.
 */
export async function checkConfig(
  options: ManifestOptions & { readonly json: boolean },
  env: Environment,
  cwd: string,
  { out, err }: Streams,
): Promise<number> {
  const { loaded, found } = await examine(options, env, canonicalCwd(cwd));
  const ok = found.every(({ level }) => level !== "error");
  const files = loaded?.layers.flatMap(({ file }) => file ?? []) ?? [];
  if (options.json) {
    out.write(`${JSON.stringify({ ok, files, problems: found }, null, 2)}\n`);
    return ok ? EXIT.done : EXIT.failed;
  }
  const paint = painterFor(err, env);
  for (const problem of found) {
    const word = paint(problem.level === "error" ? "red" : "yellow", `${problem.level}:`);
    err.write(`${word} ${harmless(renderProblem(problem))}\n`);
  }
  if (ok && loaded !== undefined) {
    const from = files.length === 0 ? "no manifest file, defaults only" : files.join(", ");
    out.write(harmless(`ok: ${summaryOf(loaded.manifest)} (${from})\n`));
  }
  return ok ? EXIT.done : EXIT.failed;
}

function summaryOf({ model, scope, worker }: Manifest): string {
  const id = model.ref ?? [model.scheme, model.model_id].filter((part) => part).join(":");
  return `model ${id}, instruction ${worker.instruction}, ${scope.allow.length} allow and ${scope.deny.length} deny rules`;
}

async function examine(
  options: ManifestOptions,
  env: Environment,
  cwd: string,
): Promise<{ readonly loaded: LoadedManifest | undefined; readonly found: readonly Diagnostic[] }> {
  // What is wrong with the command line itself is no finding.
  manifestOptionsOf(options);
  const found: Diagnostic[] = [];
  const attempt = async (key: string, work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      found.push(...diagnosticsOf(error, key));
    }
  };
  let load: LoadOptions | undefined;
  let loaded: LoadedManifest | undefined;
  await attempt("", async () => {
    load = await loadOptionsOf(options, env, cwd);
    loaded = await loadCascade(load);
  });
  if (load === undefined || loaded === undefined) return { loaded, found };
  const bases = resolveBases(env);
  const { manifest, layers } = loaded;
  await attempt("", () => {
    assertSocketPath(podPaths(requireRuntimeBase(bases), manifest.pod.name).socket);
  });
  found.push(...directoryProblems(bases));
  const bare = { ...manifest, pod: withoutPack(manifest) };
  let fixed: Manifest | undefined;
  await attempt("scope", () => {
    fixed = withFixedPaths({ ...bare, sandbox: { ...manifest.sandbox, write: [] } });
  });
  const { scope } = fixed ?? manifest;
  await attempt("sandbox.write", () => fixed && withFixedPaths({ ...bare, scope }));
  await attempt("scope", () => {
    const guarded = guardedDirectories(
      requireRuntimeBase(bases),
      requireSessionsDirectory(bases, undefined),
      bases,
    );
    rootScope({ manifest, cwd, guarded });
  });
  let models: PodModels | undefined;
  await attempt("model", async () => {
    models = await rootModels(manifest, layers, bases, env);
  });
  for (const [key, model] of [
    ["model", models?.own],
    ["compaction.model", models?.compaction],
  ] as const) {
    if (model === undefined) continue;
    const source = model.scheme === "script" ? "script" : "auth";
    await attempt(key, () => checkRequestOptions(model, requestOptions(manifest)));
    await attempt(`${key}.${source}`, () =>
      createModel(model, { env, podName: manifest.pod.name }),
    );
  }
  await examinePrompts({ ...loaded, manifest: { ...manifest, scope } }, load, attempt);
  found.push(...warningsOf(manifest));
  return { loaded, found: placed(found, loaded) };
}

async function examinePrompts(
  { manifest, prompts, layers }: LoadedManifest,
  load: LoadOptions,
  attempt: (key: string, work: () => unknown) => Promise<void>,
): Promise<void> {
  let readable: Manifest = { ...manifest, pod: withoutPack(manifest) };
  await attempt("pod.prompt_pack", () => {
    if (manifest.pod.prompt_pack === undefined) return;
    const fixed = withFixedPaths({ ...manifest, sandbox: { ...manifest.sandbox, write: [] } });
    const { prompt_pack: pack } = fixed.pod;
    if (pack === undefined) return;
    try {
      readConfigurationFile(pack, "prompt pack", pack);
      readable = fixed;
    } catch (error) {
      throw new PodError("invalid_manifest", messageOf(error), { cause: error });
    }
  });
  // Mistakes in a pack have places of their own, and no key of a manifest is to blame.
  await attempt("", () => prepareCatalog(readable, prompts));
  const { instruction } = manifest.worker;
  await attempt("worker.instruction", async () => {
    try {
      await prepareInstruction(instruction, librariesOf(prompts));
    } catch (error) {
      const root = layers.find(({ kind }) => kind === "project")?.base ?? load.cwd;
      const missing = missingLibrary(instruction, prompts, load, root);
      throw missing === undefined ? error : named(missing, error);
    }
  });
}

function withoutPack({ pod }: Manifest): Manifest["pod"] {
  const { prompt_pack: _, ...rest } = pod;
  return rest;
}

/** Where the texts of the instruction's library would be, when there is no such directory. */
function missingLibrary(
  instruction: string,
  prompts: PromptDirectories,
  load: LoadOptions,
  root: string,
): string | undefined {
  const search = searchOf(load);
  if (instruction.startsWith("$user/") && prompts.user === undefined) {
    const beside = userManifestPath(search)?.path;
    if (beside === undefined) return "$user is the user's, who is left out";
    return `there is no directory ${join(dirname(beside), "prompts")}`;
  }
  if (instruction.startsWith("$workspace/") && prompts.workspace === undefined) {
    if (search.project === false) return "$workspace is the project's, which is left out";
    return `there is no directory ${join(root, ".insomnia", "prompts")}`;
  }
  return undefined;
}

/** What a start would find of the directories that it makes, or takes when they are private. */
function directoryProblems(bases: BaseDirectories): Diagnostic[] {
  const { data, runtime } = bases;
  const wanted = [
    [
      "INSOMNIA_DATA_DIR",
      data === undefined ? undefined : requireSessionsDirectory(bases, undefined),
    ],
    ["INSOMNIA_RUNTIME_DIR", runtime],
  ] as const;
  const me = process.geteuid?.();
  return wanted.flatMap(([variable, path]): Diagnostic[] => {
    if (path === undefined) return [];
    const privacy = "private";
    const it = checkDirectory("", directoryFacts(path), { privacy, variable, me });
    if (it.status !== "problem") return [];
    const message = [it.finding, it.advice].filter((part) => part !== undefined).join("; ");
    return [{ level: "error", code: "insecure_directory", message }];
  });
}
