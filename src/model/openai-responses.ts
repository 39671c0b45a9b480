/**
 * The OpenAI Responses format (spec manifest 4.7, 4.8, 5.3 l-n). Nothing is stored at the vendor:
 * thinking comes encrypted and goes back so.
 */
import { loadOpenAiResponses, type SdkCallOptions } from "./ai-sdk.ts";
import type { ResolvedRemoteModel } from "./catalog.ts";
import { type Dialect, type OptionPlan, samplingOf } from "./dialect.ts";
import type { RequestOptions } from "./model.ts";
import { effortLabel, wishedThinking } from "./reasoning.ts";

export const OPENAI_RESPONSES: Dialect = {
  vendorKey: "openai",
  keyHeader: "authorization",
  load: loadOpenAiResponses,
  // The path after the base has no version (5.2), so a base with any path is taken as it is.
  baseUrl: (base) => (new URL(base).pathname === "/" ? `${base}/v1` : base),
  planOptions: planResponsesOptions,
  replay: ({ itemId, reasoningEncryptedContent }) => {
    // Several summaries may belong to one item, only one of which carries what is encrypted.
    const openai = {
      ...(typeof itemId === "string" ? { itemId } : {}),
      ...(typeof reasoningEncryptedContent === "string" ? { reasoningEncryptedContent } : {}),
    };
    return Object.keys(openai).length === 0 ? undefined : { text: true, options: { openai } };
  },
  plainThinking: false,
  signedCalls: false,
  answersAtOnce: true,
  wantsRaw: false,
};

/** Translates request options for `resolved`. */
function planResponsesOptions(resolved: ResolvedRemoteModel, options: RequestOptions): OptionPlan {
  const warnings: string[] = [];
  const effort = effortLabel(wishedThinking(resolved, options.reasoning, warnings));
  const thinks = resolved.capability.reasoning !== undefined;
  const settings: Partial<SdkCallOptions> = {
    ...(options.maxTokens === undefined ? {} : { maxOutputTokens: options.maxTokens }),
    ...samplingOf(options),
    providerOptions: {
      openai: {
        store: false,
        // Models that the library does not know would be taken for ones that do not think.
        ...(thinks ? { forceReasoning: true } : {}),
        ...(effort === undefined ? {} : { reasoningEffort: effort, reasoningSummary: "auto" }),
      },
    },
  };
  return { settings, warnings };
}
