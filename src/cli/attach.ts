/**
 * `pod attach NAME`: a live Pod in the foreground of a terminal, whoever started it. Its history comes
 * first, then what happens. A typed line is the next task when it is idle or paused, and a note when
 * it is at work; Ctrl-C or the end of input detaches and leaves the Pod alone.
 */
import { EXIT, isPodError, messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { encodeMessage, type Event, type PodState } from "../protocol/event.ts";
import { itemSchema, messageText } from "../protocol/history.ts";
import { type Method, runMethod } from "../protocol/method.ts";
import { isReservation } from "../registry/allocation.ts";
import { connectPod, type PodClient } from "../transport/client.ts";
import { Answers, type Outcome } from "./answers.ts";
import type { Output, Streams } from "./output.ts";
import { harmless, oneLine, type Paint, painterFor } from "./terminal.ts";
import { liveEntry, openRegistry } from "./tree.ts";

/** For the connection, the first answer, and each line that is sent. */
const ANSWER_MS = 10_000;
/** Longest line that may be typed or piped in, in characters. */
const MAX_TYPED = 1024 * 1024;

/** Watches the Pod until it ends, the input ends, or Ctrl-C. Throws `unknown_pod`, `unreachable`. */
export async function attach(
  name: string,
  { json }: { readonly json: boolean },
  env: Environment,
  streams: Streams,
): Promise<number> {
  const { table } = await openRegistry(env).reclaim();
  const entry = liveEntry(table, name);
  if (isReservation(entry)) {
    throw new PodError("unreachable", `pod \`${name}\` is just being started; retry in a moment`);
  }
  await using client = await connectPod(entry.socket, { timeoutMs: ANSWER_MS });
  const view = json ? new JsonView(streams.out) : new PersonView(name, streams, env);
  const detach = Promise.withResolvers<"detached">();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => detach.resolve("detached"));
  }
  streams.out.onClosed = () => detach.resolve("detached");
  const attached = Promise.withResolvers<void>();
  const answers = new Answers();
  const watching = watch(client, view, answers, attached.resolve);
  const input = Bun.stdin.stream().getReader();
  if (!json) {
    // Not before it is known what the Pod is doing; and even without any input it is shown once.
    void attached.promise
      .then(() => speak(input, { client, answers, view }))
      .then((over) => over && detach.resolve("detached"));
  }
  try {
    view.close(await Promise.race([watching, detach.promise]));
  } finally {
    answers.close();
    // An open input would keep this process for as long as somebody could type.
    await input.cancel().catch(() => undefined);
  }
  return EXIT.done;
}

/** The part of a stream's reader that is needed here. */
interface Typed {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
}

/** What is done with what the Pod says. */
interface View {
  readonly state: PodState;
  show(event: Event): void;
  close(end: "detached" | "ended"): void;
  /** Something went wrong with what was typed. */
  complain(text: string): void;
}

async function watch(
  client: PodClient,
  view: View,
  answers: Answers,
  attached: () => void,
): Promise<"ended"> {
  await client.send({ method: "get_history" });
  let shown = false;
  for (;;) {
    const event = await client.next(shown ? Number.POSITIVE_INFINITY : ANSWER_MS);
    if (event === undefined) {
      answers.close();
      return "ended";
    }
    if (answers.take(event)) continue;
    // What came before the history is in it, or in what follows it; alerts are not.
    shown ||= event.event === "history";
    if (shown || event.event === "alert") view.show(event);
    if (event.event === "history") attached();
  }
}

/** What somebody who types has to do with. */
interface Talk {
  readonly client: PodClient;
  readonly answers: Answers;
  readonly view: View;
}

/** Sends what is typed, line by line; true when the input is over. */
async function speak(input: Typed, talk: Talk): Promise<boolean> {
  let typed = "";
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await input.read();
      if (done || value === undefined) break;
      typed += decoder.decode(value, { stream: true });
      const lines = typed.split("\n");
      typed = lines.pop() ?? "";
      if (typed.length > MAX_TYPED) throw new PodError("limit_reached", "the line is too long");
      for (const line of lines) await say(talk, line);
    }
    await say(talk, typed);
    return true;
  } catch (error) {
    // The end of the connection is said by whoever watches it.
    if (!isPodError(error, "unreachable")) talk.view.complain(messageOf(error));
    return isPodError(error, "limit_reached");
  }
}

/** Sends one line and waits until the Pod has taken it: the next one depends on what it does then. */
async function say(talk: Talk, line: string): Promise<void> {
  const text = line.trim();
  if (text === "") return;
  const note: Method = { method: "notify", params: { message: text } };
  const isAtWork = talk.view.state === "running";
  let outcome = await ask(talk, isAtWork ? note : runMethod(text, crypto.randomUUID()));
  // It has begun to work meanwhile.
  if (outcome.kind === "refused" && outcome.code === "already_running") {
    outcome = await ask(talk, note);
  }
  if (outcome.kind === "refused") talk.view.complain(outcome.message);
  if (outcome.kind === "unanswered") {
    talk.view.complain(`nothing is known of what became of: ${oneLine(text)}`);
  }
}

async function ask({ client, answers }: Talk, method: Method): Promise<Outcome> {
  const id = crypto.randomUUID();
  const answer = answers.to(id, ANSWER_MS);
  await client.send({ ...method, id }, ANSWER_MS);
  return await answer;
}

/** Every event as a line of JSON. */
class JsonView implements View {
  readonly state = "idle";
  readonly #out: Output;

  constructor(out: Output) {
    this.#out = out;
  }

  show(event: Event): void {
    this.#out.write(`${encodeMessage(event)}\n`);
  }

  close(): void {}

  complain(): void {}
}

/** Text to standard output, what else happens to standard error. */
class PersonView implements View {
  state: PodState = "idle";
  readonly #name: string;
  readonly #streams: Streams;
  readonly #paint: Paint;
  /** True while the last thing on standard output is an unfinished line. */
  #midLine = false;

  constructor(name: string, streams: Streams, env: Environment) {
    this.#name = name;
    this.#streams = streams;
    this.#paint = painterFor(streams.err, env);
  }

  close(end: "detached" | "ended"): void {
    this.#note(end === "ended" ? `pod ${this.#name} has ended` : `detached from ${this.#name}`);
  }

  complain(text: string): void {
    this.#note(this.#paint("red", `error: ${harmless(text)}`));
  }

  show(event: Event): void {
    switch (event.event) {
      case "history":
        this.state = event.data.status ?? "idle";
        for (const item of event.data.items) this.#showItem(item);
        this.#note(`attached to ${this.#name} (${this.state}); Ctrl-C detaches`);
        break;
      case "user_message":
        this.state = "running";
        break;
      case "turn_start":
        this.state = "running";
        break;
      case "text_delta":
        this.#streams.out.write(harmless(event.data.text));
        this.#midLine = !event.data.text.endsWith("\n");
        break;
      case "text_done":
        this.#endLine();
        break;
      case "tool_call_done":
        this.#note(`${event.data.name} ${oneLine(event.data.arguments)}`);
        break;
      case "tool_result":
        this.#note(`  ${event.data.is_error ? "✗" : "✓"} ${oneLine(event.data.summary)}`);
        break;
      case "alert":
        this.#note(`${event.data.level}: ${oneLine(event.data.message, 300)}`);
        break;
      case "error":
        this.complain(event.data.message);
        break;
      case "run_end":
        this.state = event.data.result === "paused" ? "paused" : "idle";
        this.#note(`turn: ${event.data.outcome ?? event.data.result}`);
        break;
      default:
        break;
    }
  }

  #showItem(raw: unknown): void {
    const parsed = itemSchema().safeParse(raw);
    if (!parsed.success) return;
    const item = parsed.data;
    if (item.type === "message" && item.role === "assistant") {
      this.#streams.out.write(`${harmless(messageText(item))}\n`);
    } else if (item.type === "message" && item.role === "user") {
      this.#note(`> ${harmless(messageText(item))}`);
    } else if (item.type === "tool_call") {
      this.#note(`${item.name} ${oneLine(item.arguments)}`);
    } else if (item.type === "tool_result") {
      this.#note(`  ${item.is_error === true ? "✗" : "✓"} ${oneLine(item.summary)}`);
    }
  }

  #endLine(): void {
    if (this.#midLine) this.#streams.out.write("\n");
    this.#midLine = false;
  }

  #note(text: string): void {
    this.#endLine();
    this.#streams.err.write(`${this.#paint("dim", text)}\n`);
  }
}
