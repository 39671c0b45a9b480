/** The Gemini format (spec manifest 4.7, 4.8, 5.3 h, o and p). Signed tool calls go back signed. */
import { loadGemini, type SdkCallOptions } from "./ai-sdk.ts";
import type { ResolvedRemoteModel } from "./catalog.ts";
import { type Dialect, endsInVersion, type OptionPlan, samplingOf } from "./dialect.ts";
import type { RequestOptions } from "./model.ts";
import { EFFORT_TOKENS, knownEffort, unknownEffort, wishedThinking } from "./reasoning.ts";

/** Most that every thinking model of the vendor takes. */
const MAX_BUDGET_TOKENS = 24_576;

export const GEMINI: Dialect = {
  vendorKey: "google",
  keyHeader: "x-goog-api-key",
  load: loadGemini,
  baseUrl: (base) => (endsInVersion(base) ? base : `${base}/v1beta`),
  planOptions: planGeminiOptions,
  replay: ({ thoughtSignature }) =>
    typeof thoughtSignature === "string"
      ? { text: true, options: { google: { thoughtSignature } } }
      : undefined,
  plainThinking: false,
  signedCalls: true,
  answersAtOnce: false,
  // The library closes the open texts of a cut answer.
  isComplete: (tail) => /"(finishReason|blockReason)" ?: ?"/.test(tail),
  wantsRaw: false,
};

/** Translates request options for `resolved`. */
function planGeminiOptions(resolved: ResolvedRemoteModel, options: RequestOptions): OptionPlan {
  const warnings: string[] = [];
  const thinking = planThinking(resolved, options.reasoning, warnings);
  const settings: Partial<SdkCallOptions> = {
    ...(options.maxTokens === undefined ? {} : { maxOutputTokens: options.maxTokens }),
    ...samplingOf(options),
    ...(thinking === undefined
      ? {}
      : {
          providerOptions: {
            google: { thinkingConfig: { ...thinking, includeThoughts: true } },
          },
        }),
  };
  return { settings, warnings };
}

/** Newer models want levels, older ones budgets (5.3 p); -1 leaves the amount to the model. */
function planThinking(
  resolved: ResolvedRemoteModel,
  wish: RequestOptions["reasoning"],
  warnings: string[],
): { thinkingLevel: string } | { thinkingBudget: number } | undefined {
  const thinking = wishedThinking(resolved, wish, warnings);
  if (thinking === undefined) return undefined;
  if ("tokens" in thinking) {
    if (thinking.tokens < -1) {
      warnings.push(
        `worker.reasoning ${thinking.tokens} is ignored: use -1 (as needed), 0 or more`,
      );
      return undefined;
    }
    return { thinkingBudget: thinking.tokens };
  }
  const effort = knownEffort(thinking.effort);
  if (effort === undefined) {
    warnings.push(unknownEffort(thinking.effort));
    return undefined;
  }
  if (resolved.capability.reasoning === "budget_tokens") {
    return { thinkingBudget: Math.min(EFFORT_TOKENS[effort], MAX_BUDGET_TOKENS) };
  }
  if (effort !== "xhigh") return { thinkingLevel: effort };
  warnings.push('worker.reasoning "xhigh" is sent as "high", the most that the format has');
  return { thinkingLevel: "high" };
}
