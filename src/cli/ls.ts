/** `pod ls`: the live Pods of this machine as a tree. */
import { EXIT, isPodError, messageOf } from "../base/errors.ts";
import type { Environment } from "../base/paths.ts";
import type { Allocations } from "../registry/kinship.ts";
import type { Registry } from "../registry/registry.ts";
import { describeRules } from "../scope/rule.ts";
import { noteConfinement } from "./confined.ts";
import type { Streams } from "./output.ts";
import { painterFor, type Style } from "./terminal.ts";
import { openRegistry, settledStatus, stateWord, treeOf, type TreeNode } from "./tree.ts";

const STATE_STYLE: Record<string, Style> = {
  running: "green",
  idle: "cyan",
  starting: "yellow",
  paused: "yellow",
  unresponsive: "red",
};

/** Prints the tree, or with `json` an array of objects in the same order. */
export async function listPods(
  options: { readonly json: boolean },
  env: Environment,
  { out, err }: Streams,
): Promise<number> {
  noteConfinement(env, err);
  const table = await tableOf(openRegistry(env), err);
  const nodes = treeOf(table);
  const rows = await Promise.all(
    nodes.map(async (node) => ({
      node,
      state: stateWord(node.entry, await settledStatus(node.entry)),
    })),
  );
  if (options.json) {
    const list = rows.map(({ node: { entry }, state }) => ({
      name: entry.pod_name,
      state,
      pid: entry.pid,
      parent: entry.delegated_from,
      socket: entry.socket,
      session: entry.session_id,
      instance: entry.instance,
      scope: { allow: entry.scope_allow, deny: entry.scope_deny },
    }));
    out.write(`${JSON.stringify(list, null, 2)}\n`);
    return EXIT.done;
  }
  if (rows.length === 0) {
    out.write("no live pods\n");
    return EXIT.done;
  }
  const paint = painterFor(out, env);
  const names = drawTree(nodes);
  const width = Math.max(4, ...names.map((name) => name.length));
  const lines = rows.map(({ node: { entry }, state }, index) => {
    const name = (names[index] ?? "").padEnd(width);
    const word = paint(STATE_STYLE[state] ?? "dim", state.padEnd(12));
    const pid = String(entry.pid).padEnd(8);
    return `${name}  ${word}  ${pid}  ${paint("dim", describeRules(entry.scope_allow))}`;
  });
  const header = `${"NAME".padEnd(width)}  ${"STATE".padEnd(12)}  ${"PID".padEnd(8)}  SCOPE`;
  out.write(`${paint("bold", header)}\n${lines.join("\n")}\n`);
  return EXIT.done;
}

/** The live Pods; when the registry cannot be written, what stands in it, the dead perhaps included. */
async function tableOf(registry: Registry, err: Streams["err"]): Promise<Allocations> {
  try {
    return (await registry.reclaim()).table;
  } catch (error) {
    const table = isPodError(error, "io", "registry_locked") ? registry.peek() : [];
    if (table.length === 0) throw error;
    err.write(`warning: ${messageOf(error)}; this is what stands there, perhaps with dead Pods\n`);
    return table;
  }
}

/** Names with the lines of the tree in front. */
export function drawTree(nodes: readonly TreeNode[]): string[] {
  const open: boolean[] = [];
  return nodes.map(({ entry, depth, last }) => {
    open[depth] = !last;
    if (depth === 0) return entry.pod_name;
    const stem = open
      .slice(1, depth)
      .map((more) => (more ? "│  " : "   "))
      .join("");
    return `${stem}${last ? "└─ " : "├─ "}${entry.pod_name}`;
  });
}
