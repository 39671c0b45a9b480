/**
 * The tool contract: what a tool declares, what it gets, what it returns. A tool's `execute` never
 * rejects through the loop: `runTool` turns every failure into a result the model can read
 * (spec worker-and-tools 2).
 */
import type { z } from "zod/v3";
import { zodToJsonSchema } from "zod-to-json-schema";
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import type { JsonObjectSchema, ToolDefinition } from "../model/model.ts";
import { preparedSchema } from "./prepared-schemas.ts";

/** Kinds of failure with the prefix the model sees (2.3). */
const PREFIX = {
  invalid_argument: "Invalid argument",
  execution_failed: "Execution failed",
  internal: "Internal error",
} as const;

/** A failure meant for the model; everything else that a tool throws becomes `execution_failed`. */
export class ToolError extends Error {
  readonly kind: keyof typeof PREFIX;
  constructor(kind: keyof typeof PREFIX, message: string) {
    super(message);
    this.name = "ToolError";
    this.kind = kind;
  }
}

/** `summary` always reaches the model, `content` may be truncated or pruned. */
export interface ToolOutput {
  readonly summary: string;
  readonly content?: string;
}

/** What the loop keeps of a call. */
export interface ToolOutcome extends ToolOutput {
  readonly isError: boolean;
}

/** What a tool may use while it runs. */
export interface ToolContext {
  /** Aborted when the run is cancelled; a tool then ends soon and leaves nothing behind. */
  readonly signal: AbortSignal;
  readonly callId: string;
}

/**
 * What becomes of content above the limit: the `head` or the `tail` is kept and all of it goes to a
 * file that can be read; `again`: the head is kept, and another call gets the rest.
 */
export type Overflow = "head" | "tail" | "again";

/** Time a call may take unless its tool says otherwise: above everything a tool allows itself. */
const DEFAULT_LIMIT_MS = 15 * 60_000;

/** A tool: definition plus effect. `serial` calls of one batch run in call order (1.4). */
export interface Tool extends ToolDefinition {
  readonly serial: boolean;
  /** Absent: `head`. */
  readonly overflow?: Overflow;
  /** Milliseconds after which a call is told to stop and answered as failed; absent: `DEFAULT_LIMIT_MS`. */
  readonly limitMs?: number;
  /**
   * Called when the model begins a call of this tool, before its input is known and without a promise that
   * it comes to run: for what can be got ready meanwhile. Must be cheap, and must not throw.
   */
  prepare?(): void;
  run(input: unknown, context: ToolContext): Promise<ToolOutput>;
}

/**
 * Defines a tool with a zod schema for its input. Input that does not fit is answered with
 * `invalid {Name} input: …`, naming the field. The conversion is checked: a schema that does not
 * come out as an object is our own mistake and throws at once.
 */
export function defineTool<Schema extends z.ZodTypeAny>(spec: {
  /** No other tool's, anywhere in the program: schemas are prepared by name (`prepared-schemas.ts`). */
  name: string;
  description: string;
  /** Asked for when the model is first told of the tool, and at every call: to be made once (`lazily`). */
  schema(): Schema;
  serial?: boolean;
  overflow?: Overflow;
  limitMs?: number;
  prepare?(): void;
  execute(input: z.infer<Schema>, context: ToolContext): Promise<ToolOutput>;
}): Tool {
  let inputSchema: JsonObjectSchema | undefined;
  return {
    name: spec.name,
    description: spec.description,
    serial: spec.serial ?? false,
    ...(spec.overflow === undefined ? {} : { overflow: spec.overflow }),
    ...(spec.limitMs === undefined ? {} : { limitMs: spec.limitMs }),
    ...(spec.prepare === undefined ? {} : { prepare: spec.prepare }),
    // Converted when first asked for: a Pod that never calls a model does not pay for it.
    get inputSchema() {
      return (inputSchema ??=
        preparedSchema(spec.name) ?? toObjectSchema(spec.name, spec.schema()));
    },
    async run(input, context) {
      const parsed = spec.schema().safeParse(input);
      if (!parsed.success) {
        throw new ToolError(
          "invalid_argument",
          `invalid ${spec.name} input: ${describeIssues(parsed.error)}`,
        );
      }
      return await spec.execute(parsed.data as z.infer<Schema>, context);
    },
  };
}

/** What a model is told of an input. Throws `internal` for a schema that is not of an object. */
export function toObjectSchema(name: string, schema: z.ZodTypeAny): JsonObjectSchema {
  const { $schema: _, ...converted } = zodToJsonSchema(schema, {
    $refStrategy: "none",
    // Unknown keys are ignored, so the schema must not forbid them.
    removeAdditionalStrategy: "strict",
  }) as Record<string, unknown>;
  if (converted.type !== "object") {
    throw new PodError("internal", `input schema of tool ${name} is not an object schema`);
  }
  return { properties: {}, ...converted, type: "object" };
}

function describeIssues(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      const missing = issue.code === "invalid_type" && issue.received === "undefined";
      const field = issue.path.join(".");
      if (missing) return `missing field \`${field}\``;
      return field === "" ? issue.message : `${field}: ${issue.message}`;
    })
    .join("; ");
}

/**
 * Runs a call and always returns an outcome: failures as `Tool execution failed: {kind}: {message}`
 * (2.3). A call that takes longer than its tool may is told to stop and, when it does not within
 * `settleMs`, left behind. What an aborted call is called is the batch's business.
 */
export async function runTool(
  tool: Tool,
  input: unknown,
  context: ToolContext,
  settleMs = LATE_SETTLE_MS,
): Promise<ToolOutcome> {
  const limitMs = tool.limitMs ?? DEFAULT_LIMIT_MS;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), limitMs);
  const signal = AbortSignal.any([context.signal, late.signal]);
  const work = attempt(tool, input, { ...context, signal });
  try {
    const { promise: overdue, resolve } = Promise.withResolvers<undefined>();
    late.signal.addEventListener("abort", () => resolve(undefined), { once: true });
    const outcome = await Promise.race([work, overdue]);
    // One that failed because it was told to stop failed for lack of time.
    if (outcome !== undefined && !(late.signal.aborted && outcome.isError)) return outcome;
    const ended = await settlesWithin(work, settleMs);
    const failure =
      `timed out after ${limitMs / 1000} s` +
      (ended ? "" : "; it did not stop when it was told to and may still be at work");
    return {
      summary: `Tool execution failed: ${PREFIX.execution_failed}: ${failure}`,
      isError: true,
    };
  } finally {
    clearTimeout(timer);
  }
}

/** How long a call that is late gets to clean up, in milliseconds. */
const LATE_SETTLE_MS = 5000;

async function attempt(tool: Tool, input: unknown, context: ToolContext): Promise<ToolOutcome> {
  try {
    return { ...(await tool.run(input, context)), isError: false };
  } catch (error) {
    return { summary: `Tool execution failed: ${describeFailure(error)}`, isError: true };
  }
}

function describeFailure(error: unknown): string {
  if (error instanceof ToolError) return `${PREFIX[error.kind]}: ${error.message}`;
  const kind = isPodError(error, "invalid_argument")
    ? PREFIX.invalid_argument
    : isPodError(error, "internal")
      ? PREFIX.internal
      : PREFIX.execution_failed;
  // Our own messages keep their line breaks: some quote what a child wrote.
  return `${kind}: ${isPodError(error) ? error.message : messageOf(error)}`;
}
