/**
 * The only file that imports vendor libraries, each a chunk of its own that is loaded when a request
 * needs it (some milliseconds and megabytes). Types are taken from one of the packages, so that one
 * version of their common interface decides.
 */
import type { createAnthropic } from "@ai-sdk/anthropic";
import type { Fetch } from "./transport.ts";

/** A model object of a library; only `doStream` is used, which never retries by itself. */
export type SdkModel = ReturnType<ReturnType<typeof createAnthropic>>;
/** What one request is given. */
export type SdkCallOptions = Parameters<SdkModel["doStream"]>[0];
/** The conversation of a request. */
export type SdkPrompt = SdkCallOptions["prompt"];
/** One message of a conversation. */
export type SdkMessage = SdkPrompt[number];
/** Options and data that belong to one vendor, by the name of its library. */
export type SdkProviderOptions = NonNullable<SdkMessage["providerOptions"]>;
/** What the library is told about a tool. */
export type SdkTool = NonNullable<SdkCallOptions["tools"]>[number];
/** The answer as the library streams it. */
export type SdkStream = Awaited<ReturnType<SdkModel["doStream"]>>["stream"];
/** One part of that stream. */
export type SdkPart = SdkStream extends ReadableStream<infer Part> ? Part : never;

/** How to reach a host. */
interface SdkSettings {
  readonly modelId: string;
  /** Up to and including the version segment. */
  readonly baseUrl: string;
  /** Empty for hosts without keys; the caller then removes the empty header. */
  readonly apiKey: string;
  readonly userAgent: string;
  readonly fetch: Fetch;
}

/** Makes a model object; nothing is sent yet. */
export type SdkFactory = (settings: SdkSettings) => SdkModel;

/** Name under which the OpenAI-compatible library takes options and gives metadata. */
export const COMPATIBLE_NAME = "host";

/** URL and key are given always: else the libraries read them from the environment (5.3 a). */
function common({ baseUrl, apiKey, userAgent, fetch }: SdkSettings) {
  return {
    baseURL: baseUrl,
    apiKey,
    headers: { "user-agent": userAgent },
    fetch: Object.assign(fetch, { preconnect: globalThis.fetch.preconnect }),
  };
}

/** Loads the library for the Anthropic Messages format; later calls are answered by the module cache. */
export async function loadAnthropic(): Promise<SdkFactory> {
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  return (settings) => createAnthropic(common(settings))(settings.modelId);
}

/**
 * Loads the library for OpenAI Chat Completions. `sizeKey` is the name of the size limit in the
 * request; the vendor wants another one than the servers that imitate it (5.3 j).
 */
export async function loadOpenAiChat(): Promise<
  (settings: SdkSettings, sizeKey: string) => SdkModel
> {
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  return (settings, sizeKey) =>
    createOpenAICompatible({
      ...common(settings),
      name: COMPATIBLE_NAME,
      includeUsage: true,
      transformRequestBody: ({ max_tokens: size, ...body }) =>
        size === undefined ? body : { ...body, [sizeKey]: size },
    })(settings.modelId);
}

/** Loads the library for OpenAI Responses. */
export async function loadOpenAiResponses(): Promise<SdkFactory> {
  const { createOpenAI } = await import("@ai-sdk/openai");
  return (settings) => createOpenAI(common(settings)).responses(settings.modelId);
}

/** Loads the library for Gemini. */
export async function loadGemini(): Promise<SdkFactory> {
  const { createGoogle } = await import("@ai-sdk/google");
  return (settings) => createGoogle(common(settings))(settings.modelId);
}
