/**
 * What a `SpawnPod` call asks for, and every check of it that needs no registry: names, targets,
 * sizes, the working directory (spec registry-and-spawn 5.2, 5.3). Nothing is changed here.
 */
import { statSync } from "node:fs";
import { isAbsolute } from "node:path";
import { z } from "zod/v3";
import { messageOf } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import { assertPodName, assertSocketPath, type PodPaths, podPaths } from "../base/paths.ts";
import type { Allocation } from "../registry/allocation.ts";
import { canonicalPath, canonicalRule, permissionSchema, type ScopeRule } from "../scope/rule.ts";
import { accessTo, type Scope } from "../scope/set.ts";
import { ToolError } from "../tools/tool.ts";
import type { SpawnContext } from "./context.ts";

/** Input of the tool; its descriptions are what the model reads. */
export const spawnInputSchema = lazily(() =>
  z.object({
    name: z
      .string()
      .describe("Name of the new Pod: letters, digits, `.`, `_`, `-`; unique on this machine."),
    instruction: z
      .string()
      .nullable()
      .optional()
      .describe(
        "Reference to an instruction asset, e.g. `$insomnia/default` or `$user/my-agent`. " +
          "Default: the same as yours.",
      ),
    model: z
      .string()
      .nullable()
      .optional()
      .describe(
        "Model of the new Pod as `provider/model`, if the manifest allows another than yours: e.g. a " +
          "cheaper one for simple work. Default: the same as yours.",
      ),
    task: z.string().describe("The first message to the new Pod: everything it needs to know."),
    scope: z
      .array(
        z.object({
          target: z.string().describe("Absolute path of a file or directory."),
          permission: permissionSchema(),
          recursive: z
            .boolean()
            .default(true)
            .describe("false: only the target itself and its direct children."),
        }),
      )
      .describe(
        "Paths handed to the new Pod. They must lie inside your current effective scope; what you " +
          "hand over for writing you can only read until that Pod has ended.",
      ),
    cwd: z
      .string()
      .nullable()
      .optional()
      .describe("Working directory of the new Pod: absolute, existing, readable under its scope."),
  }),
);
export type SpawnInput = z.infer<ReturnType<typeof spawnInputSchema>>;

/** A request that passed every check that needs no registry. */
export interface SpawnPlan {
  readonly input: SpawnInput;
  readonly rules: readonly ScopeRule[];
  readonly paths: PodPaths;
  readonly cwd: string | undefined;
}

/** Checks a request. Throws `ToolError` and `PodError` (`invalid_argument`) with the texts of spec 5.3. */
export function planSpawn(context: SpawnContext, input: SpawnInput): SpawnPlan {
  const refuse = (message: string): never => {
    throw new ToolError("invalid_argument", message);
  };
  if (input.name === context.self.name) {
    refuse(`spawned pod name \`${input.name}\` collides with spawner's own name`);
  }
  assertPodName(input.name);
  if (input.scope.length === 0) refuse("scope must not be empty");
  const relative = input.scope.find((rule) => !isAbsolute(rule.target));
  if (relative !== undefined) refuse(`scope.target must be absolute: ${relative.target}`);
  const rules = input.scope.map(canonicalRule);
  const paths = podPaths(context.registry.base, input.name);
  try {
    assertSocketPath(paths.socket);
  } catch (error) {
    refuse(messageOf(error));
  }
  const model = input.model ?? undefined;
  const { allowed } = context.models;
  if (model !== undefined && !allowed.includes(model)) {
    const choice =
      allowed.length === 0 ? "the manifest allows none" : `allowed: ${allowed.join(", ")}`;
    refuse(
      `model \`${model}\` must not be used for a child; ${choice} (limits.child_models); ` +
        "leave `model` out to use your own",
    );
  }
  const cwd = input.cwd ?? undefined;
  if (cwd === undefined) return { input, rules, paths, cwd };
  const canonical = canonicalPath(cwd);
  if (!canonical.ok) return refuse(`cwd cannot be resolved: ${cwd} (${canonical.reason})`);
  if (!isDirectory(canonical.path)) refuse(`cwd is not an existing directory: ${cwd}`);
  return { input, rules, paths, cwd: canonical.path };
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The requested directory, else ours, else the first one handed over; it grants nothing (W42). */
export function chooseCwd(context: SpawnContext, plan: SpawnPlan, entry: Allocation): string {
  const scope: Scope = { allow: entry.scope_allow, deny: entry.scope_deny };
  const readable = (path: string): boolean => accessTo(scope, path) !== "none";
  if (plan.cwd !== undefined) {
    if (readable(plan.cwd)) return plan.cwd;
    throw new ToolError(
      "invalid_argument",
      `cwd is not readable under the child's scope: ${plan.cwd}`,
    );
  }
  if (readable(context.cwd)) return context.cwd;
  const handed = entry.scope_allow.find(
    (rule) => rule.recursive && isDirectory(rule.target) && readable(rule.target),
  );
  if (handed !== undefined) return handed.target;
  throw new ToolError(
    "invalid_argument",
    "no working directory is readable under the child's scope; hand over an existing directory " +
      "or add a read rule for one and name it in `cwd`",
  );
}
