/** Shared by the tests of `model/`: requests, collected events, a clock that does not wait. */
import { resolveModel } from "../../src/model/catalog.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import type { Model, ModelEvent, ModelRequest } from "../../src/model/model.ts";
import { createModel, type ModelDependencies } from "../../src/model/provider.ts";
import type { Clock } from "../../src/model/retry.ts";
import { textMessage } from "../../src/protocol/history.ts";
import { within } from "../support/temp.ts";

/** The key that every model of these tests uses; it must never show up in a text. */
export const SECRET = "test-key-0123456789-abcdef";
const DEADLINE_MS = 20_000;

export function request(overrides: Partial<ModelRequest> = {}): ModelRequest {
  return {
    system: "You are a test.",
    items: [textMessage("user", "hello")],
    tools: [],
    options: {},
    ...overrides,
  };
}

/** An Anthropic model at `url`, with the secret as key. */
export async function modelAt(
  url: string,
  dependencies: Partial<ModelDependencies> = {},
  config: ModelConfig = {},
): Promise<Model> {
  const resolved = resolveModel({
    scheme: "anthropic",
    base_url: url,
    model_id: "test-model",
    auth: { kind: "api_key", env: "TEST_KEY" },
    ...config,
  });
  return await createModel(resolved, {
    env: { TEST_KEY: SECRET },
    podName: "tester",
    ...dependencies,
  });
}

/** All events of one request, within a deadline. */
export function collect(
  model: Model,
  asked: ModelRequest = request(),
  signal: AbortSignal = new AbortController().signal,
): Promise<ModelEvent[]> {
  return within(Array.fromAsync(model.stream(asked, signal)), DEADLINE_MS, "end of the stream");
}

export function ofType<Type extends ModelEvent["type"]>(
  events: readonly ModelEvent[],
  type: Type,
): Extract<ModelEvent, { type: Type }>[] {
  return events.filter((event): event is Extract<ModelEvent, { type: Type }> => {
    return event.type === type;
  });
}

/** Message of the `failed` event, which must be the last one. */
export function failureOf(events: readonly ModelEvent[]): string {
  const last = events.at(-1);
  return last?.type === "failed" ? last.message : `not failed but ${JSON.stringify(last)}`;
}

/** A clock that jumps instead of waiting and draws the highest number; `slept` is what was waited. */
export function virtualClock(random = 0.999): Clock & { readonly slept: number[] } {
  const slept: number[] = [];
  let now = 0;
  return {
    slept,
    now: () => now,
    random: () => random,
    sleep: (ms) => {
      slept.push(ms);
      now += ms;
      return Promise.resolve();
    },
  };
}
