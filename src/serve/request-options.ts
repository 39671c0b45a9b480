/** Sampling options: from the words of the manifest and of a session log to the model layer's. */
import type { Manifest } from "../manifest/schema.ts";
import type { RequestOptions } from "../model/model.ts";
import type { LoggedConfig } from "../session/entry.ts";

/** Sampling options of the manifest in the model layer's words. */
export function requestOptions({ worker }: Manifest): RequestOptions {
  const { max_tokens, temperature, top_p, top_k, stop_sequences, reasoning } = worker;
  return {
    ...(max_tokens === undefined ? {} : { maxTokens: max_tokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(top_p === undefined ? {} : { topP: top_p }),
    ...(top_k === undefined ? {} : { topK: top_k }),
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(stop_sequences.length === 0 ? {} : { stopSequences: stop_sequences }),
  };
}

/** Sampling options as a log holds them. */
export function toLoggedConfig(options: RequestOptions): LoggedConfig {
  return {
    max_tokens: options.maxTokens ?? null,
    temperature: options.temperature ?? null,
    top_p: options.topP ?? null,
    top_k: options.topK ?? null,
    stop_sequences: [...(options.stopSequences ?? [])],
    reasoning: options.reasoning ?? null,
  };
}

/** The other way: what was logged wins over a manifest (spec worker-and-tools 5.4). */
export function fromLoggedConfig(config: LoggedConfig): RequestOptions {
  const { max_tokens, temperature, top_p, top_k, stop_sequences, reasoning } = config;
  return {
    ...(max_tokens === null ? {} : { maxTokens: max_tokens }),
    ...(temperature === null ? {} : { temperature }),
    ...(top_p === null ? {} : { topP: top_p }),
    ...(top_k === null ? {} : { topK: top_k }),
    ...(stop_sequences.length === 0 ? {} : { stopSequences: stop_sequences }),
    ...(reasoning === null ? {} : { reasoning }),
  };
}
