import { describe, expect, test } from "bun:test";
import { isPodError } from "../../src/base/errors.ts";
import { ANTHROPIC, DEFAULT_MAX_TOKENS, planOptions } from "../../src/model/anthropic.ts";
import { resolveModel, type ResolvedRemoteModel } from "../../src/model/catalog.ts";
import type { ModelCapability } from "../../src/model/config.ts";
import type { RequestOptions } from "../../src/model/model.ts";

function model(reasoning: ModelCapability["reasoning"], base_url?: string): ResolvedRemoteModel {
  const resolved = resolveModel({
    ref: "anthropic/claude-sonnet-4-6",
    base_url,
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
const plan = (options: RequestOptions, reasoning: ModelCapability["reasoning"] = "both") =>
  planOptions(model(reasoning), options);

test("the size limit has a default of our own", () => {
  expect(plan({}).settings.maxOutputTokens).toBe(DEFAULT_MAX_TOKENS);
  expect(plan({ maxTokens: 100 }).settings.maxOutputTokens).toBe(100);
});

test("sampling options are passed on as they are", () => {
  const options = { temperature: 0.3, topP: 0.9, topK: 5, stopSequences: ["END"] };
  expect(plan(options).settings).toMatchObject(options);
  expect(plan({ stopSequences: [] }).settings).not.toHaveProperty("stopSequences");
});

test("tool streaming is asked of the vendor only", () => {
  const options = (url?: string) => ANTHROPIC.toolOptions?.(model(undefined, url));
  expect(options()).toBeUndefined(); // the library's default
  expect(options("http://localhost:11434")).toEqual({ anthropic: { eagerInputStreaming: false } });
});

test("nothing is said that the library would have to build its schema of options for", () => {
  expect(plan({ maxTokens: 100, reasoning: "high" }, "effort").settings).not.toHaveProperty(
    "providerOptions",
  );
});

describe("thinking", () => {
  test("is part of max_tokens, so the library gets the rest", () => {
    const { settings } = plan({ reasoning: 6000, maxTokens: 10_000 });
    expect(settings.maxOutputTokens).toBe(4000);
    expect(settings.providerOptions?.anthropic?.thinking).toEqual({
      type: "enabled",
      budgetTokens: 6000,
    });
    expect(plan({ reasoning: 6000 }).settings.maxOutputTokens).toBe(DEFAULT_MAX_TOKENS);
  });

  test("must leave room for an answer", () => {
    try {
      plan({ reasoning: 6000, maxTokens: 6000 });
      expect.unreachable();
    } catch (error) {
      expect(isPodError(error, "invalid_manifest")).toBe(true);
      expect(String(error)).toContain(
        "worker.reasoning (6000 thinking tokens) must be smaller than worker.max_tokens (6000)",
      );
    }
  });

  test.each([
    [{ reasoning: "high" }, "budget_tokens", { reasoning: "high" }, 0],
    [{ reasoning: "high" }, undefined, {}, 1],
    [{ reasoning: 2000 }, undefined, {}, 1],
    [{ reasoning: "enormous" }, "both", {}, 1],
    [{ reasoning: -1 }, "both", {}, 1],
    [{ reasoning: 5 }, "both", {}, 1],
    [{ reasoning: 2000 }, "effort", { reasoning: "low" }, 0],
    [{ reasoning: 8000 }, "effort", { reasoning: "medium" }, 0],
    [{ reasoning: 20_000 }, "effort", { reasoning: "high" }, 0],
  ] as const)(
    "%p with capability %p is never dropped in silence",
    (options, form, has, warnings) => {
      const planned = planOptions(model(form), options);
      expect(planned.settings.reasoning).toBe((has as RequestOptions).reasoning as never);
      expect(planned.warnings).toHaveLength(warnings);
    },
  );
});
