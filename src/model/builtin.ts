/**
 * The builtin catalog (spec manifest 4.2, 4.3, and the providers `openai` and `gemini`): which
 * providers and models a `ref` can name without any file of the user's. Data only.
 */
import type { ModelAuth, ModelCapability, ModelScheme } from "./config.ts";

/** Schemes that are spoken to a host. */
export type RemoteScheme = Exclude<ModelScheme, "script">;

/** One entry of the provider catalog (4.2). */
export interface CatalogProvider {
  readonly id: string;
  readonly displayName: string;
  readonly scheme: RemoteScheme;
  readonly baseUrl?: string;
  readonly authHint: ModelAuth;
  readonly defaultCapability: ModelCapability;
}

/** One entry of the model catalog (4.2); without a capability the provider's default holds. */
export interface CatalogModel {
  readonly provider: string;
  readonly id: string;
  readonly capability?: ModelCapability;
}

/** Providers and models that `ref` can name. */
export interface Catalog {
  readonly providers: readonly CatalogProvider[];
  readonly models: readonly CatalogModel[];
}

/** A capability with parallel tools and JSON schema output, which all builtin entries have. */
export function capability(
  reasoning: ModelCapability["reasoning"],
  vision: boolean,
  explicitBreakpoints?: number,
): ModelCapability {
  return {
    tool_calling: "parallel",
    structured_output: "json_schema",
    ...(reasoning === undefined ? {} : { reasoning }),
    vision,
    prompt_caching:
      explicitBreakpoints === undefined
        ? { kind: "auto" }
        : { kind: "explicit", max_breakpoints: explicitBreakpoints },
  };
}

/** The builtin catalog (4.3). */
export const BUILTIN_CATALOG: Catalog = {
  providers: [
    {
      id: "anthropic",
      displayName: "Anthropic",
      scheme: "anthropic",
      baseUrl: "https://api.anthropic.com",
      authHint: { kind: "api_key", env: "INSOMNIA_API_KEY_ANTHROPIC" },
      defaultCapability: capability("budget_tokens", true, 4),
    },
    {
      id: "openai",
      displayName: "OpenAI",
      scheme: "openai_responses",
      baseUrl: "https://api.openai.com/v1",
      authHint: { kind: "api_key", env: "INSOMNIA_API_KEY_OPENAI" },
      defaultCapability: capability("effort", true),
    },
    {
      id: "gemini",
      displayName: "Google Gemini",
      scheme: "gemini",
      baseUrl: "https://generativelanguage.googleapis.com",
      authHint: { kind: "api_key", env: "INSOMNIA_API_KEY_GEMINI" },
      defaultCapability: capability("both", true),
    },
    {
      id: "ollama-local",
      displayName: "Ollama (local)",
      scheme: "anthropic",
      baseUrl: "http://localhost:11434",
      authHint: { kind: "none" },
      defaultCapability: capability(undefined, false),
    },
    {
      id: "openrouter",
      displayName: "OpenRouter",
      scheme: "openai_chat",
      baseUrl: "https://openrouter.ai/api/v1",
      authHint: { kind: "api_key", env: "INSOMNIA_API_KEY_OPENROUTER" },
      defaultCapability: capability(undefined, true),
    },
  ],
  models: [
    { provider: "anthropic", id: "claude-sonnet-4-6" },
    { provider: "anthropic", id: "claude-sonnet-4-5" },
    { provider: "anthropic", id: "claude-opus-4-1" },
    { provider: "openai", id: "gpt-5" },
    { provider: "openai", id: "gpt-5-mini" },
    { provider: "openai", id: "gpt-4.1", capability: capability(undefined, true) },
    // The older models take budgets only, newer ones levels.
    { provider: "gemini", id: "gemini-2.5-pro", capability: capability("budget_tokens", true) },
    { provider: "gemini", id: "gemini-2.5-flash", capability: capability("budget_tokens", true) },
    { provider: "ollama-local", id: "llama3.1" },
    { provider: "ollama-local", id: "qwen2.5-coder" },
    {
      provider: "openrouter",
      id: "anthropic/claude-sonnet-4",
      capability: capability("budget_tokens", true),
    },
    { provider: "openrouter", id: "openai/gpt-5", capability: capability("effort", true) },
  ],
};
