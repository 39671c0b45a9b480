/**
 * The commands about configuration: config, check, schema, init. Their code is loaded when they are
 * called. They and `pod run` know which manifests count by the flags of a Pod process.
 */
import type { Command } from "commander";
import type { Environment } from "../base/paths.ts";
import type { ManifestOptions } from "./cascade.ts";
import type { Streams } from "./output.ts";

/** Adds the options that say which manifests count; they become `ManifestOptions`. */
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

/** What the commands work with. */
interface Surroundings {
  readonly env: Environment;
  readonly cwd: string;
  readonly streams: Streams;
}

/** Adds the commands; `done` gets the exit code of the one that ran. */
export function addConfigCommands(
  program: Command,
  { env, cwd, streams }: Surroundings,
  done: (exitCode: number) => void,
): void {
  withManifestOptions(
    program
      .command("config")
      .description("show the manifest after the cascade")
      .option("--show-origin", "one line for each value, with the file and line it is from", false)
      .option("--json", "print JSON", false),
  ).action(async (options: ManifestOptions & { showOrigin: boolean; json: boolean }) => {
    const { configActions } = await import("./config-actions.ts");
    done(await configActions.showConfig(options, env, cwd, streams));
  });

  withManifestOptions(
    program
      .command("check")
      .description(
        "find what would stop a Pod from starting here: manifests, scope, model, prompts",
      )
      .option("--json", "print the problems as JSON", false),
  ).action(async (options: ManifestOptions & { json: boolean }) => {
    const { configActions } = await import("./config-actions.ts");
    done(await configActions.checkConfig(options, env, cwd, streams));
  });

  program
    .command("schema")
    .description("print a JSON Schema, or the names of all")
    .argument("[name]", "for example manifest")
    .action(async (name: string | undefined) => {
      const { configActions } = await import("./config-actions.ts");
      done(configActions.printSchema(name, streams));
    });

  program
    .command("init")
    .description("write a commented .insomnia/manifest.toml for the project you are in")
    .option("--dry-run", "print it instead", false)
    .action(async (options: { dryRun: boolean }) => {
      const { configActions } = await import("./config-actions.ts");
      done(await configActions.initProject(options, env, cwd, streams));
    });
}
