/**
 * Methods: what clients, parents and children send to a Pod, one JSON object a line
 * (spec protocol 2). Unknown keys are ignored. Our additions to the reference, all optional:
 * `id` on any method asks for an acknowledgement (`ack`, or `error` with the same id) on that
 * connection; `status` asks for the Pod's state; `compact` shortens the conversation now; `revive`
 * brings back children that are gone, with their sessions; `key` in a `run` makes it start once however often
 * it is sent (W62); `instance` and `id` in a `pod_event` prove the sender and make the event
 * recognisable; `turn_paused` and `turn_cancelled` are reports that the reference lacks (W55);
 * `parent_changed` tells a Pod to ask the registry who its parent is now (W52).
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { printable } from "../base/text.ts";
import { scopeRuleSchema } from "../scope/rule.ts";
import { textExcess } from "./json-text.ts";
import { MAX_SEGMENTS, segmentSchema } from "./segment.ts";

const MAX_ID_CHARACTERS = 128;
const id = lazily(() => z.string().min(1).max(MAX_ID_CHARACTERS));

/** A report from a child Pod (spec protocol 4.2, 9). */
export const podEventSchema = lazily(() => {
  /** Proof and identity of an event: the sender's instance, and the instance it is about. */
  const provenance = { instance: id().optional() };
  return z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("turn_ended"), pod_name: z.string(), ...provenance }),
    z.object({
      kind: z.literal("errored"),
      pod_name: z.string(),
      message: z.string(),
      ...provenance,
    }),
    z.object({ kind: z.literal("turn_paused"), pod_name: z.string(), ...provenance }),
    z.object({ kind: z.literal("turn_cancelled"), pod_name: z.string(), ...provenance }),
    z.object({ kind: z.literal("shut_down"), pod_name: z.string(), ...provenance }),
    z.object({
      kind: z.literal("scope_sub_delegated"),
      parent_pod: z.string(),
      sub_pod: z.string(),
      sub_socket: z.string(),
      scope: z.array(scopeRuleSchema()),
      ...provenance,
    }),
  ]);
});
export type PodEvent = z.infer<ReturnType<typeof podEventSchema>>;

/** Methods without parameters take an absent, null or empty `params`. */
const noParams = lazily(() => z.union([z.null(), z.object({})]).optional());
const method = <Name extends string, Params extends z.ZodTypeAny>(
  name: Name,
  params: () => Params,
) => lazily(() => z.object({ method: z.literal(name), id: id().optional(), params: params() }));

/** Every method by its name, as a schema of the whole line; made when the first one comes. */
export const METHODS = {
  run: method("run", () =>
    z.object({ input: z.array(segmentSchema()).max(MAX_SEGMENTS), key: id().optional() }),
  ),
  notify: method("notify", () => z.object({ message: z.string() })),
  pod_event: method("pod_event", podEventSchema),
  resume: method("resume", noParams),
  cancel: method("cancel", noParams),
  pause: method("pause", noParams),
  shutdown: method("shutdown", noParams),
  get_history: method("get_history", noParams),
  status: method("status", noParams),
  compact: method("compact", noParams),
  revive: method("revive", () =>
    z.object({
      /** Bring back this child alone, however it had ended; without it none. */
      name: z.string().optional(),
      /** The session of the child that is meant; without it the newest of that name. */
      session: z.string().optional(),
      /** Bring back every child that is missing, and theirs. */
      tree: z.boolean().default(false),
      /** Let Pods whose run was cut off go on with it. */
      go_on: z.boolean().default(false),
    }),
  ),
  parent_changed: method("parent_changed", noParams),
  list_completions: method("list_completions", () =>
    z.object({ kind: z.enum(["file", "knowledge", "workflow"]), prefix: z.string() }),
  ),
};
export type Method = z.infer<ReturnType<(typeof METHODS)[keyof typeof METHODS]>>;

/** The method that gives a Pod a task in plain text; with a `key`, once however often it is sent. */
export function runMethod(text: string, key?: string): Method {
  const input = [{ kind: "text" as const, content: text }];
  return { method: "run", params: { input, ...(key === undefined ? {} : { key }) } };
}

/** A decoded line, or what is wrong with it in one sentence. */
type DecodedMethod =
  | { readonly ok: true; readonly method: Method }
  | { readonly ok: false; readonly reason: string; readonly id?: string };

/** Deepest nesting a line may have (spec protocol 1.3). */
const MAX_NESTING = 128;
/** Values in a line, keys not counted: a million tiny ones would keep everybody else waiting. */
const MAX_VALUES = 32_768;
/** Above this a line is not even parsed, so that its answer bears no id. */
const MAX_PARSED_VALUES = 2_000_000;
const EXCESS = {
  depth: `nested deeper than ${MAX_NESTING} levels`,
  values: `more than ${MAX_VALUES} values in a line (an input has at most ${MAX_SEGMENTS} segments)`,
} as const;

/** Decodes one line; never throws. */
export function decodeMethod(line: string): DecodedMethod {
  const outgrown = textExcess(line, { depth: MAX_NESTING, values: MAX_PARSED_VALUES });
  if (outgrown !== undefined) return { ok: false, reason: EXCESS[outgrown] };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : "not JSON" };
  }
  const tooMany = exceedsValues(value);
  if (!tooMany && isPlainRun(value)) return { ok: true, method: value };
  const { method: name, id: requestId } = (value ?? {}) as { method?: unknown; id?: unknown };
  const known = id().safeParse(requestId);
  const bad = (reason: string): DecodedMethod => ({
    ok: false,
    reason,
    ...(known.success ? { id: known.data } : {}),
  });
  if (typeof name !== "string") return bad("missing field `method`");
  if (!Object.hasOwn(METHODS, name)) {
    const expected = Object.keys(METHODS).join("`, `");
    return bad(`unknown variant \`${printable(name)}\`, expected one of \`${expected}\``);
  }
  if (tooMany) return bad(EXCESS.values);
  const parsed = METHODS[name as keyof typeof METHODS]().safeParse(value);
  if (parsed.success) return { ok: true, method: parsed.data };
  const issue = parsed.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return bad(`${where}${issue?.message ?? "not a method"}`);
}

/**
 * True for a `run` of plain text that the schema would return unchanged, as a parent sends it: the one
 * method that every child gets. Spares the schema, which takes 0.7 ms to make, before the task is taken.
 */
function isPlainRun(value: unknown): value is Extract<Method, { method: "run" }> {
  if (!hasOnly(value, ["method", "id", "params"]) || value.method !== "run") return false;
  const { id: requestId, params } = value;
  const isId = (text: unknown): boolean =>
    typeof text === "string" && text !== "" && text.length <= MAX_ID_CHARACTERS;
  return (
    (requestId === undefined || isId(requestId)) &&
    hasOnly(params, ["input", "key"]) &&
    (params.key === undefined || isId(params.key)) &&
    Array.isArray(params.input) &&
    params.input.length <= MAX_SEGMENTS &&
    params.input.every(
      (segment) =>
        hasOnly(segment, ["kind", "content"]) &&
        segment.kind === "text" &&
        typeof segment.content === "string",
    )
  );
}

/** True for an object without other keys than these. */
function hasOnly<Key extends string>(
  value: unknown,
  keys: readonly Key[],
): value is Readonly<Partial<Record<Key, unknown>>> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).every((key) => keys.some((known) => known === key))
  );
}

/** True when there are too many values; looks at no more than it must. Their depth is known to be bounded. */
function exceedsValues(line: unknown): boolean {
  let values = 0;
  const walk = (value: unknown): boolean => {
    values += 1;
    if (values > MAX_VALUES) return true;
    if (typeof value !== "object" || value === null) return false;
    for (const key in value) if (walk(Reflect.get(value, key))) return true;
    return false;
  };
  return walk(line);
}
