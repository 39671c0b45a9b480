/**
 * The two shapes of a manifest, made of the keys in `sections.ts` and `model-table.ts`:
 * `manifestLayerSchema` is what one layer may write, `manifestSchema` the resolved manifest with all
 * defaults filled. Both are strict: a key that is not there is an error (spec manifest 1, FIX 2).
 * Nothing here reads files or knows layers. Schemas are made when first needed: a child needs none.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { modelTableSchema } from "./model-table.ts";
import { DEFAULTS, sectionKeys } from "./sections.ts";

/** What one layer may write: everything optional, nothing unknown. */
export const manifestLayerSchema = lazily(() => {
  const {
    podKeys,
    workerKeys,
    toolOutputKeys,
    scopeKeys,
    compactionKeys,
    limitKeys,
    sandboxKeys,
    inherit,
  } = sectionKeys();
  return z
    .object({
      pod: z.object(podKeys).partial().strict().describe("who the Pod is"),
      model: modelTableSchema().describe("which model answers"),
      worker: z
        .object({
          ...workerKeys,
          tool_output: z
            .object(toolOutputKeys)
            .partial()
            .strict()
            .describe("sizes of tool results"),
        })
        .partial()
        .strict()
        .describe("how the model is asked"),
      scope: z
        .object({ inherit, ...scopeKeys })
        .partial()
        .strict()
        .describe("which paths the Pod may touch"),
      compaction: z
        .object(compactionKeys)
        .partial()
        .strict()
        .describe("shortening of long histories; the section's presence turns it on"),
      limits: z.object(limitKeys).partial().strict().describe("bounds on children"),
      sandbox: z.object(sandboxKeys).partial().strict().describe("what shell commands may do"),
    })
    .partial()
    .strict();
});
/** What one layer says. */
export type ManifestLayer = z.infer<ReturnType<typeof manifestLayerSchema>>;

/** The resolved manifest; what may be left out of its JSON form has its default. */
export const manifestSchema = lazily(() => {
  const {
    podKeys,
    workerKeys,
    toolOutputKeys,
    scopeKeys,
    compactionKeys,
    limitKeys,
    sandboxKeys,
    size,
  } = sectionKeys();
  const { instruction, stop_sequences, ...optionalWorkerKeys } = workerKeys;
  return z
    .object({
      pod: z.object({ name: podKeys.name, prompt_pack: podKeys.prompt_pack.optional() }).strict(),
      model: modelTableSchema().default({}),
      worker: z
        .object(optionalWorkerKeys)
        .partial()
        .extend({
          instruction: instruction.default(DEFAULTS.instruction),
          stop_sequences: stop_sequences.default([]),
          tool_output: z
            .object({
              default_max_bytes: toolOutputKeys.default_max_bytes.default(
                DEFAULTS.default_max_bytes,
              ),
              per_tool: toolOutputKeys.per_tool.default({}),
            })
            .strict()
            .default({}),
        })
        .strict()
        .default({}),
      scope: z.object({ allow: scopeKeys.allow.min(1), deny: scopeKeys.deny.default([]) }).strict(),
      compaction: z
        .object(compactionKeys)
        .partial()
        .extend({
          prune_protected_turns: size.default(DEFAULTS.prune_protected_turns),
          prune_min_savings: size.default(DEFAULTS.prune_min_savings),
          compact_retained_tokens: size.default(DEFAULTS.compact_retained_tokens),
          compact_auto_read_budget: size.default(DEFAULTS.compact_auto_read_budget),
          compact_worker_max_input_tokens: size.default(DEFAULTS.compact_worker_max_input_tokens),
        })
        .strict()
        .optional(),
      limits: z
        .object({
          max_depth: limitKeys.max_depth.default(DEFAULTS.max_depth),
          max_children: limitKeys.max_children.default(DEFAULTS.max_children),
          child_models: limitKeys.child_models.optional(),
          ready_timeout_ms: limitKeys.ready_timeout_ms.default(DEFAULTS.ready_timeout_ms),
        })
        .strict()
        .default({}),
      sandbox: z
        .object({
          mode: sandboxKeys.mode.default(DEFAULTS.mode),
          write: sandboxKeys.write.default([]),
          network: sandboxKeys.network.default(DEFAULTS.network),
          local_sockets: sandboxKeys.local_sockets.default(DEFAULTS.local_sockets),
          env: sandboxKeys.env.default([]),
        })
        .strict()
        .default({}),
    })
    .strict();
});
/** A resolved manifest: every default filled, every path absolute. */
export type Manifest = z.infer<ReturnType<typeof manifestSchema>>;

/** Keys of the reference that this program does not have, and what to say to who writes them. */
export const ABSENT_KEYS: ReadonlyMap<string, string> = new Map([
  ["memory", "this program has no memory tools; remove the [memory] section"],
  ["pod.pwd", "a Pod works in the directory it is started in"],
  ["worker.system_prompt", "write the text to a prompt asset and name it in `worker.instruction`"],
]);

/** Keys that hold paths, in the order of the checks of spec manifest 2.4; `*` is any index. */
export const PATH_KEYS: readonly (readonly string[])[] = [
  ["pod", "prompt_pack"],
  ["model", "auth", "file"],
  ["model", "script"],
  ["scope", "allow", "*", "target"],
  ["scope", "deny", "*", "target"],
  ["compaction", "model", "auth", "file"],
  ["compaction", "model", "script"],
  ["sandbox", "write", "*"],
];
