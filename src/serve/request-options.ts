/** Sampling options: from the manifest's words to the model layer's. */
import type { Manifest } from "../manifest/schema.ts";
import type { RequestOptions } from "../model/model.ts";

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
