/**
 * The conversation as clients see it: what is broadcast, what a client is told that comes later, and
 * how an input becomes items. Everything that goes to all clients passes here once, in order.
 */
import type { Alert, Event, Greeting, PodState } from "../protocol/event.ts";
import { type Item, messageText, textMessage } from "../protocol/history.ts";
import { flattenSegments, type Segment } from "../protocol/segment.ts";
import type { Connection } from "../transport/server.ts";
import type { History } from "../worker/history.ts";
import { Alerts } from "./alerts.ts";
import type { Warn } from "./attachments.ts";
import { fitHistory } from "./history-window.ts";
import type { Intake } from "./intake.ts";
import { TurnReplay } from "./turn-replay.ts";

/** What a conversation works with. */
export interface ConversationDependencies {
  readonly history: History;
  readonly greeting: () => Greeting;
  readonly broadcast: (event: Event) => void;
  /** Items that belong to the input, such as the bodies of referenced files. */
  readonly attach: (
    segments: readonly Segment[],
    warn: Warn,
    signal: AbortSignal,
  ) => Promise<readonly Item[]>;
  /** What is put into the conversation when an input interrupts a paused turn. */
  readonly interruption: () => {
    /** Said before the input. */
    readonly note: string;
    /** In place of the results of calls that were open. */
    readonly result: string;
  };
  /** Told what was typed, and its mark, before the user item is appended that it becomes. */
  readonly recordInput?: (segments: readonly Segment[], mark: string | undefined) => void;
  /** What was typed in a restored session, by the id of the user item it became. */
  readonly typed?: ReadonlyMap<string, readonly Segment[]>;
}

/** The conversation of one Pod. */
export class Conversation {
  readonly #deps: ConversationDependencies;
  readonly #alerts = new Alerts();
  readonly #replay = new TurnReplay();
  /** What was typed, by the id of the user item it became. */
  readonly #typed = new Map<string, readonly Segment[]>();
  /** Clients that have had a history: only the first is followed by the running request's events. */
  readonly #shown = new WeakSet<Connection>();

  constructor(deps: ConversationDependencies) {
    this.#deps = deps;
    for (const [id, segments] of deps.typed ?? []) this.#typed.set(id, segments);
  }

  /** Replays earlier alerts to a client that has just connected. */
  opened(connection: Connection): void {
    this.#alerts.replay(connection);
  }

  /** Sends an event to all clients; what a later client must know of it is kept. */
  publish(event: Event): void {
    const told: Event =
      event.event === "alert" ? { event: "alert", data: this.#alerts.add(event.data) } : event;
    this.#replay.record(told);
    this.#deps.broadcast(told);
  }

  /** Tells people something they should know, now and when they connect later. */
  alert(level: Alert["level"], source: Alert["source"], message: string): void {
    this.publish({ event: "alert", data: { level, source, message, timestamp_ms: Date.now() } });
  }

  /** The Pod has come back with a turn that was paused: clients are told so as others were. */
  paused(): void {
    this.#replay.record({ event: "run_end", data: { result: "paused", outcome: "paused" } });
  }

  /**
   * Takes an input in, with all that belongs to it in one write, `interrupting` a turn that was
   * paused: then its open calls are closed and the model is told, before the input. Rejects when the
   * history refuses; then no client has heard of it. `signal` cuts the reading of files short.
   */
  async takeInput(
    { segments, mark }: Pick<Intake, "segments" | "mark">,
    interrupting: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const { history, attach } = this.#deps;
    const warnings: Parameters<Warn>[] = [];
    const attached = await attach(segments, (...warning) => warnings.push(warning), signal);
    const before: Item[] = [];
    if (interrupting) {
      const { note, result } = this.#deps.interruption();
      history.closeOpenCalls(result);
      before.push(textMessage("system", note));
    }
    this.#deps.recordInput?.(segments, mark);
    const input = textMessage("user", flattenSegments(segments));
    const added = history.append(...before, input, ...attached);
    const message = added.find((item) => item.type === "message" && item.role === "user");
    if (message !== undefined) this.#typed.set(message.id, segments);
    this.publish({ event: "user_message", data: { segments: [...segments] } });
    for (const warning of warnings) this.alert(...warning);
  }

  /**
   * Sends the history to one client. The first time it is followed by the part of the running
   * request that is not in it yet, so that client then stands where the others stand (W8); what it
   * had received before is in them, too.
   */
  show(connection: Connection, status: PodState): void {
    const items = this.#deps.history.items.map((item) => {
      const segments = this.#typed.get(item.id);
      // After a compaction another message may have the id.
      const isTyped =
        segments !== undefined &&
        item.type === "message" &&
        item.role === "user" &&
        messageText(item) === flattenSegments(segments);
      return isTyped ? { ...item, segments } : item;
    });
    const { kept, omitted } = fitHistory(items);
    const more = omitted === 0 ? {} : { omitted };
    connection.send({
      event: "history",
      data: { items: kept, greeting: this.#deps.greeting(), status, ...more },
    });
    if (this.#shown.has(connection)) return;
    this.#shown.add(connection);
    for (const event of this.#replay.events()) connection.send(event);
  }
}
