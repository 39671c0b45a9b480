/** What the user set as `worker.max_tokens` is the most that any request asks for. */
import { describe, expect, test } from "bun:test";
import { planOptions } from "../../src/model/anthropic.ts";
import { type ResolvedRemoteModel, resolveModel } from "../../src/model/catalog.ts";
import type { ModelCapability } from "../../src/model/config.ts";
import { isObject } from "../../src/model/failure.ts";
import type { RequestOptions } from "../../src/model/model.ts";
import { createModel } from "../../src/model/provider.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { wireServer } from "../support/wire-server.ts";
import { collect, ofType, request } from "./support.ts";

type Scheme = keyof typeof FORMATS;
type Body = Readonly<Record<string, unknown>>;

function remote(
  scheme: Scheme,
  model_id: string,
  reasoning: ModelCapability["reasoning"],
  base_url?: string,
): ResolvedRemoteModel {
  const resolved = resolveModel({
    scheme,
    model_id,
    base_url,
    auth: { kind: "none" },
    capability: {
      tool_calling: "parallel",
      structured_output: "none",
      reasoning,
      prompt_caching: { kind: "auto" },
    },
  });
  if (resolved.scheme === "script") throw new Error("not remote");
  return resolved;
}

/** The body of one request with these options. */
async function sent(
  scheme: Scheme,
  modelId: string,
  form: ModelCapability["reasoning"],
  options: RequestOptions,
): Promise<Body> {
  await using server = await wireServer(FORMATS[scheme], () => ({ text: "x" }));
  const model = await createModel(remote(scheme, modelId, form, server.url), {
    env: {},
    podName: "p",
  });
  expect(ofType(await collect(model, request({ options })), "failed")).toEqual([]);
  return server.requests[0]?.raw ?? {};
}

const inner = (body: Body, key: string): Body => {
  const value = body[key];
  return isObject(value) ? value : {};
};
const SIZE: Readonly<Record<Scheme, (body: Body) => unknown>> = {
  anthropic: (body) => body.max_tokens,
  openai_chat: (body) => body.max_tokens,
  openai_responses: (body) => body.max_output_tokens,
  gemini: (body) => inner(body, "generationConfig").maxOutputTokens,
};

describe("a wish for thinking does not raise the size limit", () => {
  const wishes = ["minimal", "low", "medium", "high", 8000] as const;
  test.each([
    ["anthropic", "claude-haiku-4-5"],
    ["anthropic", "claude-opus-4-1"],
    ["anthropic", "claude-sonnet-4-6"],
    ["anthropic", "claude-opus-5"],
    ["anthropic", "their-own-model"],
    ["anthropic", "claude-sonnet-4-9"],
    ["anthropic", "claude-opus-4-10"],
    ["anthropic", "claude-haiku-4-9"],
    ["anthropic", "claude-newer-9"],
    ["anthropic", "claude-v2:1"],
    ["openai_chat", "m"],
    ["openai_responses", "m"],
    ["gemini", "gemini-2.5-flash"],
    ["gemini", "gemini-3-pro"],
  ] as const)("of %s %s", async (scheme, modelId) => {
    for (const form of ["effort", "budget_tokens", "both"] as const) {
      for (const reasoning of wishes) {
        const body = await sent(scheme, modelId, form, { maxTokens: 20_000, reasoning });
        expect([form, reasoning, SIZE[scheme](body)]).toEqual([form, reasoning, 20_000]);
      }
    }
  });
});

describe("a label for a model that takes budgets is one by the table", () => {
  test.each([
    ["claude-haiku-4-5", "high", 16_384],
    ["claude-haiku-4-5", "xhigh", 24_576],
    ["claude-opus-4-1-20250805", "medium", 8192],
    ["anthropic.claude-opus-4-5-20251101-v1:0", "low", 2048],
    ["claude-sonnet-4@20250514", "minimal", 1024],
    ["anthropic/claude-sonnet-4", "high", 16_384],
    ["claude-sonnet-4.5", "high", 16_384],
    ["claude-3-7-sonnet-latest", "high", 16_384],
    ["their-own-model", "high", 16_384],
    ["claude-haiku-4-5", 8000, 8000],
  ] as const)("%s %p is %d", async (modelId, reasoning, budget) => {
    for (const form of ["effort", "budget_tokens", "both"] as const) {
      const body = await sent("anthropic", modelId, form, { maxTokens: 30_000, reasoning });
      expect<unknown>(body.thinking).toEqual({ type: "enabled", budget_tokens: budget });
      expect(body.max_tokens).toBe(30_000);
    }
  });

  test("and is refused when it leaves no room for an answer", () => {
    const plan = (modelId: string) => () =>
      planOptions(remote("anthropic", modelId, "both"), { reasoning: "high", maxTokens: 16_000 });
    expect(plan("claude-haiku-4-5")).toThrow(
      'worker.reasoning "high" (16384 thinking tokens) must be smaller than worker.max_tokens ' +
        "(16000), which includes it",
    );
    expect(plan("their-own-model")).toThrow("worker.reasoning");
    expect(plan("claude-opus-4-6")).not.toThrow();
  });
});

test.each(["claude-sonnet-4-6", "claude-opus-4.8", "claude-opus-5", "claude-fable-5-1"])(
  "a label for %s is an effort",
  async (modelId) => {
    const options = { maxTokens: 9000, reasoning: "high" };
    const body = await sent("anthropic", modelId, "budget_tokens", options);
    expect(body.thinking).toMatchObject({ type: "adaptive" });
    expect(body.output_config).toMatchObject({ effort: "high" });
    expect(body.max_tokens).toBe(9000);
  },
);
