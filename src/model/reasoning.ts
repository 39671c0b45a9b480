/**
 * The wish for thinking (`worker.reasoning`, spec manifest 4.7) in a form that the model takes. Pure.
 * A label and a number of tokens are translated into each other by the table below when the
 * capability has only the other form (FIX 5).
 */
import type { ResolvedRemoteModel } from "./catalog.ts";
import type { RequestOptions } from "./model.ts";

/** Effort labels with a meaning in every scheme, and the tokens that each stands for. */
export const EFFORT_TOKENS = {
  minimal: 1024,
  low: 2048,
  medium: 8192,
  high: 16_384,
  xhigh: 24_576,
} as const;
/** One of those labels. */
export type Effort = keyof typeof EFFORT_TOKENS;
/** The labels, from the least to the most. */
const EFFORTS: readonly Effort[] = ["minimal", "low", "medium", "high", "xhigh"];

/** The label as one of ours, or undefined. */
export function knownEffort(label: string): Effort | undefined {
  return EFFORTS.find((effort) => effort === label);
}

/** The label for a budget: below 4096 tokens `low`, below 16384 `medium`, else `high`. */
function effortFor(tokens: number): Effort {
  return tokens < 4096 ? "low" : tokens < 16_384 ? "medium" : "high";
}

/** What is asked of the model: a label (perhaps one that only the vendor knows) or tokens. */
type Thinking = { readonly effort: string } | { readonly tokens: number };

/**
 * The wish in a form that the capability names; undefined when there is none or the model takes
 * none, which is a warning. A label stays a label also for `budget_tokens`: what it stands for
 * there is the dialect's business.
 */
export function wishedThinking(
  resolved: ResolvedRemoteModel,
  wish: RequestOptions["reasoning"],
  warnings: string[],
): Thinking | undefined {
  if (wish === undefined) return undefined;
  const form = resolved.capability.reasoning;
  if (form === undefined) {
    warnings.push(
      `worker.reasoning is ignored: the capability of ${resolved.modelId} has no reasoning`,
    );
    return undefined;
  }
  if (typeof wish === "string") return { effort: wish };
  return form === "effort" ? { effort: effortFor(wish) } : { tokens: Math.floor(wish) };
}

/** The wish as a label, for formats that have no budgets whatever the capability says. */
export function effortLabel(thinking: Thinking | undefined): string | undefined {
  if (thinking === undefined) return undefined;
  return "effort" in thinking ? thinking.effort : effortFor(thinking.tokens);
}

/** Warns of a label that this scheme does not know. */
export function unknownEffort(label: string): string {
  return `worker.reasoning "${label}" is ignored: use ${EFFORTS.join(", ")} or a number of tokens`;
}
