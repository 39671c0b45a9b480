/**
 * What a Pod's model is told of its children, in words: their reports, and what the dead leave. Text of
 * another process is bounded and kept on one line where more could pass for news of our own (W59).
 */
import { readTail } from "../base/files.ts";
import type { PodEvent } from "../protocol/method.ts";
import { describeRules } from "../scope/rule.ts";
import type { ChildRecord } from "./children.ts";

/** Longest text taken over from a child's event (W59). */
const MAX_MESSAGE_CHARACTERS = 2048;

/** Lines of a dead child's standard error that its parent's model is shown. */
const STDERR_LINES = 10;

/** An outcome that a child reports. */
type Outcome = Exclude<PodEvent, { readonly kind: "scope_sub_delegated" | "shut_down" }>;

/** What a child's report says, in the words of the reference. */
export function describeOutcome(name: string, event: Outcome): string {
  switch (event.kind) {
    case "turn_ended":
      return `Pod \`${name}\` finished a turn.`;
    case "turn_paused":
      return `Pod \`${name}\` was paused from outside; its turn goes on when it is resumed.`;
    case "turn_cancelled":
      return `The turn of pod \`${name}\` was cancelled from outside before it was done; it is idle.`;
    case "errored":
      return `Pod \`${name}\` reported an error: ${untrusted(event.message).replace(/\n+/g, " ")}`;
  }
}

/** Pods that a dead one left to its parent, with the paths that they still hold. */
export function describeHeirs(heirs: readonly ChildRecord[]): string {
  return heirs.map(({ name, scope }) => `\`${name}\` keeps ${describeRules(scope)}`).join("; ");
}

/** What a dead Pod last wrote to its standard error, as the end of a text; empty when it wrote nothing. */
export function describeLastWords(tail: string): string {
  return tail === "" ? "" : `\nLast lines of its standard error:\n${untrusted(tail)}`;
}

/** The last few lines a dead Pod wrote to its standard error, without its ready lines. */
export function lastLines(path: string): string {
  const lines = readTail(path, MAX_MESSAGE_CHARACTERS)
    .split("\n")
    .filter(
      (line) => !line.startsWith("INSOMNIA-READY\t") && !/^pod: \S+ listening on "/.test(line),
    );
  return lines.slice(-STDERR_LINES).join("\n").trim();
}

/** Text of another process, bounded and without control characters other than line breaks. */
function untrusted(text: string): string {
  const shown =
    text.length > MAX_MESSAGE_CHARACTERS ? `${text.slice(0, MAX_MESSAGE_CHARACTERS)}…` : text;
  return shown.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, " ").toWellFormed();
}
