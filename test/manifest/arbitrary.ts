/** Random manifest layers: every key present or absent, values of the right types, absolute paths. */
import fc from "fast-check";
import type { ManifestLayer } from "../../src/manifest/schema.ts";

const optional = <Shape>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }) =>
  fc.record(shape, { requiredKeys: [] });

const word = fc.stringMatching(/^[a-z]{1,6}$/);
const path = fc.array(word, { minLength: 1, maxLength: 3 }).map((names) => `/${names.join("/")}`);
const size = fc.nat(100_000);
const count = fc.integer({ min: 1, max: 1000 });

const model = optional({
  ref: word.map((name) => `provider/${name}`),
  scheme: fc.constantFrom("anthropic" as const, "gemini" as const, "script" as const),
  base_url: word.map((name) => `https://${name}.example`),
  model_id: word,
  auth: fc.oneof(
    fc.constant({ kind: "none" as const }),
    fc.record({ kind: fc.constant("api_key" as const), env: word, file: path }),
  ),
  capability: fc.record({
    tool_calling: fc.constantFrom("none" as const, "parallel" as const),
    structured_output: fc.constant("json_schema" as const),
    vision: fc.boolean(),
    prompt_caching: fc.constant({ kind: "explicit" as const, max_breakpoints: 4 }),
  }),
  script: path,
});

const rules = fc.array(
  fc.record({
    target: path,
    permission: fc.constantFrom("read" as const, "write" as const),
    recursive: fc.boolean(),
  }),
  { maxLength: 3 },
);

export const layers: fc.Arbitrary<ManifestLayer> = optional({
  pod: optional({ name: word, prompt_pack: path }),
  model,
  worker: optional({
    instruction: word.map((name) => `$user/${name}`),
    max_tokens: size,
    max_turns: count,
    temperature: fc.integer({ min: 0, max: 20 }).map((tenths) => tenths / 10),
    top_p: fc.constantFrom(0.5, 1),
    top_k: size,
    stop_sequences: fc.array(fc.string()),
    reasoning: fc.oneof(word, fc.integer({ min: -1, max: 9000 })),
    tool_output: optional({
      default_max_bytes: size,
      per_tool: fc.dictionary(fc.constantFrom("Bash", "Read", "Glob", "odd name"), size),
    }),
  }),
  scope: optional({ inherit: fc.boolean(), allow: rules, deny: rules }),
  compaction: optional({ prune_protected_turns: size, compact_threshold: size, model }),
  sandbox: optional({
    mode: fc.constantFrom("enforce" as const, "warn" as const, "off" as const),
    write: fc.array(path, { maxLength: 2 }),
    network: fc.constantFrom("allow" as const, "deny" as const),
    env: fc.array(word, { maxLength: 2 }),
  }),
  limits: optional({ max_depth: count, max_children: count, ready_timeout_ms: count }),
});
