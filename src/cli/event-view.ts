/**
 * What happens in a Pod, for a person at a terminal: its text goes to standard output, everything else
 * as lines to standard error. On one screen the two stay apart: no line of the one begins inside an
 * unfinished line of the other. Knows nothing of the command that shows it.
 */
import type { Environment } from "../base/paths.ts";
import { harmless } from "../base/text.ts";
import type { Event } from "../protocol/event.ts";
import type { Item } from "../protocol/history.ts";
import { messageText } from "../protocol/history.ts";
import type { Output } from "./output.ts";
import { oneLine, type Paint, painterFor } from "./terminal.ts";

/** Longest part of a warning that is shown, in characters. */
const MAX_ALERT = 300;

/** Where it is shown. */
interface Screen {
  readonly out: Pick<Output, "write">;
  readonly err: Pick<Output, "write" | "isTTY">;
}

/** The terminal of one command; whatever a Pod says is made harmless before it gets there. */
export class EventView {
  readonly #screen: Screen;
  readonly #paint: Paint;
  /** True while the last thing on standard output is an unfinished line. */
  #midLine = false;

  constructor(screen: Screen, env: Environment) {
    this.#screen = screen;
    this.#paint = painterFor(screen.err, env);
  }

  /** Shows an event of a run; those that say nothing to a person are passed over. */
  show(event: Event): void {
    switch (event.event) {
      case "text_delta":
        if (event.data.text === "") break;
        this.#screen.out.write(harmless(event.data.text));
        this.#midLine = !event.data.text.endsWith("\n");
        break;
      case "text_done":
        this.endLine();
        break;
      case "tool_call_done":
        this.#call(event.data);
        break;
      case "tool_result":
        this.#result(event.data);
        break;
      case "alert":
        this.note(`${event.data.level}: ${oneLine(event.data.message, MAX_ALERT)}`);
        break;
      case "error":
        this.complain(event.data.message);
        break;
      default:
        break;
    }
  }

  /** Shows an item of the history as its events were shown. */
  showItem(item: Item): void {
    if (item.type === "message" && item.role === "assistant") {
      this.endLine();
      this.#screen.out.write(`${harmless(messageText(item))}\n`);
    } else if (item.type === "message" && item.role === "user") {
      this.note(`> ${harmless(messageText(item))}`);
    } else if (item.type === "tool_call") {
      this.#call(item);
    } else if (item.type === "tool_result") {
      this.#result(item);
    }
  }

  /** A line about what happens. The caller answers for what is in it. */
  note(text: string): void {
    this.endLine();
    this.#screen.err.write(`${this.#paint("dim", text)}\n`);
  }

  /** A line about what went wrong. */
  complain(text: string): void {
    this.note(this.#paint("red", `error: ${harmless(text)}`));
  }

  /** Ends the line of text that is under way, if any. */
  endLine(): void {
    if (this.#midLine) this.#screen.out.write("\n");
    this.#midLine = false;
  }

  #call({ name, arguments: given }: { readonly name: string; readonly arguments: string }): void {
    this.note(`${name} ${oneLine(given)}`);
  }

  #result(result: { readonly summary: string; readonly is_error?: boolean | undefined }): void {
    this.note(`  ${result.is_error === true ? "✗" : "✓"} ${oneLine(result.summary)}`);
  }
}
