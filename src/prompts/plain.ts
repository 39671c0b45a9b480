/**
 * Renders templates that consist of text, `{{ name }}` and `{% include "name" %}`: all that our own
 * prompts use, so that a Pod with them never loads the engine (40 ms and 19 MiB). The result is what
 * the engine would give. Values are inserted once and never read as templates again.
 */
import type { TemplateGraph } from "./graph.ts";
import { placed } from "./graph.ts";

/** What templates may insert: texts and lists of texts. */
export type TemplateValues = Readonly<Record<string, string | readonly string[]>>;

/** How deep includes may nest; a cycle ends here. */
export const MAX_INCLUDE_DEPTH = 16;
/** How many includes one prompt may have in all, so that a few files cannot grow without bound. */
const MAX_INCLUDES = 256;

/** Renders a plain graph; throws `invalid_argument` with `<file>:<line>: …`. */
export function renderPlain(graph: TemplateGraph, values: TemplateValues): string {
  let includes = 0;
  const render = (key: string, depth: number): string => {
    const node = graph.nodes.get(key);
    if (node === undefined) return "";
    const { label, source } = node;
    const fail = (offset: number, message: string) => placed(label, source, offset, message);
    return node.parts
      .map((part) => {
        if (part.kind === "text") return part.text;
        if (part.kind === "variable") {
          if (!Object.hasOwn(values, part.name)) {
            throw fail(part.offset, unknownVariable(part.name, values));
          }
          return shown(values[part.name] ?? "");
        }
        if (part.kind === "other") throw fail(part.offset, "needs the template engine");
        includes += 1;
        if (depth >= MAX_INCLUDE_DEPTH) {
          throw fail(part.offset, `includes nest deeper than ${MAX_INCLUDE_DEPTH} levels`);
        }
        if (includes > MAX_INCLUDES) throw fail(part.offset, `more than ${MAX_INCLUDES} includes`);
        return render(node.names.get(part.name) ?? "", depth + 1);
      })
      .join("");
  };
  return render(graph.root, 1);
}

/** A list looks as the engine prints it. */
function shown(value: string | readonly string[]): string {
  if (typeof value === "string") return value;
  return `[${value.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** What to say about a name that has no value. */
function unknownVariable(name: string, values: TemplateValues): string {
  const known = Object.keys(values);
  return `unknown variable \`${name}\` (${known.length === 0 ? "there are none here" : `known: ${known.join(", ")}`})`;
}
