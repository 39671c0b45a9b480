/**
 * The Jinja engine: minijinja, the one that the prompts of the reference are written for, as
 * WebAssembly (npm `minijinja-js`). Loaded only for prompts that use more than `plain.ts` knows.
 * It is strict: an undefined value is an error, and a template cannot run without end.
 */
import { readFileSync } from "node:fs";
import type { Environment } from "minijinja-js/dist/web/minijinja_js.js";
import { messageOf, PodError } from "../base/errors.ts";
import type { TemplateGraph, TemplateNode } from "./graph.ts";
import { MAX_INCLUDE_DEPTH, type TemplateValues } from "./plain.ts";

/** Instructions of the engine that one rendering may take; a long prompt needs some thousands. */
const MAX_FUEL = 1_000_000;

/** The engine's module, once loaded. */
interface Engine {
  readonly Environment: typeof Environment;
}

/** Loads and initialises the engine, about 40 ms. */
export async function loadEngine(): Promise<Engine> {
  const module = await import("minijinja-js/dist/web/minijinja_js.js");
  const wasm: object = await import("minijinja-js/dist/web/minijinja_js_bg.wasm", {
    with: { type: "file" },
  });
  if (!("default" in wasm)) throw new PodError("internal", "the template engine is not embedded");
  module.initSync({ module: readFileSync(String(wasm.default)) });
  return module;
}

/** Parses every template of the graph; throws `invalid_argument` with `<file>:<line>: …`. */
export function checkSyntax(engine: Engine, graph: TemplateGraph): void {
  withEnvironment(engine, graph, () => undefined);
}

/** Renders the graph; throws `invalid_argument` with `<file>:<line>: …`. */
export function renderWith(engine: Engine, graph: TemplateGraph, values: TemplateValues): string {
  return withEnvironment(engine, graph, (environment) => {
    try {
      return environment.renderTemplate(graph.root, values);
    } catch (error) {
      throw innermost(environment, values, error);
    }
  });
}

/** The engine names only the include that failed; what failed in it shows when it is rendered alone. */
function innermost(environment: Environment, values: TemplateValues, outer: unknown): unknown {
  let error = outer;
  for (let depth = 0; depth < MAX_INCLUDE_DEPTH; depth += 1) {
    const key = /error in "([^"]+)"/.exec(messageOf(error))?.[1];
    if (key === undefined || error instanceof WebAssembly.RuntimeError) return error;
    try {
      environment.renderTemplate(key, values);
      return error;
    } catch (inner) {
      error = inner;
    }
  }
  return error;
}

function withEnvironment<Value>(
  engine: Engine,
  graph: TemplateGraph,
  work: (environment: Environment) => Value,
): Value {
  const environment = new engine.Environment();
  let broken = false;
  try {
    environment.undefinedBehavior = "strict";
    environment.fuel = MAX_FUEL;
    for (const [key, node] of graph.nodes) environment.addTemplate(key, qualified(node));
    return work(environment);
  } catch (error) {
    // A trap inside WebAssembly leaves the environment in use.
    broken = error instanceof WebAssembly.RuntimeError;
    throw new PodError("invalid_argument", explained(error, graph), { cause: error });
  } finally {
    if (!broken) environment.free();
  }
}

/** The source with names of other templates as keys of the graph: the engine has no relative names. */
function qualified({ source, mentions, names }: TemplateNode): string {
  let text = "";
  let at = 0;
  for (const { name, start, end } of mentions) {
    text += `${source.slice(at, start)}${JSON.stringify(names.get(name) ?? name)}`;
    at = end;
  }
  return text + source.slice(at);
}

/** The engine's message, with our name of the file in front instead of its own behind. */
function explained(error: unknown, graph: TemplateGraph): string {
  if (error instanceof WebAssembly.RuntimeError) {
    return `${graph.nodes.get(graph.root)?.label ?? graph.root}: the template needs too much memory`;
  }
  const [, message, key = "", line] = /^(.*?) \(in (.+?):(\d+)\)/s.exec(messageOf(error)) ?? [];
  if (message === undefined) return messageOf(error).split("\n", 1)[0] ?? "";
  const reason = message === "undefined value" ? "undefined value (no such variable)" : message;
  return `${graph.nodes.get(key)?.label ?? key}:${line}: ${reason}`;
}
