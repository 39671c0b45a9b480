/** A user's directories and a project, for the commands about configuration. */
import { mkdirSync, writeFileSync } from "node:fs";
import { podBinary } from "../support/binary.ts";
import { temp } from "../support/temp.ts";

/** For one command; only a failure meets it. */
export const LIMIT_MS = 30_000;

/** Makes them; `pod` runs a command of the compiled program in the project. */
export function place() {
  const dir = temp();
  for (const name of ["home", "project", "run"]) mkdirSync(dir.join(name), { mode: 0o700 });
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: dir.join("home"),
    INSOMNIA_HOME: dir.join("home", "i"),
    INSOMNIA_RUNTIME_DIR: dir.join("run"),
  };
  return {
    env,
    join: dir.join,
    project: dir.join("project"),
    write: (name: string, text: string) => {
      mkdirSync(dir.join("project", ".insomnia", "prompts"), { recursive: true });
      writeFileSync(dir.join("project", ".insomnia", name), text);
    },
    pod: (...args: string[]) => {
      const { stdout, stderr, exitCode } = Bun.spawnSync([podBinary(), ...args], {
        cwd: dir.join("project"),
        env,
        stdin: "ignore",
        timeout: LIMIT_MS,
        killSignal: "SIGKILL", // one that waits for a pipe hears nothing else
      });
      return { out: stdout.toString(), err: stderr.toString(), code: exitCode };
    },
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

/** A model that answers from a file. */
export const SCRIPT = '[model]\nscheme = "script"\nscript = "s.toml"\n';
