/**
 * `pod check`: everything that could stop a Pod from starting in this directory, found without
 * starting one: manifests, scope, model with its key or scenario, prompts, directories. Asks no
 * network.
 */
import { lstatSync } from "node:fs";
import { EXIT, isPodError, messageOf } from "../base/errors.ts";
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
import { type LoadedManifest, loadManifest } from "../manifest/load.ts";
import { type Origin, originsOf } from "../manifest/origins.ts";
import { ManifestError, type Problem, renderProblem } from "../manifest/problem.ts";
import type { Manifest } from "../manifest/schema.ts";
import { overlaps } from "../scope/set.ts";
import { canonicalCwd, guardedDirectories, modelFor, rootScope } from "../serve/configuration.ts";
import { prepareInstruction } from "../prompts/system.ts";
import { effectiveCatalog, type PodModels, rootModels } from "../serve/models.ts";
import { librariesOf, prepareCatalog } from "../serve/prompts.ts";
import { loadOptionsOf, type ManifestOptions } from "./cascade.ts";
import { checkDirectory, directoryFacts } from "./doctor/directories.ts";
import type { Streams } from "./output.ts";
import { painterFor } from "./terminal.ts";

/** One thing found; `error` means that a Pod would not start. */
interface Diagnostic extends Problem {
  readonly level: "error" | "warning";
  readonly code: string;
}

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
): Promise<{ readonly loaded: LoadedManifest | undefined; readonly found: Diagnostic[] }> {
  const found: Diagnostic[] = [];
  const attempt = async (key: string, work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      found.push(...diagnosticsOf(error, key));
    }
  };
  let loaded: LoadedManifest | undefined;
  await attempt("", async () => {
    loaded = await loadManifest(loadOptionsOf(options, env, cwd));
  });
  const bases = resolveBases(env);
  if (loaded === undefined) {
    await attempt("model", () => effectiveCatalog(bases));
    return { loaded, found };
  }
  const { manifest, prompts } = loaded;
  await attempt("", () => {
    assertSocketPath(podPaths(requireRuntimeBase(bases), manifest.pod.name).socket);
  });
  found.push(...directoryProblems(bases));
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
    models = await rootModels(manifest, loaded?.layers ?? [], bases, env);
    await modelFor(models.own, manifest, env);
  });
  await attempt("compaction.model", async () => {
    if (models?.compaction !== undefined) await modelFor(models.compaction, manifest, env);
  });
  await attempt("pod.prompt_pack", () => prepareCatalog(manifest, prompts));
  await attempt("worker.instruction", () =>
    prepareInstruction(manifest.worker.instruction, librariesOf(prompts)),
  );
  found.push(...warningsOf(manifest));
  return { loaded, found: placed(found, loaded) };
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

function diagnosticsOf(error: unknown, key: string): Diagnostic[] {
  const code = isPodError(error) ? error.code : "internal";
  const keyed = key === "" ? {} : { key };
  if (error instanceof ManifestError) {
    return error.faults.flatMap(({ prefix, problems }) =>
      problems.map((problem): Diagnostic => {
        // A file's own problems have their place; others need to say what could not be done.
        const message =
          problem.file === undefined && prefix !== undefined
            ? `${prefix}: ${problem.message}`
            : problem.message;
        return {
          level: "error",
          code,
          ...(prefix === undefined ? keyed : {}),
          ...problem,
          message,
        };
      }),
    );
  }
  return [{ level: "error", code, ...keyed, message: messageOf(error) }];
}

/** What is legal and hardly meant. */
function warningsOf({ scope, compaction }: Manifest): Diagnostic[] {
  const warnings: Diagnostic[] = [];
  const warn = (key: string, message: string): void =>
    void warnings.push({ level: "warning", code: "doubtful", key, message });
  for (const [index, rule] of scope.allow.entries()) {
    if (lstatSync(rule.target, { throwIfNoEntry: false }) === undefined) {
      warn(`scope.allow[${index}].target`, `${rule.target} does not exist yet`);
    }
  }
  for (const [index, rule] of scope.deny.entries()) {
    // One of reading hides contents from commands wherever they lie.
    if (rule.permission === "write" && !scope.allow.some((allow) => overlaps(rule, allow))) {
      warn(`scope.deny[${index}]`, `${rule.target} is not allowed anyway: the rule has no effect`);
    }
  }
  const { compact_threshold: after, compact_request_threshold: before } = compaction ?? {};
  if (after !== undefined && before !== undefined && after > before) {
    warn("compaction.compact_threshold", "is above compact_request_threshold, which acts first");
  }
  return warnings;
}

/** Problems with the file and line of their key, as far as a layer has it. */
function placed(found: readonly Diagnostic[], loaded: LoadedManifest): Diagnostic[] {
  const origins = originsOf(loaded);
  return found.map((problem) => {
    const { key, file } = problem;
    if (key === undefined || file !== undefined) return problem;
    // A list of plain values has one place for all of its elements.
    const list = key.replace(/\[\d+\]$/, "");
    const origin = origins.find(
      (entry) =>
        entry.key === key ||
        entry.key === list ||
        (entry.key.startsWith(key) && entry.line !== undefined),
    );
    return origin?.line === undefined ? problem : { ...place(origin), ...problem };
  });
}

function place({ file, line }: Origin): Pick<Problem, "file" | "line"> {
  return { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) };
}
