/**
 * Request options in the terms of the Anthropic API (spec manifest 4.7, 4.8, 5.3 c-f). Pure. Nothing
 * is dropped without a warning (FIX 5).
 */
import { PodError } from "../base/errors.ts";
import type { SdkCallOptions } from "./ai-sdk.ts";
import { isVendorHost, type ResolvedRemoteModel } from "./catalog.ts";
import type { RequestOptions } from "./model.ts";

/**
 * `max_tokens` when the manifest says nothing. The reference's 4096 cuts file-sized tool calls in
 * the middle; the model's own maximum (up to 128000) lets one runaway answer cost a fortune.
 */
export const DEFAULT_MAX_TOKENS = 32_000;
/** Smallest thinking budget that the API takes. */
const MIN_BUDGET_TOKENS = 1024;
/** Effort labels with a meaning here. */
const EFFORTS = ["minimal", "low", "medium", "high", "xhigh"] as const;
type Effort = (typeof EFFORTS)[number];

/** Options for `doStream`, and what the user should know about them. */
export interface OptionPlan {
  readonly settings: Partial<SdkCallOptions>;
  readonly warnings: readonly string[];
}

/**
 * Translates request options for `resolved`. Throws `invalid_manifest` for a thinking budget that
 * leaves no room in `max_tokens`. Call it at start to find such mistakes before the first request.
 */
export function planOptions(resolved: ResolvedRemoteModel, options: RequestOptions): OptionPlan {
  const warnings: string[] = [];
  const thinking = planThinking(resolved, options.reasoning, warnings);
  const budget = thinking.budget ?? 0;
  const total = options.maxTokens ?? DEFAULT_MAX_TOKENS + budget;
  if (budget >= total) {
    throw new PodError(
      "invalid_manifest",
      `worker.reasoning (${budget} thinking tokens) must be smaller than worker.max_tokens ` +
        `(${total}), which includes it`,
    );
  }
  const settings: Partial<SdkCallOptions> = {
    // The library adds the budget to what it is given (5.3 d).
    maxOutputTokens: total - budget,
    ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
    ...(options.topP === undefined ? {} : { topP: options.topP }),
    ...(options.topK === undefined ? {} : { topK: options.topK }),
    ...(options.stopSequences === undefined || options.stopSequences.length === 0
      ? {}
      : { stopSequences: [...options.stopSequences] }),
    ...(thinking.effort === undefined ? {} : { reasoning: thinking.effort }),
    providerOptions: {
      anthropic: {
        // Other servers of this format do not know the vendor's per-tool key (5.3 f).
        toolStreaming: isVendorHost(resolved),
        ...(thinking.budget === undefined
          ? {}
          : { thinking: { type: "enabled", budgetTokens: thinking.budget } }),
      },
    },
  };
  return { settings, warnings };
}

/**
 * The wish for thinking in a form the model takes. A label goes to the library, which knows per
 * model whether that is an effort or a budget. A budget for a model that takes only efforts becomes
 * a label: below 4096 tokens `low`, below 16384 `medium`, else `high`.
 */
function planThinking(
  resolved: ResolvedRemoteModel,
  wish: RequestOptions["reasoning"],
  warnings: string[],
): { budget?: number; effort?: Effort } {
  if (wish === undefined) return {};
  const form = resolved.capability.reasoning;
  if (form === undefined) {
    warnings.push(
      `worker.reasoning is ignored: the capability of ${resolved.modelId} has no reasoning`,
    );
    return {};
  }
  if (typeof wish === "string") {
    const effort = EFFORTS.find((label) => label === wish);
    if (effort === undefined) {
      warnings.push(
        `worker.reasoning "${wish}" is ignored: use ${EFFORTS.join(", ")} or a number of tokens`,
      );
      return {};
    }
    return { effort };
  }
  if (form === "effort") return { effort: wish < 4096 ? "low" : wish < 16_384 ? "medium" : "high" };
  if (wish <= 0) {
    warnings.push(`worker.reasoning ${wish} is ignored: a thinking budget is a positive number`);
    return {};
  }
  if (wish < MIN_BUDGET_TOKENS) {
    warnings.push(
      `worker.reasoning ${wish} is raised to ${MIN_BUDGET_TOKENS}, the smallest budget of the API`,
    );
    return { budget: MIN_BUDGET_TOKENS };
  }
  return { budget: Math.floor(wish) };
}
