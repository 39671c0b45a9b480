/**
 * The only file that imports a vendor library, and only when a request needs it (some milliseconds
 * and megabytes). Types are taken from the package itself, so that one version decides.
 */
import type { createAnthropic } from "@ai-sdk/anthropic";
import type { Fetch } from "./transport.ts";

/** A model object of the library; only `doStream` is used, which never retries by itself. */
export type SdkModel = ReturnType<ReturnType<typeof createAnthropic>>;
/** What one request is given. */
export type SdkCallOptions = Parameters<SdkModel["doStream"]>[0];
/** The conversation of a request. */
export type SdkPrompt = SdkCallOptions["prompt"];
/** One message of a conversation. */
export type SdkMessage = SdkPrompt[number];
/** What the library is told about a tool. */
export type SdkTool = NonNullable<SdkCallOptions["tools"]>[number];
/** The answer as the library streams it. */
export type SdkStream = Awaited<ReturnType<SdkModel["doStream"]>>["stream"];
/** One part of that stream. */
export type SdkPart = SdkStream extends ReadableStream<infer Part> ? Part : never;

/** How to reach a host that speaks the Anthropic Messages format. */
export interface AnthropicSettings {
  readonly modelId: string;
  /** Up to and including the version segment. */
  readonly baseUrl: string;
  /** Empty for hosts without keys; the caller then removes the empty header. */
  readonly apiKey: string;
  readonly userAgent: string;
  readonly fetch: Fetch;
}

/** Loads the library; later calls are answered by the module cache. */
export async function loadAnthropic(): Promise<(settings: AnthropicSettings) => SdkModel> {
  const sdk = await import("@ai-sdk/anthropic");
  return ({ modelId, baseUrl, apiKey, userAgent, fetch }) =>
    // Both URL and key are given always: else the library reads them from the environment.
    sdk.createAnthropic({
      baseURL: baseUrl,
      apiKey,
      headers: { "user-agent": userAgent },
      fetch: Object.assign(fetch, { preconnect: globalThis.fetch.preconnect }),
    })(modelId);
}
