/** Pods that are killed and brought back by the command line: what the tests of that share. */
import { expect } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { itemSchema, messageText, type Item } from "../../src/protocol/history.ts";
import type { ScopeRule } from "../../src/scope/rule.ts";
import { request } from "../../src/transport/client.ts";
import { podBinary } from "../support/binary.ts";
import { eventually, type World } from "../support/pod.ts";
import { DEADLINE_MS, type ScenarioRule } from "../support/root-pod.ts";

/** The compiled program. */
export const command = [podBinary()];

const spawn = (name: string, task: string, target: string) => ({
  tool: "SpawnPod",
  input: { name, task, scope: [{ target, permission: "write" }] },
});

/** A row of `pod sessions --json`. */
export interface Row {
  readonly session: string;
  readonly name: string;
  readonly state: string;
  readonly directory: string;
  readonly first_line: string;
  readonly parent: string | null;
  readonly path: string;
}

/** What `pod sessions` lists. */
export async function sessions(world: World): Promise<Row[]> {
  const { stdout, code, stderr } = await world.cli("sessions", "--json");
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Row[];
}

/** The conversation of a live Pod. */
export async function conversation(world: World, name: string): Promise<Item[]> {
  const socket = world.allocation(name)?.socket ?? "";
  const answer = await request(
    socket,
    { method: "get_history" },
    { timeoutMs: DEADLINE_MS, until: ({ event }) => event === "history" },
  );
  if (answer.event !== "history") throw new Error("no history");
  return answer.data.items.map((item) => itemSchema().parse(item));
}

/** Text of a message; empty for other items. */
export const textOf = (item: Item): string => (item.type === "message" ? messageText(item) : "");

/** Sends a task to a live Pod and waits until it is idle again. */
export async function runToEnd(world: World, name: string, text: string): Promise<void> {
  const socket = world.allocation(name)?.socket ?? "";
  const before = await runs(socket);
  await request(
    socket,
    { method: "run", params: { input: [{ kind: "text", content: text }] } },
    { timeoutMs: DEADLINE_MS },
  );
  await eventually(
    async () => (await runs(socket)) > before && (await isAtRest(socket)),
    "the end of a run",
  );
}

/** What a Pod says of itself. */
export async function status(socket: string) {
  const answer = await request(
    socket,
    { method: "status" },
    { timeoutMs: DEADLINE_MS, until: ({ event }) => event === "status" },
  );
  if (answer.event !== "status") throw new Error("no status");
  return answer.data;
}
const runs = async (socket: string): Promise<number> => (await status(socket)).runs;
const isAtRest = async (socket: string): Promise<boolean> =>
  (await status(socket)).state !== "running";

/** Root, a child and its child; the last one writes a file. */
function treeRules(work: string): ScenarioRule[] {
  const target = join(work, "a/b/out.txt");
  return [
    { pod: "root", match: "^go$", calls: [spawn("mid", "build", join(work, "a"))] },
    { pod: "mid", match: "^build$", calls: [spawn("leaf", "dig", join(work, "a/b"))] },
    {
      pod: "leaf",
      match: "^dig$",
      calls: [{ tool: "Write", input: { file_path: target, content: "1" } }],
    },
    { pod: "leaf", match: "^more$", calls: [{ tool: "Read", input: { file_path: target } }] },
    {
      match: "^write$",
      calls: [{ tool: "Write", input: { file_path: join(work, "a/by-root"), content: "1" } }],
    },
    { match: "^drop (\\S+)$", calls: [{ tool: "StopPod", input: { name: "$1" } }] },
    { match: "^list$", calls: [{ tool: "ListPods", input: {} }] },
    { text: "ok" },
  ];
}

/** Starts the tree, the root without what `deny` says, and waits until everything in it is at rest. */
export async function startTree(world: World, deny: readonly ScopeRule[] = []) {
  mkdirSync(join(world.work, "a/b"), { recursive: true });
  const allow = [{ target: world.work, permission: "write", recursive: true }] as const;
  const root = await world.start({
    command,
    rules: treeRules(world.work),
    scope: { allow, deny },
  });
  await root.run("go");
  await eventually(async () => {
    const sockets = ["root", "mid", "leaf"].map((name) => world.allocation(name)?.socket);
    if (sockets.includes(undefined) || !existsSync(join(world.work, "a/b/out.txt"))) return false;
    const states = await Promise.all(sockets.map(async (socket) => await status(socket ?? "")));
    return states.every(({ state, pending }) => state === "idle" && pending === 0);
  }, "the tree at rest");
  return root;
}

/** SIGKILL for every Pod at once. */
export async function killAll(world: World): Promise<void> {
  for (const pid of world.processes()) process.kill(pid, "SIGKILL");
  await eventually(() => world.processes().length === 0, "the end of every process");
}
