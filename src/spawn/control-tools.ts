/** The tools `StopPod` and `ListPods`: ending Pods for certain, and seeing them (spec 6.3, 6.4). */
import { z } from "zod/v3";
import { isPodError } from "../base/errors.ts";
import { stateOf } from "../base/process.ts";
import { describeRules } from "../scope/rule.ts";
import { defineTool, type Tool, ToolError, type ToolOutput } from "../tools/tool.ts";
import { request } from "../transport/client.ts";
import type { ChildRecord } from "./children.ts";
import type { SpawnContext } from "./context.ts";
import { STOP_LIMITS, type StopLimits, stopPod } from "./stop.ts";
import { recordNamed } from "./talk-tools.ts";

/** Limit for all probes of one ListPods together (W67). */
const PROBE_TIMEOUT_MS = 5000;

const StopInputSchema = z.object({ name: z.string().describe("Name of a Pod you spawned.") });

/** Ends a child and gives its paths back, in this order. */
export function stopPodTool(context: SpawnContext, limits: StopLimits = STOP_LIMITS): Tool {
  return defineTool({
    name: "StopPod",
    description:
      "Ends a Pod you spawned and returns its paths to you. It is asked first and forced if it " +
      "does not end; when this call succeeds, it can no longer write. Pods that it had spawned " +
      "live on as yours.",
    schema: StopInputSchema,
    execute: async ({ name }) => await stop(context, recordNamed(context.children, name), limits),
  });
}

async function stop(
  context: SpawnContext,
  record: ChildRecord,
  limits: StopLimits,
): Promise<ToolOutput> {
  const { children, family } = context;
  record.stopping = true;
  const owner = record.owner ?? {
    pid: 0,
    start: null,
    boot: null,
    pidNamespace: null,
    machine: null,
  };
  const { socket, exited } = record;
  const result =
    record.phase === "ended"
      ? "ended"
      : await stopPod({ socket, owner, ...(exited === undefined ? {} : { exited }) }, limits);
  if (result === "alive") {
    record.stopping = false;
    const seconds = (limits.askMs + limits.termMs + limits.killMs) / 1000;
    throw new ToolError(
      "execution_failed",
      `pod \`${record.name}\` did not stop within ${seconds} s; its scope is kept`,
    );
  }
  const inherited = await family.giveBack({ name: record.name, instance: record.instance });
  children.remove(record);
  const heirs = inherited.map((heir) => `\`${heir.name}\` keeps ${describeRules(heir.scope)}`);
  const forced = result === "forced" ? " (forced)" : "";
  return {
    summary:
      `stopped pod \`${record.name}\`${forced}; reclaimed scope: ${describeRules(record.scope)}` +
      (heirs.length === 0 ? "" : `; now yours: ${heirs.join("; ")}`),
  };
}

/** Shows every child with what it is doing. */
export function listPodsTool(context: SpawnContext): Tool {
  return defineTool({
    name: "ListPods",
    description:
      "Lists all Pods you spawned: alive or stopped, what each is doing, and the paths it holds.",
    schema: z.object({}).passthrough(),
    execute: async () => await list(context),
  });
}

async function list(context: SpawnContext): Promise<ToolOutput> {
  const { children, family } = context;
  await family.refresh();
  const records = children.list();
  if (records.length === 0) return { summary: "no spawned pods" };
  const lines = await Promise.all(
    records.map(async (record) => {
      const state = await stateOfPod(record);
      const life = state === "stopped" ? "stopped" : "alive";
      const detail = state === "stopped" ? "" : ` state=${state}`;
      return `${record.name} [${life}] scope=${describeRules(record.scope)}${detail}`;
    }),
  );
  for (const record of records) if (record.phase === "ended") children.remove(record);
  return { summary: `${records.length} pod(s) known`, content: lines.join("\n") };
}

type ShownState = "idle" | "running" | "paused" | "stopped" | "unresponsive";

async function stateOfPod(record: ChildRecord): Promise<ShownState> {
  if (record.phase === "ended") return "stopped";
  try {
    const answer = await request(
      record.socket,
      { method: "status" },
      {
        timeoutMs: PROBE_TIMEOUT_MS,
        until: (event) => event.event === "status",
      },
    );
    const same = answer.event === "status" && answer.data.instance === record.instance;
    return same ? answer.data.state : "unresponsive";
  } catch (error) {
    if (!isPodError(error)) throw error;
    const dead = record.owner !== undefined && stateOf(record.owner) === "dead";
    return dead ? "stopped" : "unresponsive";
  }
}
