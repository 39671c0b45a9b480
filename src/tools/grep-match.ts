/**
 * Matching lines of a portion of text, in order. With `multiline` a match may take several lines;
 * matches that share a line are one.
 */
import { lineEnd, lineStart, UnsearchableError } from "./grep-text.ts";
import type { Pace } from "./pace.ts";
import type { Regex, Span } from "./regex.ts";

/**
 * Yields whole lines, without the newline at the end; nothing before `from`, the start of a line.
 * Throws `UnsearchableError` at a line (with `multiline`, a text) too long for the pattern.
 */
export async function* matchingLines(
  regex: Regex,
  text: string,
  from: number,
  multiline: boolean,
  pace: Pace,
): AsyncGenerator<Span> {
  if (multiline) {
    yield* spanningMatches(regex, text, pace);
    return;
  }
  let asked = regex.linesAreAlone ? from : text.length; // what lies before has to be looked at
  for (let start = from; start < text.length;) {
    if (start >= asked) {
      // Most lines do not match: many at once are asked much faster than one by one.
      const blockEnd = text.lastIndexOf("\n", start + regex.block) + 1;
      asked = Math.max(blockEnd, start);
      if (asked > start && !regex.test(text.slice(start, blockEnd))) {
        start = blockEnd;
        if (pace.due) {
          await pace.rest();
          if (pace.expired) return;
        }
        continue;
      }
    }
    const end = lineEnd(text, start);
    if (end - start > regex.longest) throw new UnsearchableError("line too long");
    if (regex.test(text.slice(start, end))) yield { start, end };
    if (pace.due) {
      await pace.rest();
      if (pace.expired) return;
    }
    start = end + 1;
  }
}

async function* spanningMatches(regex: Regex, text: string, pace: Pace): AsyncGenerator<Span> {
  if (text.length > regex.longest) throw new UnsearchableError("too large");
  let held: Span | undefined;
  for (const match of regex.spans(text)) {
    // At the end of a text whose last line is complete there is no line to match.
    if (match.start === text.length && (text === "" || text.endsWith("\n"))) break;
    const empty = match.end === match.start;
    const lines = {
      start: lineStart(text, match.start),
      end: lineEnd(text, empty ? match.end : match.end - 1),
    };
    if (held !== undefined && lines.start > held.end) {
      yield held;
      held = undefined;
    }
    held = { start: held?.start ?? lines.start, end: Math.max(held?.end ?? 0, lines.end) };
    if (pace.due) {
      await pace.rest();
      if (pace.expired) break;
    }
  }
  if (held !== undefined) yield held;
}
