/**
 * Argument text of a tool call, as a model wrote it, to the object that a tool gets. History only
 * ever holds JSON objects; text that is none of it becomes a refusal that quotes what was wrong, so
 * that no tool runs with defaults nobody asked for (spec worker-and-tools W12).
 */
import { messageOf } from "../base/errors.ts";

/** A JSON object. */
export type ToolInput = Readonly<Record<string, unknown>>;

/** Arguments that can be used (with their compact text), or why they cannot. */
type ParsedArguments =
  | { readonly ok: true; readonly input: ToolInput; readonly text: string }
  | { readonly ok: false; readonly reason: string };

/** What history and events carry in place of unusable arguments (1.12). */
export const NO_ARGUMENTS = "{}";

/** Characters of the broken text that are quoted back to the model. */
const MAX_EXCERPT_CHARACTERS = 200;

/**
 * Parses argument text. Nothing, blanks and `null` mean "no arguments"; everything else that is not
 * a JSON object is refused with the parser's words and the beginning of the text.
 */
export function parseArguments(text: string): ParsedArguments {
  if (text.trim() === "") return { ok: true, input: {}, text: NO_ARGUMENTS };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return {
      ok: false,
      reason: `arguments are not valid JSON: ${messageOf(error)}; received: ${excerpt(text)}`,
    };
  }
  if (value === null) return { ok: true, input: {}, text: NO_ARGUMENTS };
  if (!isToolInput(value)) {
    const kind = Array.isArray(value) ? "an array" : `a ${typeof value}`;
    return {
      ok: false,
      reason: `arguments must be a JSON object, not ${kind}; received: ${excerpt(text)}`,
    };
  }
  return { ok: true, input: value, text: JSON.stringify(value) };
}

function isToolInput(value: unknown): value is ToolInput {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(text: string): string {
  // By code point, so that no surrogate pair is cut.
  const characters = [...text.slice(0, MAX_EXCERPT_CHARACTERS * 2)];
  return characters.length > MAX_EXCERPT_CHARACTERS
    ? `${characters.slice(0, MAX_EXCERPT_CHARACTERS).join("")}…`
    : characters.join("");
}
