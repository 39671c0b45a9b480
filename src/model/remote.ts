/**
 * A model behind a host, whatever its wire format (`dialect.ts`). Its stream never throws and never
 * outlives the caller's signal; every text it yields is free of the key and bounded.
 */
import { messageOf } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import type { SdkCallOptions, SdkModel, SdkPart, SdkStream } from "./ai-sdk.ts";
import type { ApiKey } from "./auth.ts";
import type { ResolvedRemoteModel } from "./catalog.ts";
import { toConversation } from "./conversation.ts";
import type { Dialect } from "./dialect.ts";
import { type Failure, failureInBody, streamFailure } from "./failure.ts";
import type { Model, ModelEvent, ModelRequest } from "./model.ts";
import type { Reach } from "./reach.ts";
import { type Clock, type RetryPolicy, withRetries } from "./retry.ts";
import { createScrub } from "./scrub.ts";
import { createFold } from "./stream-fold.ts";
import {
  endedEarly,
  type Fetch,
  openTransport,
  type Transport,
  type TransportLimits,
} from "./transport.ts";

/** What the adapter works with. */
interface RemoteDependencies {
  readonly dialect: Dialect;
  readonly key: ApiKey | undefined;
  readonly fetch: Fetch;
  readonly limits: TransportLimits;
  readonly reach: Reach | undefined;
  /** Host of the proxy in between, for messages. */
  readonly proxy: string | undefined;
  readonly policy: RetryPolicy;
  readonly clock: Clock;
  readonly userAgent: string;
}

/** After the end mark of an answer, how long the end of its body may take. */
const DRAIN_MS = 250;
/** Alerts about options repeat with every request; each is yielded once by a model. */
const MAX_REMEMBERED_WARNINGS = 64;

/** Builds the adapter; nothing is loaded or sent yet. */
export function createRemoteModel(
  resolved: ResolvedRemoteModel,
  dependencies: RemoteDependencies,
): Model {
  const { dialect, key, policy, clock } = dependencies;
  const scrub = createScrub(key);
  const told = new Set<string>();
  const isNew = (message: string): boolean => {
    if (told.has(message)) return false;
    if (told.size < MAX_REMEMBERED_WARNINGS) told.add(message);
    return true;
  };

  async function* events(
    request: ModelRequest,
    signal: AbortSignal,
  ): AsyncGenerator<ModelEvent, void> {
    const plan = dialect.planOptions(resolved, request.options);
    const caching = resolved.capability.prompt_caching;
    const conversation = toConversation(request, {
      vendor: resolved.host,
      dialect,
      breakpoints: caching.kind === "explicit" ? caching.max_breakpoints : 0,
      toolOptions: dialect.toolOptions?.(resolved),
    });
    for (const message of plan.warnings.filter(isNew)) yield { type: "warning", message };
    const capIsOurs = request.options.maxTokens === undefined;
    const call: Call = {
      resolved,
      dependencies,
      signal,
      options: {
        ...plan.settings,
        prompt: conversation.prompt,
        ...(conversation.tools.length === 0 ? {} : { tools: conversation.tools }),
        ...(dialect.wantsRaw ? { includeRawChunks: true } : {}),
      },
      remarks: (warnings) =>
        warnings.flatMap((warning) => describeWarning(warning, capIsOurs) ?? []).filter(isNew),
    };
    yield* withRetries(() => answer(call), policy, clock, signal);
  }

  async function* stream(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelEvent> {
    try {
      for await (const event of events(request, signal)) {
        if (signal.aborted) return;
        yield event.type === "failed" || event.type === "warning"
          ? { type: event.type, message: scrub(event.message) }
          : event;
      }
    } catch (error) {
      if (signal.aborted) return;
      yield { type: "failed", message: scrub(`Config error: ${messageOf(error)}`) };
    }
  }

  return { provider: resolved.scheme, modelId: resolved.modelId, stream };
}

/** What every attempt of one request shares. */
interface Call {
  readonly resolved: ResolvedRemoteModel;
  readonly dependencies: RemoteDependencies;
  readonly options: SdkCallOptions;
  readonly signal: AbortSignal;
  /** What the user should hear of the library's remarks. */
  readonly remarks: (warnings: readonly SdkWarning[]) => string[];
}

/** One attempt: a request and its answer. Returns undefined when finished or aborted. */
async function* answer(call: Call): AsyncGenerator<ModelEvent, Failure | undefined> {
  const { resolved, signal } = call;
  const { dialect, key, fetch, limits, reach, proxy, userAgent } = call.dependencies;
  const create = await dialect.load(resolved);
  const transport = openTransport({
    fetch,
    host: resolved.host,
    proxy,
    limits,
    signal,
    reach,
    adjustHeaders: (headers) => {
      if (key === undefined) headers.delete(dialect.keyHeader);
      dialect.adjustHeaders?.(headers, resolved);
    },
    isComplete: dialect.isComplete?.bind(dialect),
    mend: dialect.mend?.bind(dialect),
    now: Date.now,
  });
  try {
    const model = create({
      modelId: resolved.modelId,
      baseUrl: dialect.baseUrl(resolved.baseUrl),
      apiKey: key?.value ?? "",
      userAgent,
      fetch: transport.fetch,
    });
    const opened = await open(model, call, transport);
    if (signal.aborted) return undefined;
    if ("failure" in opened) return opened.failure;
    return yield* read(opened.stream, transport, call);
  } finally {
    transport.close();
  }
}

/** Sends the request and waits for the start of the answer, at most until the transport ends it. */
async function open(
  model: SdkModel,
  { options, resolved, dependencies }: Call,
  transport: Transport,
): Promise<{ readonly stream: SdkStream } | { readonly failure: Failure }> {
  const stopped = Promise.withResolvers<never>();
  const stop = (): void => stopped.reject(new Error("stopped"));
  transport.signal.addEventListener("abort", stop, { once: true });
  const result = model.doStream({ ...options, abortSignal: transport.signal });
  // The race may be lost by either; its late end is nobody's business any more.
  stopped.promise.catch(() => undefined);
  result.then(
    ({ stream }) => {
      if (transport.signal.aborted) stream.cancel().catch(() => undefined);
    },
    () => undefined,
  );
  try {
    return { stream: (await Promise.race([result, stopped.promise])).stream };
  } catch (error) {
    // Libraries may keep what they could not read to themselves.
    const failure =
      transport.failure() ?? failureInBody(transport.opening()) ?? streamFailure(error);
    return { failure: withKeySource(failure, dependencies.key, resolved.host) };
  } finally {
    transport.signal.removeEventListener("abort", stop);
  }
}

/** A refused key is easier to mend when one knows which it was and where it went. */
function withKeySource(failure: Failure, key: ApiKey | undefined, host: string): Failure {
  if (failure.keyRefused !== true) return failure;
  const sent =
    key === undefined ? `no key was sent to ${host}` : `${host} got the key from ${key.source}`;
  return { ...failure, message: `${failure.message} (${sent})` };
}

async function* read(
  stream: SdkStream,
  transport: Transport,
  { resolved, dependencies, signal, remarks }: Call,
): AsyncGenerator<ModelEvent, Failure | undefined> {
  const fold = createFold(resolved.host, dependencies.dialect);
  const reader = stream.getReader();
  // Ends a pending read at once, even if the runtime is slow to pass the abort on.
  const stop = (): void => void reader.cancel().catch(() => undefined);
  transport.signal.addEventListener("abort", stop, { once: true });
  let broken: unknown;
  let shown = false;
  try {
    while (!transport.signal.aborted) {
      const { done, value } = await reader.read();
      if (done) break;
      if (value.type === "stream-start") {
        for (const message of remarks(value.warnings)) yield { type: "warning", message };
        continue;
      }
      for (const event of fold.push(value)) {
        shown ||= event.type !== "warning";
        yield event;
      }
      if (fold.failure !== undefined) break;
      if (fold.finished) {
        await settlesWithin(
          drain(() => reader.read()),
          DRAIN_MS,
        );
        return undefined;
      }
    }
  } catch (error) {
    broken = error;
  } finally {
    transport.signal.removeEventListener("abort", stop);
    stop();
  }
  if (signal.aborted) return undefined;
  if (fold.pendingUsage !== undefined) yield { type: "usage", usage: fold.pendingUsage };
  if (fold.endedEarly) return endedEarly(resolved.host, transport.streaming());
  if (fold.failure !== undefined) {
    return { ...fold.failure, retryable: fold.failure.retryable && !shown };
  }
  return transport.failure() ?? endFailure(broken, resolved.host, transport.streaming());
}

/** A body that is read to its end leaves the connection open for the next request of the loop. */
async function drain(next: () => Promise<{ readonly done: boolean }>): Promise<void> {
  while (!(await next()).done);
}

/** The stream ended without the vendor's end mark. */
function endFailure(broken: unknown, host: string, streaming: boolean): Failure {
  if (broken === undefined) return endedEarly(host, streaming);
  return { message: `SSE parse error: ${messageOf(broken)}`, retryable: !streaming };
}

type SdkWarning = Extract<SdkPart, { type: "stream-start" }>["warnings"][number];

/** A remark of the library about options; none about a size limit that the user did not choose. */
function describeWarning(warning: SdkWarning, capIsOurs: boolean): string | undefined {
  if ("feature" in warning) {
    if (capIsOurs && warning.feature === "maxOutputTokens") return undefined;
    const details = warning.details === undefined ? "" : `: ${warning.details}`;
    return `model option ${warning.feature} (${warning.type})${details}`;
  }
  return "message" in warning ? `model request: ${warning.message}` : undefined;
}
