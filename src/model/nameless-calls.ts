/**
 * Tool calls without a name, in the OpenAI Chat format. The library drops them, gives their arguments
 * to another call or fails; here they get a name that no tool has, so that the model is told of its
 * mistake. Everything else passes as it came.
 */
import { isObject } from "./failure.ts";

/** Name of a call that came without one. */
const NAMELESS = "unknown";

/** Rewrites the events of one answer; its chunks may be cut anywhere. */
export function namesCalls(): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  const mend = createMend();
  // Pieces of a line that has not ended: joined once, however many they are.
  let rest: string[] = [];
  return new TransformStream({
    transform: (chunk, controller) => {
      const text = decoder.decode(chunk, { stream: true });
      if (!text.includes("\n")) {
        rest.push(text);
        return;
      }
      const lines = [...rest, text].join("").split("\n");
      rest = [lines.pop() ?? ""];
      controller.enqueue(encoder.encode(lines.map((line) => `${mend(line)}\n`).join("")));
    },
    flush: (controller) => {
      const line = [...rest, decoder.decode()].join("");
      if (line !== "") controller.enqueue(encoder.encode(mend(line)));
    },
  });
}

/** Mends one line after the other. A name may come later than its call; at the end it is given one. */
function createMend(): (line: string) => string {
  const named = new Set<unknown>();
  const waiting = new Set<unknown>();

  /** The part of a call as the library should see it. */
  const mendCall = (call: unknown): unknown => {
    if (!isObject(call)) return call;
    // Without an index a call comes whole, and its id is all that it is known by.
    const key = call.index ?? call.id;
    const { name, ...rest } = isObject(call.function) ? call.function : {};
    if (typeof name === "string" && name.trim() !== "") {
      named.add(key);
      waiting.delete(key);
      return call;
    }
    if (named.has(key) || key === undefined || key === null || key === "") return call;
    if (call.index === key) {
      waiting.add(key);
      return { ...call, function: rest };
    }
    named.add(key);
    return { ...call, function: { ...rest, name: NAMELESS } };
  };

  return (line) => {
    const concerned =
      line.includes('"tool_calls"') || (waiting.size > 0 && line.includes('"finish_reason"'));
    if (!line.startsWith("data:") || !concerned) return line;
    const event = parsed(line.slice("data:".length));
    const choices = isObject(event) && Array.isArray(event.choices) ? event.choices : [];
    const choice: unknown = choices[0];
    if (!isObject(event) || !isObject(choice)) return line;
    const delta = isObject(choice.delta) ? choice.delta : {};
    const given: readonly unknown[] = Array.isArray(delta.tool_calls) ? delta.tool_calls : [];
    const calls = given.map(mendCall);
    if (typeof choice.finish_reason === "string") {
      for (const index of waiting) calls.push({ index, function: { name: NAMELESS } });
      waiting.clear();
    }
    if (calls.every((call, at) => call === given[at])) return line;
    const mended = { ...choice, delta: { ...delta, tool_calls: calls } };
    return `data: ${JSON.stringify({ ...event, choices: [mended, ...choices.slice(1)] })}`;
  };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // The library complains of it.
  }
}
