/**
 * A key that a program prints (`auth = { kind = "command", … }`): a password manager, a keyring, a
 * script that fetches a token. No shell is involved; nothing of the output is ever shown.
 */
import { errnoCode, messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { childEnvironment, settlesWithin } from "../base/process.ts";
import { commandName } from "./config.ts";

/** How long the program may take; a person may have to unlock something. */
const KEY_COMMAND_TIMEOUT_MS = 30_000;
/** Keys are short. */
const MAX_OUTPUT_BYTES = 16 * 1024;
/** A process of its own may keep the output open after the program's end. */
const OUTPUT_GRACE_MS = 1000;
const MAX_COMPLAINT_CHARACTERS = 200;

/**
 * Runs the command and returns its output without surrounding blanks. Throws `invalid_manifest` when
 * it cannot be run, fails, prints nothing or too much, or takes longer than `timeoutMs`.
 */
export async function runKeyCommand(
  command: readonly string[],
  env: Environment,
  timeoutMs: number = KEY_COMMAND_TIMEOUT_MS,
): Promise<string> {
  const refuse = (what: string): PodError =>
    new PodError(
      "invalid_manifest",
      `model configuration error: key ${commandName(command)} ${what}`,
    );
  const child = start(command, env, refuse);
  const readers = [readerOf(child.stdout), readerOf(child.stderr)] as const;
  const output = Promise.all([bounded(readers[0]), bounded(readers[1])]);
  output.catch(() => undefined);
  try {
    if (!(await settlesWithin(child.exited, timeoutMs))) {
      throw refuse(`did not end within ${timeoutMs / 1000} s`);
    }
    if (!(await settlesWithin(output, OUTPUT_GRACE_MS))) throw refuse("left its output open");
    const [key, complaint] = await output;
    if (key === undefined) throw refuse(`printed more than ${MAX_OUTPUT_BYTES} bytes`);
    if (child.exitCode !== 0) {
      const how = child.exitCode === null ? `was ended by ${child.signalCode}` : "failed";
      throw refuse(
        `${how}${child.exitCode === null ? "" : ` with exit code ${child.exitCode}`}` +
          lastLine(complaint ?? "", key),
      );
    }
    if (key.trim() === "") throw refuse("printed nothing");
    return key.trim();
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    // Whoever has them open beside the program would keep us alive. It is not ended: it may be an
    // agent for later, and a group of its own would take the terminal from a program that asks.
    for (const reader of readers) reader.cancel().catch(() => undefined);
  }
}

function start(
  command: readonly string[],
  env: Environment,
  refuse: (what: string) => PodError,
): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  try {
    return Bun.spawn([...command], {
      env: childEnvironment(env),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  } catch (error) {
    const missing = errnoCode(error) === "ENOENT";
    throw refuse(`cannot be run: ${missing ? "no such program" : messageOf(error)}`);
  }
}

function readerOf(stream: ReadableStream<Uint8Array>) {
  return stream.getReader();
}

/** The text of a stream, or undefined when it is too long. */
async function bounded(reader: ReturnType<typeof readerOf>): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text;
    size += value.byteLength;
    if (size > MAX_OUTPUT_BYTES) {
      // A program that is still writing would wait for us.
      await reader.cancel();
      return undefined;
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** What the program complained of at last; a key it may have printed is not part of that. */
function lastLine(complaint: string, key: string): string {
  const line = complaint.trim().split("\n").at(-1)?.trim() ?? "";
  if (line === "") return "";
  const clean = key.trim() === "" ? line : line.replaceAll(key.trim(), "[key]");
  return `: ${clean.slice(0, MAX_COMPLAINT_CHARACTERS)}`;
}
