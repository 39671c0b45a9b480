/**
 * Builds the client of a resolved model. Keys and scenario files are read here, so that a mistake
 * stops the start and not the first request; a vendor library is loaded by the first request.
 */
import type { Environment } from "../base/paths.ts";
import { resolveKey } from "./auth.ts";
import type { RemoteScheme } from "./builtin.ts";
import type { ResolvedModel, ResolvedRemoteModel } from "./catalog.ts";
import type { Dialect } from "./dialect.ts";
import type { Model, RequestOptions } from "./model.ts";
import { proxyOf } from "./proxy.ts";
import { reachOf } from "./reach.ts";
import { createRemoteModel } from "./remote.ts";
import { type Clock, RETRY_POLICY, type RetryPolicy, SYSTEM_CLOCK } from "./retry.ts";
import {
  type Fetch,
  LOCAL_LIMITS,
  PATIENT_LIMITS,
  REMOTE_LIMITS,
  type TransportLimits,
} from "./transport.ts";

/** Each a chunk of its own: a Pod loads the one of its model. */
const DIALECTS: { readonly [Scheme in RemoteScheme]: () => Promise<Dialect> } = {
  anthropic: async () => (await import("./anthropic.ts")).ANTHROPIC,
  openai_chat: async () => (await import("./openai-chat.ts")).OPENAI_CHAT,
  openai_responses: async () => (await import("./openai-responses.ts")).OPENAI_RESPONSES,
  gemini: async () => (await import("./gemini.ts")).GEMINI,
};

/** What a model is built with. Everything but `env` and `podName` has a default for real use. */
export interface ModelDependencies {
  /** Where keys are looked up; read once, now. */
  readonly env: Environment;
  /** Name of the Pod that the model works for; scenario rules may depend on it. */
  readonly podName: string;
  readonly fetch?: Fetch;
  readonly limits?: TransportLimits;
  readonly policy?: RetryPolicy;
  readonly clock?: Clock;
  readonly userAgent?: string;
}

/**
 * Creates the model. Throws `invalid_manifest` for a missing key or a scenario file with mistakes,
 * `io` for an unreadable scenario.
 */
export async function createModel(
  resolved: ResolvedModel,
  dependencies: ModelDependencies,
): Promise<Model> {
  const clock = dependencies.clock ?? SYSTEM_CLOCK;
  if (resolved.scheme === "script") {
    const { createScriptModel } = await import("./script.ts");
    return await createScriptModel(resolved, { podName: dependencies.podName, clock });
  }
  const dialect = await DIALECTS[resolved.scheme]();
  const limits = dependencies.limits ?? limitsOf(resolved, dialect);
  return createRemoteModel(resolved, {
    dialect,
    key: await resolveKey(resolved, dependencies.env),
    fetch: dependencies.fetch ?? ((input, init) => fetch(input, init)),
    limits,
    reach: hasProxy(dependencies.env) ? undefined : reachOf(resolved.baseUrl, limits.connectMs),
    proxy: proxyOf(resolved.baseUrl, dependencies.env),
    policy: dependencies.policy ?? RETRY_POLICY,
    clock,
    userAgent: dependencies.userAgent ?? "pod",
  });
}

/** Finds options that contradict each other before the first request; `invalid_manifest`. */
export async function checkRequestOptions(
  resolved: ResolvedModel,
  options: RequestOptions,
): Promise<void> {
  if (resolved.scheme === "script") return;
  (await DIALECTS[resolved.scheme]()).planOptions(resolved, options);
}

/** A model that may think gets more time where nothing is heard of it meanwhile. */
function limitsOf(resolved: ResolvedRemoteModel, dialect: Dialect): TransportLimits {
  const silent = !dialect.answersAtOnce && resolved.capability.reasoning !== undefined;
  if (silent) return PATIENT_LIMITS;
  return isLocal(resolved) ? LOCAL_LIMITS : REMOTE_LIMITS;
}

/** Then `fetch` connects to another host than ours, which this file cannot know. */
function hasProxy(env: Environment): boolean {
  return Object.entries(env).some(
    ([name, value]) => /^(https?|all)_proxy$/i.test(name) && value !== undefined && value !== "",
  );
}

function isLocal(resolved: ResolvedRemoteModel): boolean {
  const name = new URL(resolved.baseUrl).hostname;
  return name === "localhost" || name === "[::1]" || /^127(\.\d+){3}$/.test(name);
}
