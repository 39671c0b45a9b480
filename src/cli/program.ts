/**
 * The commands for people: names, options and help in one table; each command's code is loaded when
 * it is called. Children never come here.
 */
import { Command, CommanderError } from "commander";
import { EXIT, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { VERSION } from "../base/version.ts";
import { addConfigCommands } from "./config-commands.ts";
import { openStreams } from "./output.ts";

const POD_PROCESS_HELP = `
Without a command, \`pod\` is one Pod process, configured by manifests and these flags:
  --manifest PATH         this file alone, without the user's and the project's
  --user-manifest PATH    instead of <config>/manifest.toml; --no-user: without it
  --project PATH          where the search for .insomnia/manifest.toml starts (default: here);
                          --no-project: without it
  --overlay TOML, --overlay-file PATH   uppermost manifest layer
  -s, --store DIR         session directory (default: <data>/sessions)
  --session UUID          resume a session (not available yet)
  --adopt, --callback, --launch   set by SpawnPod for the children it starts

Try it without a key or a network:  pod demo`;

/** Runs a command and returns its exit code. Throws `PodError`s for the terminal. */
export async function runCommand(
  args: readonly string[],
  env: Environment,
  cwd: string,
): Promise<number> {
  let exitCode: number = EXIT.done;
  const streams = openStreams();
  const drained = async (code: number): Promise<number> => {
    await Promise.all([streams.out.drain(), streams.err.drain()]);
    const { failure } = streams.out;
    if (failure !== undefined) throw new PodError("io", failure);
    return code;
  };

  const program = new Command("pod")
    .description(
      "Every LLM agent is a process: with a socket, a scope that no other agent can write, and\n" +
        "children it can spawn, watch and stop.",
    )
    .version(VERSION, "-V, --version")
    .addHelpText("after", POD_PROCESS_HELP)
    .exitOverride();

  program
    .command("demo")
    .description("watch a scripted tree of agents at work: no key, no network, nothing left behind")
    .action(async () => {
      const { playDemo } = await import("./demo/play.ts");
      exitCode = await playDemo(env, streams);
    });

  program
    .command("run")
    .description("run a task with a root Pod on the current directory and stream its answer")
    .argument("<task>", "what the agent is to do")
    .option("-m, --model <ref>", "provider/model, or script:FILE for a scripted one")
    .option("-n, --name <name>", "name of the Pod (default: made from the directory's name)")
    .option("--json", "print every event as a line of JSON", false)
    .option("--keep", "leave child Pods running at the end", false)
    .action(
      async (
        task: string,
        options: { model?: string; name?: string; json: boolean; keep: boolean },
      ) => {
        const { runTask } = await import("./run.ts");
        exitCode = await runTask(task, options, env, cwd, streams);
      },
    );

  program
    .command("ls")
    .description("list the live Pods as a tree")
    .option("--json", "print an array of objects", false)
    .action(async (options: { json: boolean }) => {
      const { listPods } = await import("./ls.ts");
      exitCode = await listPods(options, env, streams);
    });

  program
    .command("models")
    .description("list the models that a manifest can name, and where each key is looked for")
    .option("--json", "print an object", false)
    .action(async (options: { json: boolean }) => {
      const { listModels } = await import("./models.ts");
      exitCode = await listModels(options, env, streams);
    });

  program
    .command("stop")
    .description("end Pods: asked first, forced if needed")
    .argument("<name...>", "names as `pod ls` shows them")
    .action(async (names: string[]) => {
      const { stopPods } = await import("./stop.ts");
      exitCode = await stopPods(names, env, streams);
    });

  program
    .command("doctor")
    .description("check directories, locks, registry, Pods and kernel; say what to do about each")
    .option("--fix", "repair what is safe beside live Pods, and say what was done", false)
    .option("--json", "print an array of objects", false)
    .action(async (options: { fix: boolean; json: boolean }) => {
      const { runDoctor } = await import("./doctor/doctor.ts");
      exitCode = await runDoctor(options, env, streams);
    });

  addConfigCommands(program, { env, cwd, streams }, (code) => (exitCode = code));

  for (const command of [program, ...program.commands]) {
    command
      .configureOutput({
        writeOut: (text) => streams.out.write(text),
        writeErr: () => undefined,
        getOutHasColors: () => false,
      })
      .exitOverride();
  }
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return await drained(EXIT.done);
    throw new PodError("usage", `${error.message.replace(/^error: /, "")} (see: pod --help)`);
  }
  return await drained(exitCode);
}
