/**
 * Follows one Pod over its socket and tells a `Story` what it does, each thing once. Events say most
 * of it; the history is asked for what they do not say: what happened before we were connected, and
 * the notices that the Pod's model was given.
 */
import { messageOf, PodError } from "../../base/errors.ts";
import { notificationText } from "../../prompts/notices.ts";
import type { Event } from "../../protocol/event.ts";
import { type Item, itemSchema, messageText } from "../../protocol/history.ts";
import { flattenSegments } from "../../protocol/segment.ts";
import { connectPod, type PodClient } from "../../transport/client.ts";
import type { Story } from "./story.ts";

const CONNECT_LIMIT_MS = 10_000;
const MIN_MEASURED_MS = 1;

/**
 * Connects to a Pod and follows it to its end or that of the story; resolves when its past is known.
 * Throws as `connectPod` and `Story.until` do.
 */
export async function followPod(story: Story, pod: string, socket: string): Promise<void> {
  const client = await connectPod(socket, { timeoutMs: CONNECT_LIMIT_MS });
  story.onEnd(() => client.terminate());
  const follower = new Follower(pod, story, client);
  void follower.run();
  await story.until(() => (follower.begun ? true : undefined), `the history of pod \`${pod}\``);
}

const [NOTICE_START = "", NOTICE_END = ""] = notificationText("\0").split("\0");

/** Turns the events and histories of one Pod into happenings, each once. */
class Follower {
  readonly #pod: string;
  readonly #story: Story;
  readonly #client: PodClient;
  readonly #calls = new Map<
    string,
    { tool: string; input: Record<string, unknown>; at?: number }
  >();
  readonly #answered = new Set<string>();
  /** Events that came before the history that we asked for at the beginning. */
  #early: { readonly event: Event; readonly at: number }[] = [];
  #notices = 0;
  #turnStart = 0;
  begun = false;

  constructor(pod: string, story: Story, client: PodClient) {
    this.#pod = pod;
    this.#story = story;
    this.#client = client;
  }

  /** Reads until the connection ends; never rejects. */
  async run(): Promise<void> {
    this.#askHistory();
    try {
      for (;;) {
        const event = await this.#client.next(Infinity);
        if (event === undefined) break;
        this.#take(event, performance.now());
      }
      if (!this.begun) throw new PodError("unreachable", "its connection ended at once");
      this.#story.setRunning(this.#pod, false); // it ended; whether it should have is judged later
    } catch (error) {
      const what = `pod \`${this.#pod}\` cannot be followed: ${messageOf(error)}`;
      this.#story.fail(new PodError("unreachable", what, { cause: error }));
    }
  }

  /** The answer comes as an event; a Pod that has just ended is noticed by the reader. */
  #askHistory(): void {
    this.#client.send({ method: "get_history" }).catch(() => undefined);
  }

  #take(event: Event, at: number): void {
    if (event.event === "history") this.#history(event.data, at);
    else if (!this.begun) this.#early.push({ event, at });
    else this.#event(event, at);
  }

  #history(data: Extract<Event, { event: "history" }>["data"], at: number): void {
    const items = data.items.flatMap((item) => {
      const parsed = itemSchema().safeParse(item);
      return parsed.success ? [parsed.data] : [];
    });
    if (!this.begun) return this.#begin(items, data.status ?? "idle", at);
    this.#tell(items, this.#turnStart);
  }

  #begin(items: readonly Item[], status: string, at: number): void {
    const said = new Set<string>();
    for (const item of items) {
      if (item.type === "tool_call") this.#call(item.call_id, item.name, item.arguments);
      if (item.type === "tool_result") {
        this.#result(item.call_id, item.summary, item.content, item.is_error === true, at);
      }
      if (item.type !== "message" || item.role === "system") continue;
      const text = messageText(item);
      said.add(text);
      this.#add(item.role === "user" ? "task" : "said", text, at);
    }
    this.#tell(items, at);
    this.begun = true;
    for (const { event, at: heard } of this.#early) {
      // What the history holds already was told above; the rest is new.
      const text =
        event.event === "user_message"
          ? flattenSegments(event.data.segments)
          : event.event === "text_done"
            ? event.data.text
            : undefined;
      if (text === undefined || !said.has(text)) this.#event(event, heard);
    }
    this.#early = [];
    const ended = this.#story.happenings.some((h) => h.pod === this.#pod && h.kind === "ended");
    if (status === "idle" && items.length > 0 && !ended) {
      this.#story.add({ pod: this.#pod, at, kind: "ended", outcome: "finished" });
    }
    this.#story.setRunning(this.#pod, status !== "idle");
  }

  #event(event: Event, at: number): void {
    switch (event.event) {
      case "user_message":
        return this.#add("task", flattenSegments(event.data.segments), at);
      case "turn_start":
        this.#turnStart = at;
        this.#story.setRunning(this.#pod, true);
        return this.#askHistory(); // notices that this turn took stand only there
      case "text_done":
        return this.#add("said", event.data.text, at);
      case "tool_call_done":
        return this.#call(event.data.id, event.data.name, event.data.arguments, at);
      case "tool_result": {
        const { id, summary, output, is_error: isError } = event.data;
        return this.#result(id, summary, output, isError, at);
      }
      case "alert":
      case "error":
        return this.#add("trouble", event.data.message, at);
      case "run_end": {
        const { result, outcome = result } = event.data;
        this.#story.setRunning(this.#pod, false);
        return this.#story.add({ pod: this.#pod, at, kind: "ended", outcome });
      }
    }
  }

  #call(id: string, tool: string, json: string, at?: number): void {
    if (this.#calls.has(id)) return;
    const value: unknown = JSON.parse(json);
    const input = typeof value === "object" && value !== null ? { ...value } : {};
    this.#calls.set(id, { tool, input, ...(at === undefined ? {} : { at }) });
  }

  #result(
    id: string,
    summary: string,
    content: string | undefined,
    isError: boolean,
    at: number,
  ): void {
    const call = this.#calls.get(id);
    if (call === undefined || this.#answered.has(id)) return;
    this.#answered.add(id);
    const { tool, input } = call;
    // Call and result in one go mean that we were too slow to measure anything.
    const took = call.at === undefined ? 0 : at - call.at;
    const tookMs = took < MIN_MEASURED_MS ? undefined : took;
    const result = { kind: "result", tool, input, summary, content, isError, tookMs } as const;
    this.#story.add({ pod: this.#pod, at, ...result });
  }

  /** Adds the notices that were not told yet; they stand in the history in the order of their coming. */
  #tell(items: readonly Item[], at: number): void {
    const notices = items.flatMap((item) => {
      if (item.type !== "message" || item.role !== "system") return [];
      const text = messageText(item);
      return text.startsWith(NOTICE_START)
        ? [text.slice(NOTICE_START.length).replace(NOTICE_END, "")]
        : [];
    });
    for (const text of notices.slice(this.#notices)) this.#add("told", text, at);
    this.#notices = Math.max(this.#notices, notices.length);
  }

  #add(kind: "task" | "said" | "told" | "trouble", text: string, at: number): void {
    if (text.trim() !== "") this.#story.add({ pod: this.#pod, at, kind, text });
  }
}
