/**
 * What a session records of the Pod that writes it, as `extension` entries in domains of ours: enough
 * to start the Pod again in another process after any crash, and who belonged to whom. No secret is
 * in it: a manifest names where a key is found and never holds one.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { itemSchema } from "../protocol/history.ts";
import { podEventSchema } from "../protocol/method.ts";
import { scopeRuleSchema } from "../scope/rule.ts";
import type { Entry } from "./entry.ts";

/** Domains of our extension entries. */
export const DOMAIN = {
  /** How the Pod is set up; written at its first entry and each time it is brought back. */
  setup: "pod.setup",
  /** The Pod has ended in order. */
  closed: "pod.closed",
  /** A child of the Pod was started and given its task. */
  childStarted: "pod.child_started",
  /** A child of the Pod has ended, as far as this Pod knows. */
  childEnded: "pod.child_ended",
  /** The key of the run whose input stands before it. */
  runKey: "pod.run_key",
  /** What the parent is to hear of the end of the run that stands behind it. */
  report: "pod.report",
  /** The result of a call whose batch is still at work. */
  result: "pod.result",
  /** Ends what a session took over from the one before it, where that did not fit in its start. */
  carried: "pod.carried",
} as const;

/** What `run_errored` says of a run that the end of its process cut off. */
export const CUT_OFF = "the Pod was stopped during this run";

/** Payload of `pod.setup`. */
export const setupSchema = lazily(() =>
  z.object({
    name: z.string(),
    instance: z.string(),
    /** Version of the program that wrote it. */
    program: z.string(),
    /** First session of this Pod; the same through compactions and forks of its log. */
    lineage: z.string(),
    cwd: z.string(),
    /** The resolved manifest as JSON; the manifest layer checks it. */
    manifest: z.unknown(),
    prompts: z.object({
      user: z.string().optional(),
      workspace: z.string().optional(),
      packs: z.array(z.string()).optional(),
    }),
    /** First line of the first thing it was told, for lists. */
    title: z.string().default(""),
    /** What it was given when it last started; a child's is exactly its reservation. */
    scope: z.object({ allow: z.array(scopeRuleSchema()), deny: z.array(scopeRuleSchema()) }),
    /** The Pod that spawned it; null for one that a person started. */
    parent: z.object({ name: z.string(), lineage: z.string() }).nullable(),
  }),
);
export type Setup = z.infer<ReturnType<typeof setupSchema>>;

/** True for an entry that says how the Pod is set up. */
export function isSetup(entry: Entry | undefined): boolean {
  return entry?.kind === "extension" && entry.domain === DOMAIN.setup;
}

/** Payload of `pod.closed`. */
export const closedSchema = lazily(() =>
  z.object({ reason: z.enum(["client request", "signal"]) }),
);
export type Closing = z.infer<ReturnType<typeof closedSchema>>["reason"];

/** Payload of `pod.child_started`. */
export const childStartedSchema = lazily(() =>
  z.object({
    name: z.string(),
    instance: z.string(),
    scope: z.array(scopeRuleSchema()),
    /** The beginning of its task. */
    task: z.string(),
    /** In milliseconds since the epoch. */
    at: z.number(),
  }),
);
export type ChildStart = z.infer<ReturnType<typeof childStartedSchema>>;

/** True when `end` is the end of that child, or of a later run of it. */
export function endsStart(end: ChildEnd, start: ChildStart): boolean {
  return end.instance === start.instance || (end.name === start.name && end.at >= start.at);
}

/** Payload of `pod.run_key`: under what the key is remembered. */
export const runKeySchema = lazily(() => z.object({ mark: z.string() }));

/** Payload of `pod.report`: the report under the id that it keeps, whoever sends it and however often. */
export const endReportSchema = lazily(() => z.object({ id: z.string(), event: podEventSchema() }));
export type EndReport = z.infer<ReturnType<typeof endReportSchema>>;

/** Keys of runs that a log is asked for. */
export const MAX_RUN_KEYS = 1024;

/** Starts and ends of children that are remembered, of each. */
export const MAX_CHILD_ENDS = 1000;

/** Payload of `pod.child_ended`; `stopped` was asked for by the Pod itself. */
export const childEndedSchema = lazily(() =>
  z.object({
    name: z.string(),
    instance: z.string(),
    end: z.enum(["stopped", "ended", "died"]),
    /** When the Pod learnt of it, in milliseconds since the epoch. */
    at: z.number(),
  }),
);
export type ChildEnd = z.infer<ReturnType<typeof childEndedSchema>>;

/** Payload of `pod.result`: the item that will stand in `tool_results`. */
export const earlyResultSchema = lazily(() => z.object({ item: itemSchema() }));
