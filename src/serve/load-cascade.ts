/**
 * The manifests of a start, a check or a look, with the mistakes in the user's catalog files told at the
 * same time. What the catalogs mean is not decided here.
 */
import { isPodError } from "../base/errors.ts";
import { type LoadedManifest, type LoadOptions, loadManifest } from "../manifest/load.ts";
import { ManifestError } from "../manifest/problem.ts";
import { effectiveCatalog } from "./models.ts";

/**
 * `loadManifest`; when that fails, its error holds what is wrong with the catalog files as well, so that
 * nobody is told of it one start later. Broken catalogs alone are no failure here.
 */
export async function loadCascade(options: LoadOptions): Promise<LoadedManifest> {
  try {
    return await loadManifest(options);
  } catch (error) {
    const other = await effectiveCatalog(options.bases).catch((reason: unknown) => reason);
    if (!(error instanceof ManifestError) || !isPodError(other)) throw error;
    const faults = other instanceof ManifestError ? other.faults : [{ problems: [other] }];
    throw new ManifestError([...error.faults, ...faults], error);
  }
}
