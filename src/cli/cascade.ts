/** From the options of `pod config`, `pod check` and `pod run` to the cascade they speak of. */
import type { Environment } from "../base/paths.ts";
import type { LoadOptions } from "../manifest/load.ts";
import { withPipedOverlay } from "../manifest/pipe.ts";
import { loadOptions } from "../serve/configuration.ts";
import { runFallback } from "./run-defaults.ts";
import { manifestFlags } from "./serve-command.ts";

/** As the command line parser gives them. */
export interface ManifestOptions {
  readonly userManifest?: string;
  readonly user: boolean;
  readonly project?: string | false;
  readonly manifest?: string;
  readonly overlay?: string;
  readonly overlayFile?: string;
}

/** The same as flags of a Pod process. Throws `usage` for options that exclude each other. */
export function manifestOptionsOf(options: ManifestOptions): ReturnType<typeof manifestFlags> {
  const { userManifest, user, project, manifest, overlay, overlayFile } = options;
  const flags = new Map<string, string>();
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) flags.set(name, value);
  };
  set("user-manifest", userManifest);
  set("manifest", manifest);
  set("overlay", overlay);
  set("overlay-file", overlayFile);
  if (!user) flags.set("no-user", "");
  if (project === false) flags.set("no-project", "");
  else set("project", project);
  return manifestFlags(flags);
}

/** The same with an overlay that comes in a pipe, which can be read once. */
export async function readOptions(
  options: ManifestOptions,
  cwd: string,
): Promise<ReturnType<typeof manifestFlags>> {
  return await withPipedOverlay(manifestOptionsOf(options), cwd);
}

/**
 * What to load. Like `pod run`, and unlike a bare `pod`, it goes on where no layer names the Pod, the
 * model or a path. Throws `usage` for options that exclude each other.
 */
export async function loadOptionsOf(
  options: ManifestOptions,
  env: Environment,
  cwd: string,
): Promise<LoadOptions> {
  const fallback = runFallback(cwd);
  return loadOptions({ ...(await readOptions(options, cwd)), fallback }, env, cwd);
}
