/**
 * The OpenAI Chat Completions format (spec manifest 4.7, 4.8, 5.3 j and k), at the vendor, at
 * OpenRouter and at the many servers that imitate it. One library serves all of them: the vendor's
 * own knows only the vendor's models.
 */
import { COMPATIBLE_NAME, loadOpenAiChat, type SdkCallOptions } from "./ai-sdk.ts";
import { isVendorHost, type ResolvedRemoteModel } from "./catalog.ts";
import { type Dialect, endsInVersion, type OptionPlan, samplingOf } from "./dialect.ts";
import { isObject } from "./failure.ts";
import type { RequestOptions } from "./model.ts";
import { namesCalls } from "./nameless-calls.ts";
import { effortLabel, wishedThinking } from "./reasoning.ts";

export const OPENAI_CHAT: Dialect = {
  vendorKey: COMPATIBLE_NAME,
  keyHeader: "authorization",
  load: async (resolved) => {
    const create = await loadOpenAiChat();
    // The vendor refuses the old name for newer models; other servers may not know the new one.
    const sizeKey = isVendorHost(resolved) ? "max_completion_tokens" : "max_tokens";
    return (settings) => create(settings, sizeKey);
  },
  baseUrl: (base) => (endsInVersion(base) ? base : `${base}/v1`),
  planOptions: planChatOptions,
  // Models that think between tool calls want their thinking back until the user speaks again;
  // hosts of older ones refuse it in later turns.
  replay: (_metadata, thisTurn) => (thisTurn ? { text: true, options: undefined } : undefined),
  plainThinking: true,
  // Gemini behind this format signs its calls.
  signedCalls: true,
  answersAtOnce: false,
  // The library ends a cut answer like a whole one: open texts and calls are closed.
  isComplete: (tail) => /^data: ?\[DONE\]/m.test(tail) || /"finish_reason" ?: ?"/.test(tail),
  mend: namesCalls,
  // An error beside `choices` is lost otherwise.
  wantsRaw: true,
  unknownKind: foreignEvent,
};

/** Some hosts send events of their own between the chunks; the library refuses them. */
function foreignEvent(error: unknown): string | undefined {
  const event = isObject(error) ? error.value : undefined;
  if (!isObject(event) || "choices" in event || "error" in event || "message" in event) {
    return undefined;
  }
  return `event "${String(event.type ?? event.object ?? "without a name").slice(0, 64)}"`;
}

/** Translates request options for `resolved`. */
function planChatOptions(resolved: ResolvedRemoteModel, options: RequestOptions): OptionPlan {
  const warnings: string[] = [];
  const effort = effortLabel(wishedThinking(resolved, options.reasoning, warnings));
  const settings: Partial<SdkCallOptions> = {
    ...(options.maxTokens === undefined ? {} : { maxOutputTokens: options.maxTokens }),
    ...samplingOf(options),
    ...(effort === undefined
      ? {}
      : { providerOptions: { [COMPATIBLE_NAME]: { reasoningEffort: effort } } }),
  };
  return { settings, warnings };
}
