/**
 * What a `[model]` table says (spec manifest 1.2), as a plain type: the manifest layer produces it,
 * `catalog.ts` resolves it. Names are the manifest's; nothing is checked here, everything is optional.
 */

/** Wire formats a manifest may name. `script` is ours: a scenario file answers instead of an LLM. */
const MODEL_SCHEMES = ["anthropic", "openai_chat", "openai_responses", "gemini", "script"] as const;
/** One of `MODEL_SCHEMES`. */
export type ModelScheme = (typeof MODEL_SCHEMES)[number];

/** What a model can do; all or nothing, never merged key by key. */
export interface ModelCapability {
  readonly tool_calling: "none" | "sequential" | "parallel";
  readonly structured_output: "none" | "json_object" | "json_schema";
  /** Form in which the model takes a wish about its thinking; absent means that it takes none. */
  readonly reasoning?: "effort" | "budget_tokens" | "both" | undefined;
  readonly vision?: boolean | undefined;
  readonly prompt_caching:
    { readonly kind: "explicit"; readonly max_breakpoints: number } | { readonly kind: "auto" };
}

/** Where the key comes from. `file` is absolute; `env` is tried first. */
export type ModelAuth =
  | { readonly kind: "none" }
  | {
      readonly kind: "api_key";
      readonly env?: string | undefined;
      readonly file?: string | undefined;
    }
  /** The program and its arguments; its output is the key. */
  | { readonly kind: "command"; readonly command: readonly string[] };

/** A `[model]` table after the merge of all layers. */
export interface ModelConfig {
  /** `<provider id>/<model id>`, split at the first `/`. */
  readonly ref?: string | undefined;
  readonly scheme?: ModelScheme | undefined;
  readonly base_url?: string | undefined;
  readonly model_id?: string | undefined;
  readonly auth?: ModelAuth | undefined;
  readonly capability?: ModelCapability | undefined;
  /** Absolute path of a scenario file; only with `scheme = "script"`. */
  readonly script?: string | undefined;
}

/** What messages call the command: its program, without arguments, which may be private. */
export function commandName(command: readonly string[]): string {
  return `command \`${command[0] ?? ""} …\``;
}
