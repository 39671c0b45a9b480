/**
 * The commands for people: names, options and help in one table; each command's code is loaded when
 * it is called. Children never come here.
 */
import { Command, CommanderError } from "commander";
import { EXIT, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { VERSION } from "../base/version.ts";
import { addConfigCommands, withManifestOptions } from "./config-commands.ts";
import { openStreams } from "./output.ts";
import type { RunTaskOptions } from "./run.ts";

const POD_PROCESS_HELP = `
Without a command, \`pod\` is one Pod process, configured by manifests and these flags:
  --manifest PATH         this file alone, without the user's and the project's
  --user-manifest PATH    instead of <config>/manifest.toml; --no-user: without it
  --project PATH          where the search for .insomnia/manifest.toml starts (default: here);
                          --no-project: without it
  --overlay TOML, --overlay-file PATH   uppermost manifest layer
  -s, --store DIR         session directory (default: <data>/sessions)
  --session UUID          go on with a session (or, as it was: pod resume UUID)
  --adopt, --callback, --launch, --recorded   set by pod itself for Pods that it starts

Exit codes: 0 done, 1 failed, 2 usage, 3 no such Pod or session, 4 timed out, 128+n signal

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
      "Every LLM agent is a process: with a socket, a scope that no other agent can write, and " +
        "children it can spawn, watch and stop.",
    )
    .version(VERSION, "-V, --version")
    .addHelpText("after", POD_PROCESS_HELP)
    // Without "(default: false)" behind every switch.
    .configureHelp({ optionDescription: ({ description }) => description });

  program
    .command("demo")
    .description("watch a scripted tree of agents at work: no key, no network, nothing left behind")
    .action(async () => {
      const { playDemo } = await import("./demo/play.ts");
      exitCode = await playDemo(env, streams);
    });

  withManifestOptions(
    program
      .command("run")
      .description("run a task with a root Pod on the current directory and stream its answer")
      .argument("<task>", "what the agent is to do")
      .option("-m, --model <ref>", "provider/model, or script:FILE for a scripted one")
      .option("-n, --name <name>", "name of the Pod (default: made from the directory's name)")
      .option("--json", "print every event as a line of JSON", false)
      .option("--keep", "leave child Pods running at the end", false),
  ).action(async (task: string, options: RunTaskOptions) => {
    const { runTask } = await import("./run.ts");
    exitCode = await runTask(task, options, env, cwd, streams);
  });

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
    .option("--tree", "also end every Pod below them", false)
    .action(async (names: string[], options: { tree: boolean }) => {
      const { stopPods } = await import("./stop.ts");
      exitCode = await stopPods(names, options, env, streams);
    });

  program
    .command("sessions")
    .description("list the sessions that can be resumed, the newest first")
    .option("--json", "print an array of objects", false)
    .option("-s, --store <dir>", "session directory (default: <data>/sessions)")
    .action(async (options: { json: boolean; store?: string }) => {
      const { printSessions } = await import("./sessions.ts");
      exitCode = await printSessions(options, env, cwd, streams);
    });

  program
    .command("resume")
    .description("bring a Pod back with its conversation, scope and name")
    .argument("[pod]", "name or session id (default: the Pod a person used last)")
    .option("--tree", "bring back everything below it as well", false)
    .option("--go-on", "let Pods whose work was cut off or paused go on with it", false)
    .option(
      "--salvage",
      "go on with a copy of what stands before the damage in a log; needs a session id",
      false,
    )
    .option(
      "--at <hash>",
      "go on from this entry of the log, in a session of its own; needs a session id",
    )
    .option("-s, --store <dir>", "session directory (default: <data>/sessions)")
    .action(
      async (
        pod: string | undefined,
        options: {
          tree: boolean;
          goOn: boolean;
          salvage: boolean;
          at?: string;
          store?: string;
        },
      ) => {
        const { resumePod } = await import("./resume.ts");
        exitCode = await resumePod(pod, options, env, cwd, streams);
      },
    );

  program
    .command("doctor")
    .description("check directories, locks, registry, Pods and kernel; say what to do about each")
    .option("--fix", "repair what is safe beside live Pods, and say what was done", false)
    .option("--json", "print an array of objects", false)
    .action(async (options: { fix: boolean; json: boolean }) => {
      const { runDoctor } = await import("./doctor/doctor.ts");
      exitCode = await runDoctor(options, env, streams);
    });

  program
    .command("attach")
    .description(
      "watch and talk to a live Pod; Ctrl-C or the end of input detaches and leaves it at work",
    )
    .argument("<name>", "name as `pod ls` shows it")
    .option("--json", "print every event as a line of JSON and send nothing", false)
    .action(async (name: string, options: { json: boolean }) => {
      const { attach } = await import("./attach.ts");
      exitCode = await attach(name, options, env, streams);
    });

  program
    .command("send")
    .description("give a live Pod its next task, or with --note something to know")
    .argument("<name>", "name as `pod ls` shows it")
    .argument("<text>", "what it is to do or to know")
    .option("--note", "as a note: it wakes an idle Pod and does not disturb a busy one", false)
    .action(async (name: string, text: string, options: { note: boolean }) => {
      const { sendText } = await import("./control.ts");
      exitCode = await sendText(name, text, options, env, streams);
    });

  for (const [method, description] of [
    ["pause", "interrupt the turn of a live Pod so that it can go on later"],
    ["continue", "let a paused Pod go on with its turn"],
    ["cancel", "end the turn of a live Pod; the Pod stays"],
  ] as const) {
    program
      .command(method)
      .description(description)
      .argument("<name>", "name as `pod ls` shows it")
      .action(async (name: string) => {
        const { controlRun } = await import("./control.ts");
        exitCode = await controlRun(name, method, env, streams);
      });
  }

  addConfigCommands(program, { env, cwd, streams }, (code) => (exitCode = code));

  for (const command of [program, ...program.commands]) {
    command
      .configureOutput({
        writeOut: (text) => streams.out.write(text),
        writeErr: () => undefined,
        getOutHasColors: () => false,
      })
      .exitOverride((error) => {
        if (error.exitCode === 0) throw error;
        const help = command === program ? "pod --help" : `pod ${command.name()} --help`;
        throw new PodError("usage", `${error.message.replace(/^error: /, "")} (see: ${help})`);
      });
  }
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return await drained(EXIT.done); // help or version
  }
  return await drained(exitCode);
}
