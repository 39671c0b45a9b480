/**
 * Every key a manifest may have, section by section, with its type, its meaning and its default: the one
 * place that says so, with `model-table.ts` (the `describe` texts are what documentation and editors
 * show). Which keys may be missing, and where, is said in `schema.ts`.
 */
import { z } from "zod/v3";
import { messageOf } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import { assertPodName } from "../base/paths.ts";
import { permissionSchema } from "../scope/rule.ts";
import { modelTableSchema, pathText, text } from "./model-table.ts";

const U32_MAX = 0xffff_ffff;
const I32 = { min: -0x8000_0000, max: 0x7fff_ffff } as const;
/** Longest delay a timer takes; a longer one would fire at once. */
const MAX_TIMER_MS = 0x7fff_ffff;

/** Values that apply when no layer says otherwise. */
export const DEFAULTS = {
  instruction: "$insomnia/default",
  default_max_bytes: 16_384,
  prune_protected_turns: 3,
  prune_min_savings: 4096,
  compact_retained_tokens: 8000,
  compact_auto_read_budget: 8000,
  compact_worker_max_input_tokens: 50_000,
  max_depth: 4,
  max_children: 16,
  ready_timeout_ms: 10_000,
  mode: "enforce",
  network: "allow",
  local_sockets: "deny",
} as const;

/**
 * The keys of each section, without saying which may be missing; `inherit` is a layer's alone, `size` a
 * number of bytes, tokens or turns.
 */
export const sectionKeys = lazily(() => {
  const u32 = z.number().int().min(0).max(U32_MAX);
  const count = z.number().int().min(1).max(U32_MAX);
  const size = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

  const podKeys = {
    name: z
      .string()
      .superRefine((name, context) => {
        try {
          assertPodName(name);
        } catch (error) {
          context.addIssue({ code: "custom", message: messageOf(error) });
        }
      })
      .describe("identity of the Pod: directory, socket and registry key; required"),
    prompt_pack: pathText().describe(
      "file with prompt texts, the last layer of them; relative to the base",
    ),
  };

  const toolOutputKeys = {
    default_max_bytes: size.describe(
      `bytes of a tool result's content that reach the model (default ${DEFAULTS.default_max_bytes})`,
    ),
    per_tool: z
      .record(z.string(), size.describe("bytes for the tool of this name (`Bash`, `Read`, …)"))
      .describe("the same for single tools"),
  };

  const workerKeys = {
    instruction: text().describe(
      `prompt asset that becomes the system prompt (default \`${DEFAULTS.instruction}\`)`,
    ),
    max_tokens: u32.describe("output tokens per request"),
    max_turns: count.describe("model requests per run"),
    temperature: z.number().finite().describe("sampling temperature"),
    top_p: z.number().finite().describe("nucleus sampling"),
    top_k: u32.describe("sampling among the best k tokens, where the scheme has it"),
    stop_sequences: z.array(z.string()).describe("texts that end an answer (default none)"),
    reasoning: z
      .union([text(), z.number().int().min(I32.min).max(I32.max)], {
        errorMap: () => ({
          message: "expected an effort label (string) or a token budget (integer)",
        }),
      })
      .describe("effort label (string) or thinking tokens (integer)"),
  };

  const straightPath = pathText().regex(
    /^(?!(?:[^\x00]*\/)?\.\.(?:\/|$))/,
    "must not contain `..`",
  );
  const scopeEntrySchema = z
    .object({
      target: straightPath.describe("file or directory; relative to the layer's base"),
      permission: permissionSchema().describe(
        "`write` implies `read`; a deny of `read` denies both",
      ),
      recursive: z
        .boolean()
        .default(true)
        .describe("false: the target itself and its direct children only (default true)"),
    })
    .strict();

  const scopeKeys = {
    allow: z.array(scopeEntrySchema).describe("what the Pod may touch; at least one rule"),
    deny: z.array(scopeEntrySchema).describe("exceptions; they always win"),
  };

  const compactionKeys = {
    prune_protected_turns: size.describe(
      `newest turns that are never pruned (default ${DEFAULTS.prune_protected_turns})`,
    ),
    prune_min_savings: size.describe(
      `estimated tokens a prune must save (default ${DEFAULTS.prune_min_savings})`,
    ),
    compact_threshold: size.describe("compact after a run above this many tokens (default off)"),
    compact_request_threshold: size.describe(
      "compact before a request above this many tokens (default off)",
    ),
    compact_retained_tokens: size.describe(
      `newest tokens kept word for word (default ${DEFAULTS.compact_retained_tokens})`,
    ),
    compact_auto_read_budget: size.describe(
      `tokens of files shown again after it (default ${DEFAULTS.compact_auto_read_budget})`,
    ),
    compact_worker_max_input_tokens: size.describe(
      `input tokens the summariser may use (default ${DEFAULTS.compact_worker_max_input_tokens})`,
    ),
    model: modelTableSchema().describe("the summariser's model (default: the Pod's)"),
  };

  const limitKeys = {
    max_depth: count.describe(
      `levels of Pods below the one a person started (default ${DEFAULTS.max_depth})`,
    ),
    max_children: count.describe(`live children of one Pod (default ${DEFAULTS.max_children})`),
    child_models: z
      .array(text())
      .describe("`ref`s that SpawnPod may choose for a child (default: only the Pod's own model)"),
    ready_timeout_ms: z
      .number()
      .int()
      .min(1)
      .max(MAX_TIMER_MS)
      .describe(`milliseconds a child may take to start (default ${DEFAULTS.ready_timeout_ms})`),
  };

  const sandboxKeys = {
    mode: z
      .enum(["enforce", "warn", "off"])
      .describe(
        "commands of Bash are confined to the scope: `enforce` runs none where the kernel cannot, " +
          `\`warn\` confines as far as it can, \`off\` does not (default \`${DEFAULTS.mode}\`)`,
      ),
    write: z
      .array(straightPath)
      .describe(
        "files and directories beside the scope that commands may write, such as caches; no Pod " +
          "owns them; relative to the layer's base (default none)",
      ),
    network: z
      .enum(["allow", "deny"])
      .describe(
        `\`deny\`: commands get no sockets for the network (default \`${DEFAULTS.network}\`)`,
      ),
    local_sockets: z
      .enum(["allow", "deny"])
      .describe(
        "`allow`: commands reach programs that listen on local (Unix) sockets, such as Docker, D-Bus " +
          `and an ssh agent, which act outside the sandbox (default \`${DEFAULTS.local_sockets}\`)`,
      ),
    env: z
      .array(text())
      .describe(
        "environment variables that commands get although their names look like secrets (default none)",
      ),
  };

  const inherit = z
    .boolean()
    .describe("false: drop the allow rules of lower layers; their deny rules stay (default true)");

  return {
    podKeys,
    workerKeys,
    toolOutputKeys,
    scopeKeys,
    compactionKeys,
    limitKeys,
    sandboxKeys,
    inherit,
    size,
  };
});
