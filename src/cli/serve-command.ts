/**
 * `pod [flags]`: one Pod process until a client or a signal ends it, with the flags, lines and exit
 * codes of the reference (spec manifest 7). Children are started this way.
 */
import { EXIT, PodError, renderForTerminal } from "../base/errors.ts";
import { writeLine } from "../base/log.ts";
import type { Environment } from "../base/paths.ts";
import { printable } from "../base/text.ts";
import type { PodOptions } from "../serve/configuration.ts";
import { type RunningPod, startPod } from "../serve/pod.ts";
import {
  announceReady,
  catchSignals,
  exitOnInternalFailure,
  nameProcess,
} from "../serve/process.ts";

/** Flags with a value. */
const VALUED = [
  "user-manifest",
  "project",
  "manifest",
  "overlay",
  "overlay-file",
  "store",
  "callback",
  "launch",
  "session",
  "recorded",
];
const SWITCHES = ["adopt", "no-user", "no-project"];
const SHORT: Readonly<Record<string, string>> = { "-s": "--store" };

/**
 * The flags as written, each once. By hand: `node:util`, which has a parser, would cost every child
 * 2 ms and 2.5 MiB at its start.
 */
function readFlags(args: readonly string[]): ReadonlyMap<string, string> {
  const flags = new Map<string, string>();
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at] ?? "";
    const [, name = "", inline] =
      /^--([a-z-]+)(?:=(.*))?$/s.exec(SHORT[argument] ?? argument) ?? [];
    const isValued = VALUED.includes(name);
    if (!isValued && !SWITCHES.includes(name))
      throw usage(`unknown option '${printable(argument)}'`);
    if (flags.has(name)) throw usage(`--${name} is given twice`);
    if (!isValued && inline !== undefined) throw usage(`--${name} takes no value`);
    const value = isValued ? (inline ?? args[(at += 1)]) : "";
    if (value === undefined) throw usage(`--${name} needs a value`);
    flags.set(name, value);
  }
  return flags;
}

/** Reads the flags; `usage` errors say which flag and what is allowed. */
function parsePodFlags(args: readonly string[]): PodOptions {
  const flags = readFlags(args);
  const adopt = flags.has("adopt");
  if (adopt && flags.has("session")) {
    throw usage("--session cannot be used with --adopt");
  }
  if (adopt && !flags.has("callback")) {
    throw new PodError("invalid_argument", "--adopt requires --callback");
  }
  if (!adopt && (flags.has("callback") || flags.has("launch"))) {
    throw usage("--callback and --launch require --adopt");
  }
  if (flags.has("recorded") && !flags.has("session")) {
    throw usage("--recorded requires --session");
  }
  return {
    ...manifestFlags(flags),
    store: flags.get("store"),
    adopt,
    callback: flags.get("callback"),
    launch: flags.get("launch"),
    session: flags.get("session"),
    recorded: flags.get("recorded"),
  };
}

/** Which manifests count; also of the commands that show and check them. */
export function manifestFlags(
  flags: ReadonlyMap<string, string>,
): Pick<PodOptions, "userManifest" | "project" | "manifestFile" | "overlay" | "overlayFile"> {
  for (const [one, other] of EXCLUSIVE) {
    if (flags.has(one) && flags.has(other))
      throw usage(`--${one} and --${other} exclude each other`);
  }
  return {
    userManifest: flags.has("no-user") ? false : flags.get("user-manifest"),
    project: flags.has("no-project") ? false : flags.get("project"),
    manifestFile: flags.get("manifest"),
    overlay: flags.get("overlay"),
    overlayFile: flags.get("overlay-file"),
  };
}

const EXCLUSIVE = [
  ["overlay", "overlay-file"],
  ["no-user", "user-manifest"],
  ["no-project", "project"],
  ["manifest", "user-manifest"],
  ["manifest", "project"],
] as const;

function usage(message: string): PodError {
  return new PodError("usage", `${message} (see: pod --help)`);
}

/** Loaded by those that need it: no child has an overlay. */
async function withPipe(options: PodOptions, cwd: string): Promise<PodOptions> {
  if (options.overlayFile === undefined) return options;
  return await (await import("../manifest/pipe.ts")).withPipedOverlay(options, cwd);
}

/** Runs a Pod process to its end and returns its exit code. */
export async function servePod(
  args: readonly string[],
  env: Environment,
  cwd: string,
): Promise<number> {
  exitOnInternalFailure();
  nameProcess();
  const options = parsePodFlags(args);
  const onFirstSignal = catchSignals();
  let pod: RunningPod;
  try {
    pod = await startPod(await withPipe(options, cwd), env, cwd);
  } catch (error) {
    // Whatever the kind: a Pod that cannot start exits 1 (spec manifest 7.3).
    writeLine(renderForTerminal(error));
    if (args.length === 0) writeLine('for people: pod run "task", pod --help');
    return EXIT.failed;
  }
  onFirstSignal(() => pod.shutdown("signal"));
  announceReady(pod);
  const reason = await pod.ended;
  writeLine(`pod: ${pod.self.name} shutting down (${reason})`);
  return EXIT.done;
}
