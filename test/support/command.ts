/** Programs that a test runs to their end: one shape of result, one limit, nothing left running. */
import { within } from "./temp.ts";

const LIMIT_MS = 30_000;

/** What a program has printed and how it ended. */
export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where a program runs. */
export interface Place {
  readonly cwd: string;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** Runs a program to its end, without input. Fails, and ends it, when it takes longer than 30 s. */
export async function runProgram(command: readonly string[], { cwd, env }: Place): Promise<Result> {
  const child = Bun.spawn([...command], {
    cwd,
    env: { ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  try {
    const [stdout, stderr, code] = await within(
      Promise.all([child.stdout.text(), child.stderr.text(), child.exited]),
      LIMIT_MS,
      command.join(" "),
    );
    return { code, stdout, stderr };
  } finally {
    child.kill("SIGKILL"); // after its end this does nothing
  }
}
