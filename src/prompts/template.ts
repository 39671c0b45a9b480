/**
 * The part of the template language that our own assets use: `{{ variable }}` and
 * `{% include "name" %}`. Other Jinja syntax is refused with its place, never passed through as text
 * (spec manifest 6.2, 6.3). Values are inserted once and never read as templates again.
 */
import { messageOf, PodError } from "../base/errors.ts";
import { printable } from "../base/paths.ts";
import { loadAsset, type PromptLibraries } from "./library.ts";
import { parseReference, type PromptReference } from "./reference.ts";

/** Values a template may insert (6.3); times are UTC. */
export interface PromptVariables {
  readonly cwd: string;
  readonly date: string;
  readonly time: string;
  readonly datetime: string;
  /** Tool names, sorted; inserted as a list with commas. */
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

/** How deep includes may nest; a cycle ends here. */
export const MAX_INCLUDE_DEPTH = 16;
/** How many includes one prompt may have in all, so that a few files cannot grow without bound. */
export const MAX_INCLUDES = 256;

interface Context {
  readonly libraries: PromptLibraries;
  readonly values: ReadonlyMap<string, string>;
  includes: number;
}

/**
 * Renders an asset with everything it includes. Throws `invalid_argument` with `<file>:<line>: …`
 * for what is wrong inside a template, and `loadAsset`'s errors for the asset itself.
 */
export function renderAsset(
  reference: PromptReference,
  libraries: PromptLibraries,
  variables: PromptVariables,
): string {
  const values = new Map(
    Object.entries({ ...variables, tools: variables.tools.join(", ") }) as [string, string][],
  );
  return render(reference, { libraries, values, includes: 0 }, 1);
}

// A tag up to its end, or an opening that has none.
const TAG = /\{\{([^]*?)\}\}|\{%([^]*?)%\}|\{#[^]*?#\}|\{[{%#]/g;
const INCLUDE = /^\s*include\s+(?:"([^"]*)"|'([^']*)')\s*$/;

function render(reference: PromptReference, context: Context, depth: number): string {
  const { label, text } = loadAsset(reference, context.libraries);
  // One trailing line end belongs to the file, not to the text (6.3).
  const source = text.replace(/\r?\n$/, "");
  return source.replace(TAG, (tag: string, name?: string, statement?: string, offset = 0) => {
    const fail = (message: string, cause?: unknown): PodError => {
      const line = source.slice(0, offset).split("\n").length;
      return new PodError("invalid_argument", `${label}:${line}: ${message}`, { cause });
    };
    if (name !== undefined) return valueOf(name.trim(), context, fail) ?? refuse(tag, fail);
    const [, double, single] = INCLUDE.exec(statement ?? "") ?? [];
    const included = double ?? single;
    if (included === undefined) return refuse(tag, fail);
    context.includes += 1;
    if (depth >= MAX_INCLUDE_DEPTH || context.includes > MAX_INCLUDES) {
      throw fail(
        depth >= MAX_INCLUDE_DEPTH
          ? `includes nest deeper than ${MAX_INCLUDE_DEPTH} levels`
          : `more than ${MAX_INCLUDES} includes`,
      );
    }
    let target: PromptReference;
    try {
      target = parseReference(included, reference);
      loadAsset(target, context.libraries);
    } catch (error) {
      throw fail(messageOf(error), error);
    }
    return render(target, context, depth + 1);
  });
}

type Fail = (message: string) => PodError;

/** The value of a variable; undefined for what is not a plain name. */
function valueOf(name: string, context: Context, fail: Fail): string | undefined {
  const value = context.values.get(name);
  if (value === undefined && /^[A-Za-z_]\w*$/.test(name)) {
    const known = [...context.values.keys()].join(", ");
    throw fail(`unknown variable \`${name}\` (known: ${known})`);
  }
  return value;
}

function refuse(tag: string, fail: Fail): never {
  throw fail(
    `unsupported template syntax \`${printable(tag, 60)}\`: ` +
      'only {{ variable }} and {% include "name" %} are understood',
  );
}
