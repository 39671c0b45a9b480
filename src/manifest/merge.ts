/**
 * How a layer changes the layers below it (spec manifest 2.2 with FIX 3 and FIX 4). Pure and
 * associative, with the empty layer as its neutral element: what a layer does to those below does
 * not depend on how the others were grouped.
 */
import type { ModelTable } from "./model-table.ts";
import type { ManifestLayer } from "./schema.ts";

type Section<Name extends keyof ManifestLayer> = NonNullable<ManifestLayer[Name]>;

/**
 * `lower` with `upper` on top:
 * - plain values and lists of them (`stop_sequences`, `sandbox.write`): the upper one if there is one;
 * - `worker.tool_output.per_tool`: name by name;
 * - `model` (also in `compaction`): key by key, `auth` and `capability` whole; an upper layer that
 *   says which model it is (`ref` or `scheme`) discards the lower table, so that no key or address
 *   goes to another provider;
 * - `scope.allow`, `scope.deny`: lower rules first; `inherit = false` discards the lower allow
 *   rules. Deny rules only ever take away, so no layer can lift one.
 */
export function mergeLayers(lower: ManifestLayer, upper: ManifestLayer): ManifestLayer {
  return {
    ...both("pod", lower.pod, upper.pod, shallow),
    ...both("model", lower.model, upper.model, mergeModel),
    ...both("worker", lower.worker, upper.worker, mergeWorker),
    ...both("scope", lower.scope, upper.scope, mergeScope),
    ...both("compaction", lower.compaction, upper.compaction, mergeCompaction),
    ...both("limits", lower.limits, upper.limits, shallow),
    ...both("sandbox", lower.sandbox, upper.sandbox, shallow),
  };
}

/** `{ [name]: merged }`, or nothing when neither has it, so that absent stays absent. */
function both<Name extends string, Value>(
  name: Name,
  lower: Value | undefined,
  upper: Value | undefined,
  merge: (lower: Value, upper: Value) => Value,
): { [key in Name]?: Value } {
  if (lower === undefined && upper === undefined) return {};
  const value = lower === undefined || upper === undefined ? (upper ?? lower) : merge(lower, upper);
  return { [name]: value } as { [key in Name]?: Value };
}

function shallow<Table extends object>(lower: Table, upper: Table): Table {
  return { ...lower, ...upper };
}

function mergeModel(lower: ModelTable, upper: ModelTable): ModelTable {
  return upper.ref !== undefined || upper.scheme !== undefined ? upper : { ...lower, ...upper };
}

function mergeWorker(lower: Section<"worker">, upper: Section<"worker">): Section<"worker"> {
  return {
    ...lower,
    ...upper,
    ...both("tool_output", lower.tool_output, upper.tool_output, (below, above) => ({
      ...below,
      ...above,
      ...both("per_tool", below.per_tool, above.per_tool, shallow),
    })),
  };
}

function mergeCompaction(
  lower: Section<"compaction">,
  upper: Section<"compaction">,
): Section<"compaction"> {
  return { ...lower, ...upper, ...both("model", lower.model, upper.model, mergeModel) };
}

function mergeScope(lower: Section<"scope">, upper: Section<"scope">): Section<"scope"> {
  const inherits = upper.inherit !== false;
  const concat = <Rule>(below: Rule[], above: Rule[]): Rule[] => [...below, ...above];
  return {
    ...both("inherit", lower.inherit, upper.inherit, (below, above) => below && above),
    ...both("allow", inherits ? lower.allow : undefined, upper.allow, concat),
    ...both("deny", lower.deny, upper.deny, concat),
  };
}
