/** The options by which `pod config` and `pod check` know which manifests count: those of a Pod process. */
import type { Command } from "commander";

/** As the command line parser gives them. */
export interface ManifestOptions {
  readonly userManifest?: string;
  readonly user: boolean;
  readonly project?: string | false;
  readonly manifest?: string;
  readonly overlay?: string;
  readonly overlayFile?: string;
}

/** Adds the options to a command. */
export function withManifestOptions(command: Command): Command {
  return command
    .option("--manifest <file>", "this file alone, without the user's and the project's")
    .option("--user-manifest <file>", "instead of <config>/manifest.toml")
    .option("--no-user", "without the user's manifest")
    .option("--project <dir>", "where the search for .insomnia/manifest.toml starts")
    .option("--no-project", "without the project's manifest")
    .option("--overlay <toml>", "uppermost layer")
    .option("--overlay-file <file>", "uppermost layer, from a file");
}
