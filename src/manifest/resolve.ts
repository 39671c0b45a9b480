/**
 * From merged layers to the manifest the program works with: required fields, absolute paths, then
 * defaults. All failures are collected in the order of spec manifest 2.4. Pure; loads no TOML parser.
 */
import { dottedKey, findingsOf } from "./issues.ts";
import { relativePaths } from "./paths.ts";
import { ManifestError, type Problem } from "./problem.ts";
import { type Manifest, type ManifestLayer, manifestSchema, PATH_KEYS } from "./schema.ts";

/** The manifest of merged layers; `ManifestError` with `failed to resolve manifest config: …`. */
export function resolveManifest(merged: ManifestLayer): Manifest {
  const prefix = "failed to resolve manifest config";
  const { inherit: _, ...scope } = merged.scope ?? {};
  const problems = [
    ...(merged.pod?.name === undefined ? [missing("pod.name")] : []),
    ...pathProblems(merged, ["pod", "model"]),
    ...((scope.allow?.length ?? 0) === 0 ? [missing("scope.allow")] : []),
    ...pathProblems(merged, ["scope", "compaction", "sandbox"]),
  ];
  if (problems.length > 0) throw new ManifestError([{ prefix, problems }]);
  return checkManifest({ ...merged, scope }, prefix);
}

/** Checks data that should be a whole manifest and fills defaults; `ManifestError` names every key. */
export function checkManifest(value: unknown, prefix: string): Manifest {
  const parsed = manifestSchema().safeParse(value);
  const problems = parsed.success
    ? pathProblems(parsed.data, ["pod", "model", "scope", "compaction", "sandbox"])
    : findingsOf(parsed.error).map(({ path, message }) => ({ key: dottedKey(path), message }));
  if (parsed.success && problems.length === 0) return parsed.data;
  throw new ManifestError([{ prefix, problems }], parsed.error);
}

const missing = (field: string): Problem => ({ message: `missing required field: ${field}` });

function pathProblems(data: unknown, sections: readonly string[]): Problem[] {
  return PATH_KEYS.filter(([section = ""]) => sections.includes(section)).flatMap((key) => {
    const name = key.filter((part) => part !== "*").join(".");
    return relativePaths(data, key).map((path) => ({
      message: `path must be absolute (${name}): ${path}`,
    }));
  });
}
