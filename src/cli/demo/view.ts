/**
 * The screen of `pod demo`: lines with time, Pod and what it did, never longer than the terminal is
 * wide, in colour where that is wanted. Text of Pods is made harmless before it is shown.
 */
import type { Environment } from "../../base/paths.ts";
import { harmless } from "../../base/text.ts";
import type { Streams } from "../output.ts";
import { type Paint, painterFor, type Style } from "../terminal.ts";

const DEFAULT_COLUMNS = 80;
/** A line of a Pod goes on below itself at most this often before it is cut. */
const MAX_LINES = 4;
const TIME_WIDTH = 7; // "1234 ms"
const NAME_WIDTH = 8;
const PREFIX_WIDTH = TIME_WIDTH + 1 + NAME_WIDTH + 1;

/** Colours of Pods in the order in which they appear. */
const PALETTE: readonly Style[] = ["cyan", "green", "magenta", "yellow", "blue"];

/** Switches of a terminal: lines beyond the right edge are cut, or wrapped again (DECAWM). */
const CUT_LINES = "\u001b[?7l";
const WRAP_LINES = "\u001b[?7h";

/** Writes the demonstration to standard output. */
export class Screen {
  readonly isTerminal: boolean;
  readonly #streams: Streams;
  readonly #paint: Paint;
  readonly #switches: boolean;
  readonly #startedAt = performance.now();
  readonly #colours = new Map<string, Style>();
  /** Lines that wait for a table to be complete. */
  #held: string[] | undefined;
  /** True when the last line written was empty. */
  #blank = false;

  constructor(streams: Streams, env: Environment) {
    const { out } = streams;
    this.#streams = streams;
    this.isTerminal = out.isTTY;
    this.#switches = this.isTerminal && env.TERM !== "dumb";
    this.#paint = painterFor(out, env);
  }

  /** One thing that a Pod did at `at` (of `performance.now()`). */
  line(pod: string, text: string, at: number, style?: Style): void {
    const time = `${Math.max(0, Math.round(at - this.#startedAt))} ms`.padStart(TIME_WIDTH);
    const colour = this.#colours.get(pod) ?? PALETTE[this.#colours.size % PALETTE.length] ?? "cyan";
    this.#colours.set(pod, colour);
    const name = this.#paint(colour, pod.padEnd(NAME_WIDTH));
    const lines = wrap(harmless(text).replaceAll("\n", " "), this.#columns() - PREFIX_WIDTH);
    const shown = lines.map((part) => (style === undefined ? part : this.#paint(style, part)));
    const indent = `\n${" ".repeat(PREFIX_WIDTH)}`;
    this.#write(`${this.#paint("dim", time)} ${name} ${shown.join(indent)}\n`);
  }

  /** Words of the demonstration itself, on as many lines as they need. */
  note(text: string, options: { readonly style?: Style; readonly indent?: number } = {}): void {
    const { style, indent = 0 } = options;
    for (const line of wrap(harmless(text), this.#columns() - indent, Infinity)) {
      this.#write(
        `${" ".repeat(indent)}${style === undefined ? line : this.#paint(style, line)}\n`,
      );
    }
  }

  /** An empty line, but never two, and a headline when there is a text. */
  section(text = ""): void {
    if (!this.#blank) this.#write("\n");
    if (text !== "") this.note(text, { style: "bold" });
  }

  /** A line that must not be wrapped: it is cut at the edge. */
  row(text: string): void {
    const limit = this.#columns();
    this.#write(`${text.length > limit ? `${text.slice(0, limit - 1)}…` : text}\n`);
  }

  /** Lets `draw` write a table; other lines wait, and long rows are cut by the terminal. */
  async table(draw: (streams: Streams) => Promise<unknown>): Promise<void> {
    this.#held = [];
    this.#blank = false;
    if (this.#switches) this.#streams.out.write(CUT_LINES);
    try {
      await draw(this.#streams);
    } finally {
      if (this.#switches) this.#streams.out.write(WRAP_LINES);
      const held = this.#held;
      this.#held = undefined;
      this.section();
      for (const text of held) this.#write(text);
    }
  }

  #columns(): number {
    if (!this.isTerminal) return Infinity;
    const { columns } = process.stdout; // not cheap, but right after a resize too
    return columns > PREFIX_WIDTH * 2 ? columns : DEFAULT_COLUMNS;
  }

  #write(text: string): void {
    if (this.#held !== undefined) {
      this.#held.push(text);
      return;
    }
    this.#blank = text === "\n";
    this.#streams.out.write(text);
  }
}

/** Breaks a text at blanks into at most `maxLines` lines of `width`; the last one is cut with `…`. */
function wrap(text: string, width: number, maxLines = MAX_LINES): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > width && lines.length < maxLines - 1) {
    const blank = rest.lastIndexOf(" ", width);
    const at = blank > 0 ? blank : width;
    lines.push(rest.slice(0, at));
    rest = rest.slice(at).trimStart();
  }
  lines.push(rest.length > width ? `${rest.slice(0, width - 1)}…` : rest);
  return lines;
}
