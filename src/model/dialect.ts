/**
 * What one wire format does differently from the others; everything that they have in common is in
 * `remote.ts`, `conversation.ts`, `stream-fold.ts` and `transport.ts`. A dialect is pure except for
 * `load`. Each is loaded when a model of its scheme is made, so that a Pod holds only its own.
 */
import type { SdkCallOptions, SdkFactory, SdkProviderOptions } from "./ai-sdk.ts";
import type { ResolvedRemoteModel } from "./catalog.ts";
import type { RequestOptions, Usage } from "./model.ts";

/** Options for `doStream`, and what the user should know about them. */
export interface OptionPlan {
  readonly settings: Partial<SdkCallOptions>;
  readonly warnings: readonly string[];
}

/** One wire format. */
export interface Dialect {
  /** Name of the vendor's part in the library's options and metadata, and in a stored history. */
  readonly vendorKey: string;
  /** Header in which the library sends the key. */
  readonly keyHeader: string;
  /** Loads the library and prepares it for `resolved`. */
  load(resolved: ResolvedRemoteModel): Promise<SdkFactory>;
  /** The base with its version segment (FIX 7): whoever writes it in full gets no second one. */
  baseUrl(base: string): string;
  /** Takes away what a host that only imitates the vendor would refuse. */
  adjustHeaders?(headers: Headers, resolved: ResolvedRemoteModel): void;
  /**
   * Translates request options. Nothing is dropped without a warning (FIX 5). Throws
   * `invalid_manifest` for options that contradict each other.
   */
  planOptions(resolved: ResolvedRemoteModel, options: RequestOptions): OptionPlan;
  /** What the library is told about every tool besides the tool itself. */
  toolOptions?(resolved: ResolvedRemoteModel): SdkProviderOptions | undefined;
  /**
   * How thinking with this metadata goes back to the host that made it; undefined when it cannot.
   * `thisTurn` is false for thinking from before the newest user message.
   */
  replay(
    metadata: Readonly<Record<string, unknown>>,
    thisTurn: boolean,
  ): { readonly text: boolean; readonly options: SdkProviderOptions | undefined } | undefined;
  /** True when a thinking block without metadata can go back. */
  readonly plainThinking: boolean;
  /** True when metadata of a tool call must go back with the call. */
  readonly signedCalls: boolean;
  /**
   * Judges from the last bytes of a body whether the answer came to its end; for libraries that
   * cannot tell a cut answer from a whole one. Without it the library is trusted.
   */
  isComplete?(tail: string): boolean;
  /** Rewrites an answer, in bytes, where the library would misread it. */
  mend?(): TransformStream<Uint8Array, Uint8Array>;
  /** True when hosts send something as soon as they have the request, however long they think. */
  readonly answersAtOnce: boolean;
  /** True when events in the library's raw form are needed to see errors. */
  readonly wantsRaw: boolean;
  /** Usage that the vendor reports before the end of an answer. */
  earlyUsage?(kind: string, metadata: unknown): Usage | undefined;
  /** What an event is that the library refuses only because it is newer; undefined for damaged data. */
  unknownKind?(error: unknown): string | undefined;
}

/** Sampling options that every library takes under the same names. */
export function samplingOf(options: RequestOptions): Partial<SdkCallOptions> {
  const { temperature, topP, topK, stopSequences = [] } = options;
  return {
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    ...(topK === undefined ? {} : { topK }),
    ...(stopSequences.length === 0 ? {} : { stopSequences: [...stopSequences] }),
  };
}

/** True when a URL path ends in a version segment (`/v1`, `/v1beta`). */
export function endsInVersion(base: string): boolean {
  return /\/v\d+[a-z0-9]*$/i.test(base);
}
