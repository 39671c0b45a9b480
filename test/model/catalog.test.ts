import { describe, expect, test } from "bun:test";
import { isPodError } from "../../src/base/errors.ts";
import { BUILTIN_CATALOG } from "../../src/model/builtin.ts";
import { isVendorHost, type ResolvedRemoteModel, resolveModel } from "../../src/model/catalog.ts";
import type { ModelConfig, ModelScheme } from "../../src/model/config.ts";

function remote(config: ModelConfig): ResolvedRemoteModel {
  const resolved = resolveModel(config);
  if (resolved.scheme === "script") throw new Error("not remote");
  return resolved;
}

function problem(config: ModelConfig): string {
  try {
    resolveModel(config);
  } catch (error) {
    return isPodError(error) ? `${error.code}: ${error.message}` : `not a PodError: ${error}`;
  }
  return "none";
}
const FAILED = "invalid_manifest: failed to resolve model manifest: ";

describe("a ref", () => {
  test("is filled in from provider and model", () => {
    expect(remote({ ref: "anthropic/claude-sonnet-4-6" })).toEqual({
      scheme: "anthropic",
      provider: "anthropic",
      modelId: "claude-sonnet-4-6",
      baseUrl: "https://api.anthropic.com",
      host: "api.anthropic.com",
      auth: { kind: "api_key", env: "INSOMNIA_API_KEY_ANTHROPIC", file: undefined },
      capability: {
        tool_calling: "parallel",
        structured_output: "json_schema",
        reasoning: "budget_tokens",
        vision: true,
        prompt_caching: { kind: "explicit", max_breakpoints: 4 },
      },
      warnings: [],
    });
  });

  test("is split at the first slash only", () => {
    const resolved = remote({ ref: "openrouter/anthropic/claude-sonnet-4" });
    expect(resolved.provider).toBe("openrouter");
    expect(resolved.modelId).toBe("anthropic/claude-sonnet-4");
    expect(resolved.capability.reasoning).toBe("budget_tokens");
  });

  test("yields to fields that the manifest writes", () => {
    const resolved = remote({
      ref: "ollama-local/llama3.1",
      model_id: "other",
      base_url: "http://box:1/v1///",
    });
    expect(resolved.modelId).toBe("other");
    expect(resolved.baseUrl).toBe("http://box:1/v1");
    expect(resolved.auth).toEqual({ kind: "none" });
  });

  test("to a model that is not listed keeps the provider's capability and says so", () => {
    const resolved = remote({ ref: "anthropic/claude-next" });
    expect(resolved.capability.reasoning).toBe("budget_tokens");
    expect(resolved.warnings).toEqual([
      "model `claude-next` is not in the catalog of provider `anthropic`; " +
        "assuming the provider's default capability",
    ]);
  });

  test.each(["anthropic", "/x", "anthropic/", "/"])("of the form %p is refused", (ref) => {
    expect(problem({ ref })).toBe(
      `${FAILED}invalid model.ref \`${ref}\`: must be \`<provider>/<model_id>\``,
    );
  });

  test("to an unknown provider is refused", () => {
    expect(problem({ ref: "gemina/gemini-2.5-pro" })).toBe(
      `${FAILED}model.ref points to unknown provider \`gemina\` ` +
        "(there are anthropic, openai, gemini, ollama-local, openrouter)",
    );
  });
});

describe("an inline model", () => {
  test.each([
    [{}, "scheme"],
    [{ scheme: "anthropic" }, "model_id"],
    [{ scheme: "anthropic", model_id: "m" }, "auth"],
  ] as const)("%p misses a field", (config, field) => {
    expect(problem(config)).toBe(
      `${FAILED}model.ref omitted; manifest must specify scheme, model_id, and auth (missing: ${field})`,
    );
  });

  test("has the scheme's base and capability", () => {
    const resolved = remote({ scheme: "anthropic", model_id: "m", auth: { kind: "api_key" } });
    expect(resolved.baseUrl).toBe("https://api.anthropic.com");
    expect(isVendorHost(resolved)).toBe(true);
    expect(resolved.auth).toEqual({
      kind: "api_key",
      env: "INSOMNIA_API_KEY_ANTHROPIC",
      file: undefined,
    });
    // The vendor caches only what is marked.
    expect(resolved.capability).toEqual(remote({ ref: "anthropic/m" }).capability);
    const elsewhere = remote({
      scheme: "anthropic",
      model_id: "m",
      base_url: "http://localhost:1",
      auth: { kind: "none" },
    });
    expect(elsewhere.capability).toEqual({
      tool_calling: "parallel",
      structured_output: "json_schema",
      vision: false,
      prompt_caching: { kind: "auto" },
    });
    const gemini = remote({ scheme: "gemini", model_id: "m", auth: { kind: "none" } });
    expect(gemini.capability.vision).toBe(true);
  });

  test("uses the manifest's capability as a whole", () => {
    const capability = {
      tool_calling: "none",
      structured_output: "none",
      prompt_caching: { kind: "explicit", max_breakpoints: 1 },
    } as const;
    expect(remote({ ref: "anthropic/claude-opus-4-1", capability }).capability).toEqual(capability);
  });
});

describe("a key that the manifest does not name", () => {
  test("is the provider's own, also when auth is written", () => {
    const auth = remote({
      ref: "openrouter/openai/gpt-5",
      auth: { kind: "api_key", file: "/k" },
    }).auth;
    expect(auth).toEqual({ kind: "api_key", env: "INSOMNIA_API_KEY_OPENROUTER", file: "/k" });
  });

  test.each([
    "https://proxy.example",
    "http://api.anthropic.com",
    "https://api.anthropic.com:8443",
    "https://api.anthropic.com.example",
  ])("does not go to %s", (base_url) => {
    const auth = remote({ ref: "anthropic/claude-sonnet-4-6", base_url }).auth;
    expect(auth).toEqual({
      kind: "api_key",
      env: undefined,
      file: undefined,
      withheld: { key: "INSOMNIA_API_KEY_ANTHROPIC", home: "api.anthropic.com" },
    });
  });

  test("goes anywhere once it is named", () => {
    const { auth } = remote({
      ref: "anthropic/claude-sonnet-4-6",
      base_url: "https://proxy.example",
      auth: { kind: "api_key", env: "INSOMNIA_API_KEY_ANTHROPIC" },
    });
    expect(auth).toEqual({
      kind: "api_key",
      env: "INSOMNIA_API_KEY_ANTHROPIC",
      file: undefined,
    });
  });

  test("is never another vendor's for a provider without one", () => {
    const { auth } = remote({
      ref: "ollama-local/llama3.1",
      auth: { kind: "api_key", file: "/k" },
    });
    expect(auth).toEqual({ kind: "api_key", env: undefined, file: "/k" });
  });
});

describe("a base URL", () => {
  test.each([
    ["ftp://x", "must be an http or https URL"],
    ["api.anthropic.com", "must be an http or https URL"],
    [
      "https://user:hunter2@h.example/v1",
      "must not contain credentials (host h.example); use model.auth",
    ],
    ["https://h.example?key=1", "must not contain a query or fragment (host h.example)"],
  ])("%s is refused without being repeated", (base_url, text) => {
    expect(problem({ ref: "anthropic/x", base_url })).toBe(`${FAILED}model.base_url ${text}`);
  });
});

test("every builtin model resolves, and a login that is not built is no provider", () => {
  for (const model of BUILTIN_CATALOG.models) {
    expect(remote({ ref: `${model.provider}/${model.id}` }).warnings).toEqual([]);
  }
  expect(problem({ ref: "codex-oauth/gpt-5" })).toContain("unknown provider `codex-oauth`");
});

describe("scheme script", () => {
  test("takes its model id from the file", () => {
    const resolved = resolveModel({ scheme: "script", script: "/a/demo.toml" });
    expect(resolved).toMatchObject({ scheme: "script", modelId: "demo", script: "/a/demo.toml" });
    expect(resolveModel({ scheme: "script", script: "/a/x.json", model_id: "y" }).modelId).toBe(
      "y",
    );
  });

  test.each([
    [{}, 'scheme "script" needs model.script, the path of a scenario file'],
    [{ script: "x.toml" }, "model.script must be absolute: x.toml"],
    [{ script: "/x", ref: "a/b" }, 'model.ref cannot be used with scheme "script"'],
    [{ script: "/x", base_url: "http://h" }, 'model.base_url cannot be used with scheme "script"'],
    [{ script: "/x", auth: { kind: "api_key" } }, 'model.auth cannot be used with scheme "script"'],
  ] as const)("refuses %p", (config, text) => {
    expect(problem({ scheme: "script", ...config })).toBe(FAILED + text);
  });

  test("is the only scheme with a script", () => {
    expect(problem({ ref: "anthropic/x", script: "/x" })).toBe(
      `${FAILED}model.script needs model.scheme = "script"`,
    );
  });
});

describe("a model's id", () => {
  const at = (scheme: ModelScheme, model_id: string): ModelConfig => {
    return { scheme, model_id, auth: { kind: "none" } };
  };
  const schemes = ["anthropic", "openai_chat", "openai_responses", "gemini"] as const;

  test.each([
    ["../../../../other/path", "contains `..`"],
    ["models/..", "contains `..`"],
    ["gemini?a=b", "contains `?` or `#`"],
    ["gemini#", "contains `?` or `#`"],
    ["gemini 2", "contains blanks or control characters"],
    ["gemini\n", "contains blanks or control characters"],
    ["gemini\u0000", "contains blanks or control characters"],
  ])("%j is refused by every scheme", (id, fault) => {
    for (const scheme of schemes) {
      expect(problem(at(scheme, id))).toBe(`${FAILED}model id ${JSON.stringify(id)} ${fault}`);
    }
    expect(problem({ ref: `openrouter/${id}` })).toContain(fault);
  });

  test("that a URL would take apart is refused where it becomes part of one", () => {
    for (const id of ["%2e%2e/%2E%2E/x", "..\\..\\x", "a%3Fb"]) {
      expect(problem(at("gemini", id))).toBe(
        `${FAILED}model id ${JSON.stringify(id)} contains \`%\` or \`\\\``,
      );
      expect(problem(at("openai_chat", id))).toBe("none");
    }
  });

  test.each([
    "anthropic/claude-sonnet-4",
    "meta-llama/Llama-3.3-70B-Instruct-Turbo:free",
    "qwen2.5-coder:7b",
    "claude-sonnet-4@20250514",
    "tunedModels/my_model-x1",
    "/models/llama.gguf",
    "./models/a..b",
    "@cf/meta/llama-3-8b",
    "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-v1:0",
  ])("%s is one", (id) => {
    for (const scheme of schemes) expect(problem(at(scheme, id))).toBe("none");
  });
});
