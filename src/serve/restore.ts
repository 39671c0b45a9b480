/**
 * A session that a Pod is to go on with: locked and read before anything is registered (W13), and
 * what it recorded of the Pod turned into a configuration again.
 */
import { isPodError, PodError } from "../base/errors.ts";
import { parseResolvedManifest } from "../manifest/render.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { RequestOptions } from "../model/model.ts";
import { Registry } from "../registry/registry.ts";
import type { LoggedConfig } from "../session/entry.ts";
import { type OpenedSession, openSession } from "../session/open.ts";
import type { Setup } from "../session/setup.ts";

/**
 * Opens a session for this process. A session that a live Pod writes is refused with that Pod's name
 * and socket (`session_conflict`); the other errors are those of `openSession`.
 */
export async function restoreSession(
  store: string,
  id: string,
  base: string,
): Promise<OpenedSession> {
  try {
    return openSession(store, id);
  } catch (error) {
    if (!isPodError(error, "session_conflict")) throw error;
    const holder = await new Registry(base).lookupSession(id);
    if (holder === undefined) throw error;
    throw new PodError(
      "session_conflict",
      `session ${id} is already held by pod \`${holder.pod_name}\` at ${holder.socket}`,
      { cause: error },
    );
  }
}

/** What a session recorded of its Pod; `invalid_argument` for the log of a program that records nothing. */
export function recordedSetup({ state, log }: OpenedSession): Setup {
  if (state.setup !== undefined) return state.setup;
  throw new PodError(
    "invalid_argument",
    `session ${log.id} does not say how its pod is started; start it with a manifest: pod --session ${log.id}`,
  );
}

/** The manifest that a session recorded, checked, because the program may have changed since. */
export function recordedManifest(setup: Setup): Manifest {
  return parseResolvedManifest(setup.manifest);
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
