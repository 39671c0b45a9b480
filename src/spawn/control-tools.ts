/** The tools `StopPod` and `ListPods`: ending Pods for certain, and seeing them (spec 6.3, 6.4). */
import { z } from "zod/v3";
import { messageOf } from "../base/errors.ts";
import { lazily } from "../base/lazy.ts";
import { log } from "../base/log.ts";
import { childrenOf, findByName } from "../registry/kinship.ts";
import { commandsLive } from "../registry/life.ts";
import { describeRules } from "../scope/rule.ts";
import { defineTool, type Tool, ToolError, type ToolOutput } from "../tools/tool.ts";
import { type ChildRecord, hasEnded } from "./children.ts";
import type { SpawnContext } from "./context.ts";
import type { Family } from "./family.ts";
import { describeHeirs } from "./news.ts";
import { STOP_LIMITS, type StopLimits, stopPod } from "./stop.ts";
import { statusOf } from "./status.ts";
import { recordNamed } from "./talk-tools.ts";

/** Limit for all probes of one ListPods together (W67). */
const PROBE_TIMEOUT_MS = 5000;

/** Input of `StopPod`. */
export const stopInputSchema = lazily(() =>
  z.object({
    name: z.string().describe("Name of a Pod you spawned."),
    tree: z
      .boolean()
      .default(false)
      .describe("Also end every Pod below it. Default false: they live on as yours."),
  }),
);

/** Ends a child and gives its paths back, in this order. */
export function stopPodTool(context: SpawnContext, limits: StopLimits = STOP_LIMITS): Tool {
  return defineTool({
    name: "StopPod",
    description:
      "Ends a Pod you spawned and returns its paths to you. It is asked first and forced if it " +
      "does not end; when this call succeeds, it can no longer write. Pods that it had spawned " +
      "live on as yours, or end with it when `tree` is true.",
    schema: stopInputSchema,
    execute: async ({ name, tree }) => {
      const record = recordNamed(context.children, name);
      const first = await stop(context, record, limits);
      const below = tree ? await stopBelow(context, first.heirs, limits) : [];
      return { summary: describeStop(first, tree ? below : undefined) };
    },
  });
}

/** One Pod that was ended, and who was below it. */
interface Stopped {
  readonly name: string;
  readonly forced: boolean;
  readonly returned: string;
  readonly heirs: readonly ChildRecord[];
}

function describeStop(first: Stopped, below: readonly Stopped[] | undefined): string {
  const named = ({ name, forced }: Stopped): string => `\`${name}\`${forced ? " (forced)" : ""}`;
  const text = `stopped pod ${named(first)}; ${first.returned}`;
  if (below === undefined) {
    return first.heirs.length === 0 ? text : `${text}; now yours: ${describeHeirs(first.heirs)}`;
  }
  return below.length === 0 ? text : `${text}; and below it ${below.map(named).join(", ")}`;
}

/** Ends Pods that have become ours, and whatever becomes ours by that; parents before children. */
async function stopBelow(
  context: SpawnContext,
  heirs: readonly ChildRecord[],
  limits: StopLimits,
): Promise<Stopped[]> {
  const ends = await Promise.allSettled(
    heirs.map(async (heir) => {
      const stopped = await stop(context, heir, limits);
      return [stopped, ...(await stopBelow(context, stopped.heirs, limits))];
    }),
  );
  const failures = ends.flatMap((end) =>
    end.status === "rejected" ? [messageOf(end.reason)] : [],
  );
  if (failures.length > 0) throw new ToolError("execution_failed", failures.join("; "));
  return ends.flatMap((end) => (end.status === "fulfilled" ? end.value : []));
}

async function stop(
  context: SpawnContext,
  record: ChildRecord,
  limits: StopLimits,
): Promise<Stopped> {
  const { children, family, registry, self } = context;
  const { name, instance, socket, owner, exited } = record;
  const table = registry.peek();
  const entry = findByName(table, name);
  const isThere = entry?.instance === instance;
  const parent = (isThere ? entry.delegated_from : null) ?? self.name;
  const before = isThere ? childrenOf(table, name).map((heir) => heir.instance) : [];
  record.stopping = true;
  const target = { socket, owner, ...(exited === undefined ? {} : { exited }) };
  // Who has ended gets no signal; what is not in the registry any more was given back, and the name may be
  // another's.
  const lingers = isThere && commandsLive(registry.base, name);
  const result =
    record.phase !== "ended" ? await stopPod(target, limits) : lingers ? "alive" : "ended";
  if (result === "alive") {
    record.stopping = false;
    const seconds = (limits.askMs + limits.termMs + limits.killMs) / 1000;
    throw new ToolError(
      "execution_failed",
      `pod \`${name}\` did not stop within ${seconds} s; its scope is kept`,
    );
  }
  // Its end is handled elsewhere too, and whoever comes first inherits: so heirs are told by name.
  await family.stopped(record);
  const inherited = await giveBack(family, record);
  children.remove(record);
  const heirs = children
    .list()
    .filter((heir) => heir.direct && !hasEnded(heir))
    .filter((heir) => before.includes(heir.instance) || inherited.includes(heir));
  const scope = describeRules(record.scope);
  const returned =
    parent === self.name
      ? `reclaimed scope: ${scope}`
      : `its scope is back with pod \`${parent}\`: ${scope}`;
  return { name, forced: result === "forced", returned, heirs };
}

async function giveBack(family: Family, { name, instance }: ChildRecord): Promise<ChildRecord[]> {
  try {
    return await family.giveBack({ name, instance });
  } catch (error) {
    throw new ToolError(
      "execution_failed",
      `pod \`${name}\` has stopped, but its scope could not be given back: ` +
        `${messageOf(error)}; call StopPod again`,
    );
  }
}

/** Input of `ListPods`: nothing. */
export const listInputSchema = lazily(() => z.object({}).passthrough());

/** Shows every child with what it is doing. */
export function listPodsTool(context: SpawnContext, probeMs: number = PROBE_TIMEOUT_MS): Tool {
  return defineTool({
    name: "ListPods",
    description:
      "Lists all Pods you spawned: alive or stopped, what each is doing, and the paths it holds.",
    schema: listInputSchema,
    execute: async () => await list(context, probeMs),
  });
}

async function list(context: SpawnContext, probeMs: number): Promise<ToolOutput> {
  const { children, family } = context;
  try {
    await family.refresh();
  } catch (error) {
    log("warn", "pods are listed without asking the registry", error);
  }
  const records = children.list();
  if (records.length === 0) return { summary: "no spawned pods" };
  const lines = await Promise.all(
    records.map(async (record) => {
      const state = await stateOfPod(record, probeMs);
      const stopped = state === "stopped";
      // Shown as stopped once; one that ends while others are asked is shown the next time.
      if (stopped && record.phase === "ended") children.remove(record);
      const detail = stopped ? "stopped" : "alive";
      const line = `${record.name} [${detail}] scope=${describeRules(record.scope)}`;
      return stopped ? line : `${line} state=${state}`;
    }),
  );
  return { summary: `${records.length} pod(s) known`, content: lines.join("\n") };
}

type ShownState = "starting" | "idle" | "running" | "paused" | "stopped" | "unresponsive";

async function stateOfPod(record: ChildRecord, probeMs: number): Promise<ShownState> {
  if (hasEnded(record)) return "stopped";
  if (record.phase === "starting") return "starting";
  const status = await statusOf(record, probeMs);
  if (status !== undefined) return status.state;
  return hasEnded(record) ? "stopped" : "unresponsive";
}
