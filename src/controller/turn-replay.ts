/**
 * What a client that comes late must be told after the history to stand where the others stand: the
 * part of the running request that is not in the history yet (W8). Deltas are joined, so it is about
 * as long as the answer so far, and bounded.
 */
import type { Event } from "../protocol/event.ts";

/** Characters of deltas that are kept; of a longer answer a late client gets the rest live only. */
const MAX_CHARACTERS = 4 * 1024 * 1024;

/** The events of the request that is going on. */
export class TurnReplay {
  #events: Event[] = [];
  /** Pieces of the delta at the end of `#events`: joined only when somebody asks. */
  #pieces: string[] = [];
  #characters = 0;

  /** Follows what is broadcast; everything must pass here in order. */
  record(event: Event): void {
    switch (event.event) {
      case "turn_start":
        this.#reset([event]);
        break;
      case "turn_end":
        // By now the answer is in the history; clients show a run as running since its `turn_start`.
        this.#reset([...this.#events.filter(({ event: name }) => name === "turn_start"), event]);
        break;
      case "run_end":
        // A paused Pod says so again; of any other end the history's `status` is enough.
        this.#reset(event.data.result === "paused" ? [event] : []);
        break;
      case "user_message":
        this.#reset([]);
        break;
      case "text_delta":
      case "thinking_delta":
        this.#delta(event, event.data.text);
        break;
      case "tool_call_args_delta":
        this.#delta(event, event.data.json);
        break;
      case "text_done":
      case "thinking_start":
      case "thinking_done":
      case "tool_call_start":
      case "tool_call_done":
        if (this.#events.length === 0 || this.#characters > MAX_CHARACTERS) break;
        this.#join();
        this.#events.push(event);
        break;
      default:
        break;
    }
  }

  /** What is to be sent after a history, in order. */
  events(): readonly Event[] {
    this.#join();
    return this.#events;
  }

  #reset(events: Event[]): void {
    this.#events = events;
    this.#pieces = [];
    this.#characters = 0;
  }

  #delta(event: Event, piece: string): void {
    const last = this.#events.at(-1);
    if (last === undefined) return;
    this.#characters += piece.length;
    if (this.#characters > MAX_CHARACTERS) return;
    if (continues(last, event)) {
      this.#pieces.push(piece);
      return;
    }
    this.#join();
    this.#events.push(event);
    this.#pieces = [piece];
  }

  #join(): void {
    const last = this.#events.at(-1);
    if (this.#pieces.length < 2 || last === undefined) return;
    const joined = this.#pieces.join("");
    this.#pieces = [joined];
    this.#events[this.#events.length - 1] = withPiece(last, joined);
  }
}

function continues(last: Event, next: Event): boolean {
  if (last.event === "tool_call_args_delta" && next.event === "tool_call_args_delta") {
    return last.data.id === next.data.id;
  }
  return last.event === next.event && next.event !== "tool_call_args_delta";
}

function withPiece(event: Event, piece: string): Event {
  switch (event.event) {
    case "text_delta":
    case "thinking_delta":
      return { event: event.event, data: { text: piece } };
    case "tool_call_args_delta":
      return { event: event.event, data: { id: event.data.id, json: piece } };
    default:
      return event;
  }
}
