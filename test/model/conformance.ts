/**
 * What the tests that every wire format passes share: a server that speaks the format, a model at it,
 * and the table of what a format does in its own way. A format that needs another expectation gets a
 * line in `FACTS`, not a test of its own.
 */
import { resolveModel } from "../../src/model/catalog.ts";
import type { ModelCapability, ModelConfig } from "../../src/model/config.ts";
import { isObject } from "../../src/model/failure.ts";
import type { FinishReason, Model } from "../../src/model/model.ts";
import { createModel, type ModelDependencies } from "../../src/model/provider.ts";
import { FORMATS } from "../support/wire-formats.ts";
import {
  type Answer,
  type BlockAnswer,
  type WireRequest,
  type WireServer,
  wireServer,
} from "../support/wire-server.ts";
import { SECRET, virtualClock } from "./support.ts";

type Scheme = keyof typeof FORMATS;

/** The vendor's word for why it stopped, and ours. */
type Stop = readonly [string, FinishReason];

interface Facts {
  readonly path: string;
  readonly keyHeader: string;
  readonly key: string;
  /** The tools of a request as the vendor wants them. */
  readonly toolNames: (raw: WireRequest["raw"]) => unknown;
  /** Where the wish for thinking stands in a request. */
  readonly effort: (raw: WireRequest["raw"]) => unknown;
  readonly sizeLimit: (raw: WireRequest["raw"]) => unknown;
  readonly stopReasons: readonly [Stop, Stop];
  /** False where the vendor does not count what it writes to its cache. */
  readonly countsCacheWrites: boolean;
  readonly countsReasoning: boolean;
}

/** The value at a path of a request body; undefined when there is none. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (isObject(inner) ? inner[String(key)] : undefined),
    value,
  );
}
/** The value at a path of each element of a list. */
function each(list: unknown, ...path: readonly string[]): unknown {
  return Array.isArray(list) ? list.map((entry) => at(entry, ...path)) : undefined;
}

const FACTS: Readonly<Record<Scheme, Facts>> = {
  anthropic: {
    path: "/v1/messages",
    keyHeader: "x-api-key",
    key: SECRET,
    toolNames: (raw) => each(raw.tools, "name"),
    effort: (raw) => at(raw, "thinking", "budget_tokens"),
    sizeLimit: (raw) => raw.max_tokens,
    stopReasons: [
      ["max_tokens", "length"],
      ["refusal", "refusal"],
    ],
    countsCacheWrites: true,
    countsReasoning: false,
  },
  openai_chat: {
    path: "/v1/chat/completions",
    keyHeader: "authorization",
    key: `Bearer ${SECRET}`,
    toolNames: (raw) => each(raw.tools, "function", "name"),
    effort: (raw) => raw.reasoning_effort,
    sizeLimit: (raw) => raw.max_tokens,
    stopReasons: [
      ["length", "length"],
      ["content_filter", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
  openai_responses: {
    path: "/v1/responses",
    keyHeader: "authorization",
    key: `Bearer ${SECRET}`,
    toolNames: (raw) => each(raw.tools, "name"),
    effort: (raw) => at(raw, "reasoning", "effort"),
    sizeLimit: (raw) => raw.max_output_tokens,
    stopReasons: [
      ["max_output_tokens", "length"],
      ["content_filter", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
  gemini: {
    path: "/v1beta/models/test-model:streamGenerateContent?alt=sse",
    keyHeader: "x-goog-api-key",
    key: SECRET,
    toolNames: (raw) => each(at(raw, "tools", 0, "functionDeclarations"), "name"),
    effort: (raw) => at(raw, "generationConfig", "thinkingConfig", "thinkingLevel"),
    sizeLimit: (raw) => at(raw, "generationConfig", "maxOutputTokens"),
    stopReasons: [
      ["MAX_TOKENS", "length"],
      ["SAFETY", "refusal"],
    ],
    countsCacheWrites: false,
    countsReasoning: true,
  },
};

/** Every wire format there is. */
export const SCHEMES = Object.keys(FACTS) as Scheme[];

/** What the model of these tests can do unless a test says otherwise. */
export const THINKS: ModelCapability = {
  tool_calling: "parallel",
  structured_output: "none",
  reasoning: "both",
  prompt_caching: { kind: "auto" },
};

/** Tools that a request may carry. */
export const TOOLS = ["Read", "Write"].map((name) => ({
  name,
  description: `${name} a file.`,
  inputSchema: { type: "object" as const, properties: { file_path: { type: "string" } } },
}));

/** One wire format: its ways, servers that speak it and models at them. */
export interface Conformance {
  readonly facts: Facts;
  /** The events of an answer, as they are sent. */
  encode(answer: BlockAnswer): string[];
  /** How many events it takes until the one that holds `text` has been sent. */
  eventsUntil(answer: BlockAnswer, text: string): number;
  serve(
    handler: (request: WireRequest, n: number) => Answer | Promise<Answer>,
  ): Promise<WireServer>;
  modelAt(
    url: string,
    dependencies?: Partial<ModelDependencies>,
    config?: ModelConfig,
  ): Promise<Model>;
}

/** The one of this name. */
export function conformance(scheme: Scheme): Conformance {
  const format = FORMATS[scheme];
  return {
    facts: FACTS[scheme],
    encode: (answer) => format.encode(answer),
    eventsUntil: (answer, text) =>
      format.encode(answer).findIndex((event) => event.includes(text)) + 1,
    serve: (handler) => wireServer(format, handler),
    modelAt: async (url, dependencies = {}, config = {}) =>
      await createModel(
        resolveModel({
          scheme,
          base_url: url,
          model_id: "test-model",
          auth: { kind: "api_key", env: "TEST_KEY" },
          capability: THINKS,
          ...config,
        }),
        {
          env: { TEST_KEY: SECRET },
          podName: "tester",
          clock: virtualClock(),
          userAgent: "pod/9.9",
          ...dependencies,
        },
      ),
  };
}
