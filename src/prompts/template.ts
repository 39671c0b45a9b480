/**
 * Templates ready to render. Everything is read, parsed and checked when one is prepared, so that
 * rendering later does no input or output and needs no engine that is not there yet
 * (spec manifest 6.2, 6.3, FIX 18).
 */
import { PodError } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import { checkSyntax, loadEngine, renderWith } from "./engine.ts";
import { loadGraph, type TemplateGraph } from "./graph.ts";
import type { TemplateOrigin } from "./origin.ts";
import { renderPlain, type TemplateValues } from "./plain.ts";

/** Characters that one rendered template may have; a model could not take more. */
export const MAX_RENDERED_CHARACTERS = 1024 * 1024;

/** Values that an instruction may insert (6.3); times are UTC. */
export interface PromptVariables {
  readonly [name: string]: string | readonly string[];
  readonly cwd: string;
  readonly date: string;
  readonly time: string;
  readonly datetime: string;
  /** Tool names, sorted. */
  readonly tools: readonly string[];
}

/** The variables for a Pod that works in `cwd` and has these tools, at the instant `now`. */
export function promptVariables(cwd: string, now: Date, tools: readonly string[]): PromptVariables {
  const datetime = now.toISOString().replace(/\.\d+Z$/, "Z");
  return {
    cwd,
    date: datetime.slice(0, 10),
    time: datetime.slice(11, 19),
    datetime,
    tools: tools.toSorted(),
  };
}

/** A template that was read and parsed. */
export interface Template {
  /** Throws `invalid_argument` with `<file>:<line>: …`. */
  render(values: TemplateValues): string;
}

/** One instance for the process: memory of WebAssembly is never given back. */
const engine = lazily(loadEngine);

/**
 * Reads and parses a template with everything it includes. Throws `invalid_argument` with
 * `<file>:<line>: …` for what is wrong inside, and `loadAsset`'s errors for assets.
 */
export async function prepareTemplate(origin: TemplateOrigin): Promise<Template> {
  const graph = loadGraph(origin);
  if (graph.plain) return plainTemplate(origin, graph);
  const loaded = await engine();
  checkSyntax(loaded, graph);
  return { render: (values) => bounded(origin, renderWith(loaded, graph, values)) };
}

/** The same at once, for texts of our own that need no engine. Throws `internal` for one that does. */
export function prepareOwn(origin: TemplateOrigin): Template {
  const graph = loadGraph(origin);
  if (!graph.plain) throw new PodError("internal", `${origin.label} needs the template engine`);
  return plainTemplate(origin, graph);
}

function plainTemplate(origin: TemplateOrigin, graph: TemplateGraph): Template {
  return { render: (values) => bounded(origin, renderPlain(graph, values)) };
}

function bounded({ label }: TemplateOrigin, text: string): string {
  if (text.length <= MAX_RENDERED_CHARACTERS) return text;
  throw new PodError(
    "invalid_argument",
    `${label}: renders to ${text.length} characters, limit is ${MAX_RENDERED_CHARACTERS}`,
  );
}
