/**
 * The system prompt of a new Pod: the instruction, its working boundaries, the project's AGENTS.md
 * (spec manifest 6.4). Built once, from values; a failure consumes nothing, so the caller can mend
 * the cause and build again (FIX 17).
 */
import { messageOf, PodError } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import type { Scope } from "../scope/set.ts";
import { boundariesText } from "./boundaries.ts";
import type { PromptLibraries } from "./library.ts";
import { assetOrigin } from "./origin.ts";
import type { PromptCatalog } from "./pack.ts";
import { parseReference } from "./reference.ts";
import {
  prepareOwn,
  prepareTemplate,
  promptVariables,
  type PromptVariables,
  type Template,
} from "./template.ts";

/** What a system prompt is made of. */
export interface SystemPromptParts {
  /** From `prepareInstruction`. */
  readonly instruction: Template;
  readonly catalog: PromptCatalog;
  readonly variables: PromptVariables;
  /** The Pod's scope without rules the program adds for itself: the model is to see what is its own. */
  readonly scope: Scope;
  /** Text of `readAgentsMd`. */
  readonly agentsMd?: string;
}

/**
 * The whole system prompt. Throws `invalid_argument` with
 * `failed to render system prompt template: …`.
 */
export function buildSystemPrompt(parts: SystemPromptParts): string {
  const { instruction, catalog, variables, scope, agentsMd } = parts;
  return within("failed to render system prompt template", () => {
    const body = within("system prompt template render error", () => instruction.render(variables));
    const trailing = within("failed to render trailing section template", () => [
      catalog.render("working_boundaries_section", { scope_summary: boundariesText(scope) }),
      ...(agentsMd === undefined
        ? []
        : [catalog.render("agents_md_section", { agents_md: agentsMd })]),
    ]);
    const sections = trailing.map((text) => `${trimTrailing(text)}\n`);
    return trimTrailing([body.endsWith("\n") ? body : `${body}\n`, ...sections].join("\n"));
  });
}

/**
 * Reads the instruction and everything it includes and renders it with sample values, so that what
 * is wrong is known at start-up (FIX 18). Throws `invalid_argument` with
 * `invalid system prompt template: …`.
 */
export async function prepareInstruction(
  instruction: string,
  libraries: PromptLibraries,
): Promise<Template> {
  try {
    const { origin, isOwn } = within("failed to resolve instruction reference", () => {
      const reference = parseReference(instruction);
      return {
        origin: assetOrigin(reference, libraries),
        isOwn: reference.prefix === "insomnia",
      };
    });
    // Our own are right as long as our tests are, and most children have one: parsed when needed.
    if (isOwn) {
      const own = lazily(() => prepareOwn(origin));
      return { render: (values) => own().render(values) };
    }
    const template = await prepareTemplate(origin).catch((error: unknown) => {
      throw prefixed("system prompt template parse error", error);
    });
    const sample = promptVariables("/", new Date(0), ["Read"]);
    within("system prompt template render error", () => template.render(sample));
    return template;
  } catch (error) {
    throw prefixed("invalid system prompt template", error);
  }
}

/** Without the line ends and blanks at the end; not a pattern, which long runs of blanks make slow. */
function trimTrailing(text: string): string {
  let end = text.length;
  while (end > 0 && (text[end - 1] === "\n" || text[end - 1] === " ")) end -= 1;
  return text.slice(0, end);
}

function within<Value>(prefix: string, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    throw prefixed(prefix, error);
  }
}

function prefixed(prefix: string, error: unknown): PodError {
  return new PodError("invalid_argument", `${prefix}: ${messageOf(error)}`, { cause: error });
}
