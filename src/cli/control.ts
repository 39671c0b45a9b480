/**
 * One word to a live Pod from any terminal: `pod send`, `pod pause`, `pod continue`, `pod cancel`. The
 * Pod's own answer decides what is said; a Pod that does not answer in time is not taken to have heard.
 */
import { EXIT, isPodError, messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { type Method, runMethod } from "../protocol/method.ts";
import { deliver } from "../transport/client.ts";
import type { Streams } from "./output.ts";
import { listeningEntry, openRegistry, unheard } from "./tree.ts";

/** For the connection and the answer. */
const ANSWER_MS = 10_000;

/** Gives a Pod a task, or with `note` something to know. Throws `unknown_pod`, or what the Pod says. */
export async function sendText(
  name: string,
  text: string,
  { note }: { readonly note: boolean },
  env: Environment,
  { out }: Streams,
): Promise<number> {
  if (text.trim() === "") throw new PodError("usage", "the text is empty (see: pod send --help)");
  const method: Method = note
    ? { method: "notify", params: { message: text } }
    : runMethod(text, crypto.randomUUID());
  await tell(name, method, env);
  out.write(note ? `noted for pod \`${name}\`\n` : `pod \`${name}\` has begun\n`);
  return EXIT.done;
}

const METHODS = { pause: "pause", continue: "resume", cancel: "cancel" } as const;
const DONE = { pause: "is pausing", continue: "goes on", cancel: "cancels its turn" } as const;

/** Pauses, continues or cancels the turn of a Pod. Throws `unknown_pod`, or what the Pod says. */
export async function controlRun(
  name: string,
  command: keyof typeof METHODS,
  env: Environment,
  { out }: Streams,
): Promise<number> {
  await tell(name, { method: METHODS[command] }, env);
  out.write(`pod \`${name}\` ${DONE[command]}\n`);
  return EXIT.done;
}

async function tell(name: string, method: Method, env: Environment): Promise<void> {
  const { table } = await openRegistry(env).reclaim();
  const entry = listeningEntry(table, name);
  try {
    await deliver(entry.socket, method, { timeoutMs: ANSWER_MS });
  } catch (error) {
    if (!isPodError(error)) throw error;
    const { code, data } = error;
    if ("errno" in data) throw unheard(entry, error);
    if (data.wire === undefined) {
      throw new PodError(code, `pod \`${name}\`: ${messageOf(error)}`, { cause: error });
    }
    throw new PodError(
      "invalid_argument",
      `pod \`${name}\`: ${messageOf(error)}${hint(data.wire)}`,
    );
  }
}

/** What to do about a refusal that a person can do something about. */
function hint(wire: unknown): string {
  if (wire === "already_running") return " (wait for it, or: pod send --note, pod cancel)";
  if (wire === "not_paused") return " (only a paused turn can go on)";
  return "";
}
