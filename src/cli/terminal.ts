/** How commands write: colour only on a terminal that wants it, and text of others made harmless. */
import { harmless } from "../base/text.ts";

/** Names of the styles that commands use. */
export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "blue" | "magenta" | "cyan";

const CODES: Record<Style, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  blue: [34, 39],
  magenta: [35, 39],
  cyan: [36, 39],
};

/** Wraps text in a style, or leaves it as it is. */
export type Paint = (style: Style, text: string) => string;

/** Colours for a stream: on for a terminal, off with `NO_COLOR` or `TERM=dumb` (no-color.org). */
export function painterFor(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Paint {
  const wanted = stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb";
  return (style, text) => {
    const [on, off] = CODES[style];
    return wanted ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  };
}

/** The first line of a text, cut to `limit` characters. */
export function oneLine(text: string, limit = 100): string {
  const [line = ""] = harmless(text).split("\n");
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}
