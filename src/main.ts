/**
 * Entry of the program. Without a command word it is a Pod process with the reference's flags, which
 * is also how every child starts: that path, a chunk of its own, loads nothing that a child does not
 * need (nor `process.stdout`, which costs 8 ms). Commands for people load their own.
 */
import { writeSync } from "node:fs";
import { EXIT, exitCodeOf, renderForTerminal } from "./base/errors.ts";
import { VERSION } from "./base/version.ts";
import { confine } from "./sandbox/trampoline.ts";

/** Empty when the directory is gone: commands that need none go on, the others say so. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return "";
  }
}

async function main(args: readonly string[]): Promise<number> {
  const [first] = args;
  // First of all: every shell command starts this way.
  if (first === "__confine") return confine(process.env);
  if (first === "--version" || first === "-V") {
    writeSync(1, `${VERSION}\n`);
    return EXIT.done;
  }
  const isPodProcess =
    first === undefined || (first.startsWith("-") && first !== "--help" && first !== "-h");
  if (isPodProcess) {
    const { servePod } = await import("./cli/serve-command.ts");
    return await servePod(args, process.env, workingDirectory());
  }
  const { runCommand } = await import("./cli/program.ts");
  return await runCommand(args, process.env, workingDirectory());
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  writeSync(2, `${renderForTerminal(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
