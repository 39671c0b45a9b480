/**
 * A template with everything it may include, read once at start-up: what is missing is known then,
 * and what is rendered later is what was checked (FIX 18). Bounded in number and size.
 */
import { messageOf, PodError } from "../base/errors.ts";
import type { TemplateOrigin } from "./origin.ts";
import { lineAt, type Mention, type Scan, scanTemplate } from "./syntax.ts";

/** Different templates that one prompt may be made of. */
const MAX_TEMPLATES = 256;

/** One template of a graph. */
export interface TemplateNode extends Scan {
  readonly label: string;
  /** Without the one line end that belongs to the file (6.3). */
  readonly source: string;
  /** Key of the template that a name in it means; names that are missing but optional are absent. */
  readonly names: ReadonlyMap<string, string>;
}

/** A template and all it mentions. */
export interface TemplateGraph {
  readonly root: string;
  readonly nodes: ReadonlyMap<string, TemplateNode>;
  /** True when no template of it needs the engine. */
  readonly plain: boolean;
}

/** Reads the graph. Throws `invalid_argument` with `<file>:<line>: …` for each name that is no template. */
export function loadGraph(root: TemplateOrigin): TemplateGraph {
  const problems: PodError[] = [];
  const nodes = new Map<string, TemplateNode>();
  const waiting = [root];
  const known = new Set([root.key]);
  for (let origin = waiting.pop(); origin !== undefined; origin = waiting.pop()) {
    const source = origin.text.replace(/\r?\n$/, "");
    const scan = scanTemplate(source);
    const names = new Map<string, string>();
    for (const mention of scan.mentions) {
      const target = resolve(origin, source, mention, problems);
      if (target === undefined) continue;
      names.set(mention.name, target.key);
      if (known.has(target.key)) continue;
      if (known.size >= MAX_TEMPLATES) {
        throw placed(origin.label, source, mention.offset, `more than ${MAX_TEMPLATES} templates`);
      }
      known.add(target.key);
      waiting.push(target);
    }
    nodes.set(origin.key, { ...scan, label: origin.label, source, names });
  }
  if (problems.length > 1) {
    const text = problems.map(({ message }) => message).join(";\n");
    throw new PodError("invalid_argument", text, { cause: problems[0] });
  }
  if (problems.length === 1) throw problems[0];
  return { root: root.key, nodes, plain: [...nodes.values()].every((node) => node.plain) };
}

function resolve(
  origin: TemplateOrigin,
  source: string,
  { name, offset, optional }: Mention,
  problems: PodError[],
): TemplateOrigin | undefined {
  try {
    return origin.resolve(name);
  } catch (error) {
    if (!optional) problems.push(placed(origin.label, source, offset, messageOf(error), error));
    return undefined;
  }
}

/** `invalid_argument` with file and line of a place in a template. */
export function placed(
  label: string,
  source: string,
  offset: number,
  message: string,
  cause?: unknown,
): PodError {
  return new PodError("invalid_argument", `${label}:${lineAt(source, offset)}: ${message}`, {
    cause,
  });
}
