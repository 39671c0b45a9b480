/**
 * What the model is told about its scope. The system prompt says it once and is never built again,
 * because a new one would throw away what the provider has cached; when the live scope differs from
 * what was said last, for example because a child holds part of it, the next request says so.
 */
import type { Item } from "../protocol/history.ts";
import type { ScopeRule } from "../scope/rule.ts";
import { deniesTouching, type Scope, summarizeScope } from "../scope/set.ts";

/** How the texts begin that tell the model of a change. */
export const BOUNDARIES_MARK = "[Working boundaries]";

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

/**
 * The text that tells the model its present boundaries, or undefined when the last thing it was told
 * about them, in the conversation or else in the system prompt, is still true. `boundaries` is the
 * present `boundariesText`. Looks only at what goes into the request, so that it is right after a
 * restart and after the history was shortened.
 */
export function boundariesNews(
  system: string,
  items: readonly Item[],
  boundaries: string,
): string | undefined {
  const news = `${BOUNDARIES_MARK}\nThese hold from now on, in place of what was said before:\n\n${boundaries}`;
  for (let at = items.length - 1; at >= 0; at -= 1) {
    const told = toldBy(items[at]);
    if (told !== undefined) return told === news ? undefined : news;
  }
  return endsWithin(system, boundaries) ? undefined : news;
}

function toldBy(item: Item | undefined): string | undefined {
  if (item?.type !== "message" || item.role !== "system") return undefined;
  const [part] = item.content;
  return part?.type === "text" && part.text.startsWith(BOUNDARIES_MARK) ? part.text : undefined;
}

/** True when the text holds the boundaries and they are not the beginning of longer ones. */
function endsWithin(text: string, boundaries: string): boolean {
  const at = text.lastIndexOf(boundaries);
  if (at === -1) return false;
  const after = text.slice(at + boundaries.length);
  return after === "" || !/^[^\n]|^\n(?: {2}- |Except:|Writable:)/.test(after);
}
