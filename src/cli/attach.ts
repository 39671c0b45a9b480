/**
 * `pod attach NAME`: a live Pod in the foreground of a terminal, whoever started it. Its history comes
 * first, then what happens. A typed line is the next task when it is idle or paused, and a note when
 * it is at work; Ctrl-C or the end of input detaches and leaves the Pod alone.
 */
import { EXIT, isPodError, messageOf, PodError } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import { encodeMessage, type Event, type PodState } from "../protocol/event.ts";
import { itemSchema } from "../protocol/history.ts";
import { type Method, runMethod } from "../protocol/method.ts";
import { connectPod, type PodClient } from "../transport/client.ts";
import { Answers, type Outcome } from "./answers.ts";
import { EventView } from "./event-view.ts";
import type { Output, Streams } from "./output.ts";
import { oneLine } from "./terminal.ts";
import { listeningEntry, openRegistry } from "./tree.ts";

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
  const entry = listeningEntry(table, name);
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
  /** The Pod has taken a note. */
  noted(): void;
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
  let isNote = talk.view.state === "running";
  let outcome = await ask(talk, isNote ? note : runMethod(text, crypto.randomUUID()));
  // It has begun to work meanwhile.
  if (outcome.kind === "refused" && outcome.code === "already_running") {
    isNote = true;
    outcome = await ask(talk, note);
  }
  if (outcome.kind === "taken" && isNote) talk.view.noted();
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

  noted(): void {}

  complain(): void {}
}

/** For a person, who is also told what became of what was typed. */
class PersonView implements View {
  state: PodState = "idle";
  readonly #name: string;
  readonly #view: EventView;

  constructor(name: string, streams: Streams, env: Environment) {
    this.#name = name;
    this.#view = new EventView(streams, env);
  }

  close(end: "detached" | "ended"): void {
    const pod = `pod \`${this.#name}\``;
    this.#view.note(end === "ended" ? `${pod} has ended` : `detached from ${pod}`);
  }

  noted(): void {
    this.#view.note("noted");
  }

  complain(text: string): void {
    this.#view.complain(text);
  }

  show(event: Event): void {
    switch (event.event) {
      case "history":
        this.state = event.data.status ?? "idle";
        for (const item of event.data.items) this.#showItem(item);
        this.#view.note(`attached to pod \`${this.#name}\` (${this.state}); Ctrl-C detaches`);
        break;
      case "user_message":
      case "turn_start":
        this.state = "running";
        break;
      case "run_end":
        this.state = event.data.result === "paused" ? "paused" : "idle";
        this.#view.note(`turn: ${event.data.outcome ?? event.data.result}`);
        break;
      default:
        this.#view.show(event);
        break;
    }
  }

  #showItem(raw: unknown): void {
    const parsed = itemSchema().safeParse(raw);
    if (parsed.success) this.#view.showItem(parsed.data);
  }
}
