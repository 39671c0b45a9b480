/**
 * The tool `SpawnPod`: validate, reserve, start, wait, deliver. Any failure or cancel before the
 * task was accepted undoes everything: group killed, exit awaited, reservation released, directory
 * and record removed, scope as before (spec registry-and-spawn 5 and 8.4, I4).
 */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import { settlesWithin } from "../base/process.ts";
import { runMethod } from "../protocol/method.ts";
import type { Allocation } from "../registry/allocation.ts";
import { defineTool, type Tool, ToolError, type ToolOutput } from "../tools/tool.ts";
import { request } from "../transport/client.ts";
import type { SpawnContext } from "./context.ts";
import { describeExit, type Launched } from "./launch.ts";
import { chooseCwd, planSpawn, type SpawnInput, spawnInputSchema, type SpawnPlan } from "./plan.ts";
import { Reservations } from "./reservations.ts";
import { becomeReady, cancelled, reportDelegation, start } from "./start-child.ts";
import { SpawnUndo } from "./undo.ts";

/** Limit for each step of the delivery of the first task (W39). */
const DELIVERY_TIMEOUT_MS = 5000;
/** Of a task, in its parent's log: enough to recognise it. */
const RECORDED_TASK_CHARACTERS = 200;
/** A process that dies closes its sockets an instant before the kernel reports its end. */
const EXIT_GRACE_MS = 250;

/** The tool, bound to its spawner. */
export function spawnPodTool(
  context: SpawnContext,
  deliveryMs: number = DELIVERY_TIMEOUT_MS,
): Tool {
  const reservations = new Reservations(context);
  return defineTool({
    name: "SpawnPod",
    description:
      "Starts a new agent as a process of its own for a task you delegate. You hand it paths: it " +
      "alone may write there while it lives, you keep read access. It gets its own socket and " +
      "begins `task` at once; this call returns as soon as it has accepted the task and does not " +
      "wait for the result. It keeps running after your turn ends, and you are notified when it " +
      "finishes a turn, fails or ends. Use SendToPod, ReadPodOutput, StopPod and ListPods with its " +
      "`name` to talk to it, read from it and end it." +
      (context.models.allowed.length === 0
        ? ""
        : ` Values for \`model\`: ${context.models.allowed.join(", ")}.`),
    schema: spawnInputSchema,
    execute: async (input, { signal }) =>
      await spawn(context, reservations, input, deliveryMs, signal),
  });
}

async function spawn(
  context: SpawnContext,
  reservations: Reservations,
  input: SpawnInput,
  deliveryMs: number,
  signal: AbortSignal,
): Promise<ToolOutput> {
  const plan = planSpawn(context, input);
  const model = await context.models.forChild(input.model ?? undefined);
  const instance = crypto.randomUUID();
  const entry = await reserve(reservations, plan, instance, signal);
  const undo = new SpawnUndo(context, entry);
  let doubt: string | undefined;
  try {
    if (signal.aborted) throw cancelled();
    const cwd = chooseCwd(context, plan, entry);
    const manifest = context.childManifest({
      name: entry.pod_name,
      instruction: plan.input.instruction ?? undefined,
      model: model.table,
      allow: entry.scope_allow,
      deny: entry.scope_deny,
    });
    const { unneeded } = model;
    const child = start(context, entry, { cwd, manifest, unneeded }, undo);
    await becomeReady(context, entry, child, undo, signal);
    doubt = await deliverTask(plan, entry, child, undo, { timeoutMs: deliveryMs, signal });
  } catch (error) {
    throw await undo.run(error);
  }
  undo.accepted();
  context.record.childStarted({
    name: entry.pod_name,
    instance,
    scope: entry.scope_allow,
    task: plan.input.task.slice(0, RECORDED_TASK_CHARACTERS).toWellFormed(),
    at: Date.now(),
  });
  reportDelegation(context, entry);
  if (doubt !== undefined) {
    throw new ToolError(
      "execution_failed",
      `spawned pod \`${entry.pod_name}\` did not confirm initial task delivery: ${doubt}; ` +
        "the pod remains registered and can be inspected or stopped",
    );
  }
  return { summary: `spawned pod \`${entry.pod_name}\` listening on ${entry.socket}` };
}

/** The reservation, or the registry's refusal in the words of a tool. */
async function reserve(
  reservations: Reservations,
  plan: SpawnPlan,
  instance: string,
  signal: AbortSignal,
): Promise<Allocation> {
  try {
    return await reservations.reserve(
      { child: { name: plan.input.name, instance }, rules: plan.rules },
      signal,
    );
  } catch (error) {
    if (error instanceof ToolError || isPodError(error, "cancelled")) throw error;
    const refused = isPodError(error) && !error.code.startsWith("registry_") && error.code !== "io";
    if (refused) throw new ToolError("invalid_argument", error.message);
    throw new ToolError("execution_failed", `pod-registry open: ${messageOf(error)}`);
  }
}

/**
 * Sends the task and waits for its acceptance; undefined when it was accepted. A child that died or
 * refused throws; one that lives but did not answer may still have taken the task (W62): then it is
 * kept, and what went wrong is returned.
 */
async function deliverTask(
  plan: SpawnPlan,
  entry: Allocation,
  child: Launched,
  undo: SpawnUndo,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<string | undefined> {
  const method = runMethod(plan.input.task);
  const delivered = request(entry.socket, method, limits).then(
    () => undefined,
    (error: unknown) => error,
  );
  const exited = child.exited.then(
    (exit) =>
      new PodError(
        "spawn_failed",
        `spawned pod exited before it accepted its task (${describeExit(exit)})${undo.stderrBlock()}`,
      ),
  );
  const failure = await Promise.race([delivered, exited]);
  if (failure !== undefined && (await settlesWithin(exited, EXIT_GRACE_MS))) throw await exited;
  if (limits.signal.aborted) throw cancelled();
  if (failure === undefined) return undefined;
  if (!isPodError(failure)) throw failure;
  const { errno, wire } = failure.data;
  if (wire !== undefined) {
    const name = entry.pod_name;
    throw new PodError(
      "spawn_failed",
      `pod \`${name}\` rejected the run with ${wire}: ${messageOf(failure)}`,
    );
  }
  if (errno !== undefined) {
    // Not even connected: the task cannot have been heard.
    throw new PodError(
      "spawn_failed",
      `spawned pod is ready but cannot be reached at ${entry.socket}: ` +
        `${messageOf(failure)}${undo.stderrBlock()}`,
    );
  }
  if (!isPodError(failure, "unreachable", "timed_out")) throw failure;
  return messageOf(failure);
}
