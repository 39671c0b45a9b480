/**
 * The Anthropic Messages format (spec manifest 4.7, 4.8, 5.3 b-g and q), at the vendor or at any
 * host that imitates it.
 */
import { PodError } from "../base/errors.ts";
import { loadAnthropic, type SdkCallOptions } from "./ai-sdk.ts";
import { isVendorHost, type ResolvedRemoteModel } from "./catalog.ts";
import { type Dialect, endsInVersion, type OptionPlan, samplingOf } from "./dialect.ts";
import { isObject } from "./failure.ts";
import type { RequestOptions, Usage } from "./model.ts";
import {
  EFFORT_TOKENS,
  type Effort,
  knownEffort,
  unknownEffort,
  wishedThinking,
} from "./reasoning.ts";

/**
 * `max_tokens` when the manifest says nothing. The reference's 4096 cuts file-sized tool calls in
 * the middle; the model's own maximum (up to 128000) lets one runaway answer cost a fortune.
 */
export const DEFAULT_MAX_TOKENS = 32_000;
/** Smallest thinking budget that the API takes. */
const MIN_BUDGET_TOKENS = 1024;
/**
 * The vendor's models that take budgets only, as far as names tell; later ones think as much as they
 * need and take an effort. Of what is in doubt: must match wherever the library would make a budget
 * of its own from an effort.
 */
const BUDGET_MODELS =
  /claude-(?:instant|v?[23](?!\d)|haiku-4|sonnet-4(?![-.]6)|opus-4(?![-.][678]))/;

export const ANTHROPIC: Dialect = {
  vendorKey: "anthropic",
  keyHeader: "x-api-key",
  load: loadAnthropic,
  baseUrl: versionedBaseUrl,
  adjustHeaders: (headers, resolved) => {
    // Betas that the library asks for are the vendor's; others may refuse them.
    if (!isVendorHost(resolved)) headers.delete("anthropic-beta");
  },
  planOptions,
  // Other servers of this format do not know the vendor's per-tool key (5.3 f).
  toolOptions: (resolved) =>
    isVendorHost(resolved) ? undefined : { anthropic: { eagerInputStreaming: false } },
  replay: ({ signature, redactedData }) => {
    if (typeof signature === "string") return { text: true, options: { anthropic: { signature } } };
    if (typeof redactedData !== "string") return undefined;
    return { text: false, options: { anthropic: { redactedData } } };
  },
  plainThinking: false,
  signedCalls: false,
  answersAtOnce: true,
  wantsRaw: false,
  earlyUsage: (kind, metadata) =>
    kind === "anthropic.message_start" ? firstUsage(metadata) : undefined,
  unknownKind: unknownTag,
};

/** The base with its version segment (5.2): `/v1` is added unless there is one. */
export function versionedBaseUrl(base: string): string {
  return endsInVersion(base) ? base : `${base}/v1`;
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
    const label = typeof options.reasoning === "string" ? ` "${options.reasoning}"` : "";
    throw new PodError(
      "invalid_manifest",
      `worker.reasoning${label} (${budget} thinking tokens) must be smaller than ` +
        `worker.max_tokens (${total}), which includes it`,
    );
  }
  const settings: Partial<SdkCallOptions> = {
    // The library adds the budget to what it is given (5.3 d).
    maxOutputTokens: total - budget,
    ...samplingOf(options),
    ...(thinking.effort === undefined ? {} : { reasoning: thinking.effort }),
    // Nothing that can be said otherwise: the library checks what stands here against a schema that
    // takes it 5 ms to build, and every Pod would pay that before its first request.
    ...(thinking.budget === undefined
      ? {}
      : {
          providerOptions: {
            anthropic: { thinking: { type: "enabled", budgetTokens: thinking.budget } },
          },
        }),
  };
  return { settings, warnings };
}

/** True when the model takes an effort and not only a budget. */
function takesEffort(modelId: string): boolean {
  return modelId.includes("claude-") && !BUDGET_MODELS.test(modelId);
}

/**
 * A label for a model that takes efforts goes to the library, which knows which ones each takes.
 * For any other it is a budget by our table: the library's own is a share of what the model can
 * write at most, whatever the user's limit is, and comes on top of it.
 */
function planThinking(
  resolved: ResolvedRemoteModel,
  wish: RequestOptions["reasoning"],
  warnings: string[],
): { budget?: number; effort?: Effort } {
  const thinking = wishedThinking(resolved, wish, warnings);
  if (thinking === undefined) return {};
  const adaptive = takesEffort(resolved.modelId);
  // A number that would be made a label and then a number again stays what it is.
  if (typeof wish === "number" && !adaptive) return planBudget(Math.floor(wish), warnings);
  if ("tokens" in thinking) return planBudget(thinking.tokens, warnings);
  const effort = knownEffort(thinking.effort);
  if (effort === undefined) {
    warnings.push(unknownEffort(thinking.effort));
    return {};
  }
  return adaptive ? { effort } : { budget: EFFORT_TOKENS[effort] };
}

function planBudget(tokens: number, warnings: string[]): { budget?: number } {
  if (tokens <= 0) {
    warnings.push(`worker.reasoning ${tokens} is ignored: a thinking budget is a positive number`);
    return {};
  }
  if (tokens < MIN_BUDGET_TOKENS) {
    warnings.push(
      `worker.reasoning ${tokens} is raised to ${MIN_BUDGET_TOKENS}, the smallest budget of the API`,
    );
    return { budget: MIN_BUDGET_TOKENS };
  }
  return { budget: tokens };
}

/** Tokens of the prompt as the vendor counts them at the start of an answer. */
function firstUsage(metadata: unknown): Usage | undefined {
  const vendor = isObject(metadata) ? metadata.anthropic : undefined;
  const usage = isObject(vendor) ? vendor.usage : undefined;
  if (!isObject(usage)) return undefined;
  const count = (key: string): number => (typeof usage[key] === "number" ? usage[key] : 0);
  const cacheRead = count("cache_read_input_tokens");
  const cacheWrite = count("cache_creation_input_tokens");
  const input = count("input_tokens") + cacheRead + cacheWrite;
  return { input, output: null, cacheRead, cacheWrite };
}

const KNOWN_EVENTS = [
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
  "ping",
  "error",
];
const KNOWN_BLOCKS = ["text", "thinking", "redacted_thinking", "tool_use"];
const KNOWN_DELTAS = ["text_delta", "thinking_delta", "signature_delta", "input_json_delta"];

/**
 * What an event is that the library refuses only because it is newer than the library: reported as
 * `event "x"`, `block "x"` or `delta "x"`. Undefined for damaged data.
 */
function unknownTag(error: unknown): string | undefined {
  if (!isObject(error) || !isObject(error.value)) return undefined;
  const event = error.value;
  const check = (kind: string, tag: unknown, known: readonly string[]): string | undefined =>
    typeof tag === "string" && !known.includes(tag) ? `${kind} "${tag.slice(0, 64)}"` : undefined;
  return (
    check("event", event.type, KNOWN_EVENTS) ??
    (isObject(event.content_block)
      ? check("block", event.content_block.type, KNOWN_BLOCKS)
      : undefined) ??
    (isObject(event.delta) ? check("delta", event.delta.type, KNOWN_DELTAS) : undefined)
  );
}
