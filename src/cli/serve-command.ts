/**
 * `pod [flags]`: one Pod process until a client or a signal ends it, with the flags, lines and exit
 * codes of the reference (spec manifest 7). Children are started this way.
 */
import { parseArgs } from "node:util";
import { EXIT, isPodError, messageOf, PodError, renderForTerminal } from "../base/errors.ts";
import { writeLine } from "../base/log.ts";
import type { Environment } from "../base/paths.ts";
import type { PodOptions } from "../serve/configuration.ts";
import { type RunningPod, startPod } from "../serve/pod.ts";
import { announceReady, endOnSignals, exitOnInternalFailure } from "../serve/process.ts";

const FLAGS = {
  "user-manifest": { type: "string" },
  project: { type: "string" },
  overlay: { type: "string" },
  store: { type: "string", short: "s" },
  adopt: { type: "boolean" },
  callback: { type: "string" },
  launch: { type: "string" },
  session: { type: "string" },
} as const;

/** Reads the flags; `usage` errors say which flag and what is allowed. */
export function parsePodFlags(args: readonly string[]): PodOptions {
  let values: Record<string, string | boolean | undefined>;
  try {
    const parsed = parseArgs({ args: [...args], options: FLAGS, strict: true, tokens: true });
    refuseRepeated(parsed.tokens);
    values = parsed.values;
  } catch (error) {
    if (isPodError(error)) throw error;
    throw usage(messageOf(error));
  }
  if (values.adopt === true && values.session !== undefined) {
    throw usage("--session cannot be used with --adopt");
  }
  if (values.adopt === true && values.callback === undefined) {
    throw new PodError("invalid_argument", "--adopt requires --callback");
  }
  if (values.adopt !== true && (values.callback !== undefined || values.launch !== undefined)) {
    throw usage("--callback and --launch require --adopt");
  }
  if (values.session !== undefined) {
    throw new PodError("unsupported", "--session is not available yet: sessions cannot be resumed");
  }
  const text = (name: keyof typeof FLAGS): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    userManifest: text("user-manifest"),
    project: text("project"),
    overlay: text("overlay"),
    store: text("store"),
    adopt: values.adopt === true,
    callback: text("callback"),
    launch: text("launch"),
  };
}

function usage(message: string): PodError {
  return new PodError("usage", `${message} (see: pod --help)`);
}

function refuseRepeated(
  tokens: readonly { readonly kind: string; readonly name?: string }[],
): void {
  const seen = new Set<string>();
  for (const { kind, name } of tokens) {
    if (kind !== "option" || name === undefined) continue;
    if (seen.has(name)) throw usage(`--${name} is given twice`);
    seen.add(name);
  }
}

/** Runs a Pod process to its end and returns its exit code. */
export async function servePod(
  args: readonly string[],
  env: Environment,
  cwd: string,
): Promise<number> {
  exitOnInternalFailure();
  const options = parsePodFlags(args);
  let pod: RunningPod;
  try {
    pod = await startPod(options, env, cwd);
  } catch (error) {
    // Whatever the kind: a Pod that cannot start exits 1 (spec manifest 7.3).
    writeLine(renderForTerminal(error));
    return EXIT.failed;
  }
  endOnSignals(pod);
  announceReady(pod);
  const reason = await pod.ended;
  writeLine(`pod: ${pod.self.name} shutting down (${reason})`);
  return EXIT.done;
}
