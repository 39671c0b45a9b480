/**
 * The system prompt of a new Pod: the instruction, its working boundaries, the project's AGENTS.md
 * (spec manifest 6.4). Built once, from values; a failure consumes nothing, so the caller can mend
 * the cause and build again (FIX 17).
 */
import { messageOf, PodError } from "../base/errors.ts";
import type { ScopeRule } from "../scope/rule.ts";
import { deniesTouching, type Scope, summarizeScope } from "../scope/set.ts";
import { loadAsset, type PromptLibraries } from "./library.ts";
import { parseReference } from "./reference.ts";
import { promptVariables, type PromptVariables, renderAsset } from "./template.ts";

/** What a system prompt is made of. */
export interface SystemPromptParts {
  /** Asset reference (`worker.instruction`). */
  readonly instruction: string;
  readonly libraries: PromptLibraries;
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
  const body = within("failed to render system prompt template", () => renderInstruction(parts));
  const sections = [
    body.endsWith("\n") ? body : `${body}\n`,
    section("Working boundaries", boundariesText(parts.scope)),
    ...(parts.agentsMd === undefined
      ? []
      : [section("Project instructions (AGENTS.md)", parts.agentsMd)]),
  ];
  return trimTrailing(sections.join("\n"));
}

/**
 * Renders the instruction and everything it includes with sample values, so that what is wrong is
 * known at start-up (FIX 18). Throws `invalid_argument` with `invalid system prompt template: …`.
 */
export function checkInstruction(instruction: string, libraries: PromptLibraries): void {
  const variables = promptVariables("/", new Date(0), []);
  within("invalid system prompt template", () =>
    renderInstruction({ instruction, libraries, variables }),
  );
}

/** The scope as the model reads it: `summarizeScope`, then the deny rules that matter (FIX 19). */
export function boundariesText(scope: Scope): string {
  const denied = deniesTouching(scope.deny, scope.allow);
  if (denied.length === 0) return summarizeScope(scope);
  return [summarizeScope(scope), "Except:", ...denied.map(describeDeny)].join("\n");
}

function describeDeny(rule: ScopeRule): string {
  const left = rule.permission === "read" ? "no access" : "read only";
  return `  - ${rule.target}${rule.recursive ? "" : " [non-recursive]"}: ${left}`;
}

const section = (title: string, text: string): string =>
  `${trimTrailing(`---\n## ${title}\n\n${text}`)}\n`;

/** Without the line ends and blanks at the end; not a pattern, which long runs of blanks make slow. */
function trimTrailing(text: string): string {
  let end = text.length;
  while (end > 0 && (text[end - 1] === "\n" || text[end - 1] === " ")) end -= 1;
  return text.slice(0, end);
}

function renderInstruction(
  parts: Pick<SystemPromptParts, "instruction" | "libraries" | "variables">,
): string {
  const reference = within("failed to resolve instruction reference", () => {
    const parsed = parseReference(parts.instruction);
    loadAsset(parsed, parts.libraries);
    return parsed;
  });
  return within("system prompt template parse error", () =>
    renderAsset(reference, parts.libraries, parts.variables),
  );
}

function within<Value>(prefix: string, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    throw new PodError("invalid_argument", `${prefix}: ${messageOf(error)}`, { cause: error });
  }
}
