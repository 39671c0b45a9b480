/**
 * What is shown of a happening: the Pod's own words and results, with the workspace's path left out
 * and, for a refusal, who holds the place according to the registry. Pure.
 */
import { conflictOwner } from "../../registry/conflict.ts";
import { findByName, type Allocations } from "../../registry/kinship.ts";
import type { Style } from "../terminal.ts";
import type { Happening, ToolResult } from "./story.ts";

/** Words for one line, and their colour. */
interface Words {
  readonly text: string;
  readonly style?: Style;
}

/** What words are made with: the workspace and the registry as it is now. */
interface Surroundings {
  readonly site: string;
  readonly table: Allocations;
}

/** A path or a text with paths, as seen from the workspace. */
function fromSite(text: string, site: string): string {
  return text.replaceAll(`${site}/`, "").replaceAll(site, "the workspace");
}

/** The words for a happening; undefined for what would only distract. */
export function wordsFor(happening: Happening, around: Surroundings): Words | undefined {
  switch (happening.kind) {
    case "task":
      return { text: `task: ${fromSite(happening.text, around.site)}`, style: "bold" };
    case "said":
      return { text: `says: ${fromSite(happening.text, around.site)}`, style: "dim" };
    case "told": {
      const text = `told: ${fromSite(happening.text, around.site)}`;
      return / died /.test(text) ? { text, style: "yellow" } : { text };
    }
    case "trouble":
      return { text: `trouble: ${fromSite(happening.text, around.site)}`, style: "red" };
    case "ended":
      if (happening.outcome !== "finished") return { text: `turn ended: ${happening.outcome}` };
      // A root's own turns end whenever it waits; that is not what people look for.
      return isRoot(around.table, happening.pod) ? undefined : { text: "finished a turn" };
    case "result":
      return happening.isError
        ? { text: refusal(happening, around), style: "red" }
        : { text: success(happening, around) };
  }
}

function isRoot(table: Allocations, pod: string): boolean {
  return findByName(table, pod)?.delegated_from === null;
}

function success(result: ToolResult & Happening, { site, table }: Surroundings): string {
  const { tool, input, summary, content } = result;
  if (tool === "SpawnPod") {
    const entry = findByName(table, String(input.name));
    const paths = entry?.scope_allow.map((rule) => `${fromSite(rule.target, site)}/`).join(", ");
    const took = result.tookMs === undefined ? "" : ` in ${Math.round(result.tookMs)} ms`;
    return `spawned ${String(input.name)} for ${paths ?? "?"}${took} (pid ${entry?.pid ?? "?"})`;
  }
  if (tool === "ListPods") return `sees ${(content ?? "").split("\n").map(listed).join(", ")}`;
  const written = writtenFile(result, site);
  if (written !== undefined) return `wrote ${written.path} (${written.bytes} bytes)`;
  const text = fromSite(summary, site);
  if (tool === "ReadPodOutput") return readReport(String(input.name), text);
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** `pod \`writer\`: 2 new line(s) of assistant text (idle)` in fewer words. */
function readReport(name: string, summary: string): string {
  const lines = / (\d+) new line/.exec(summary)?.[1];
  return lines === undefined ? summary : `reads the report of ${name} (${lines} line(s))`;
}

/** A line of ListPods, `name [alive] scope=… state=idle`, in two words. */
function listed(line: string): string {
  const { name, life, state } =
    /^(?<name>\S+) \[(?<life>\w+)\].*?(?: state=(?<state>\w+))?$/.exec(line)?.groups ?? {};
  return name === undefined ? line : `${name} ${state ?? life ?? ""}`;
}

/** The file that a successful Write made, relative to the workspace, and its size as the tool said it. */
export function writtenFile(
  { tool, isError, summary }: ToolResult,
  site: string,
): { readonly path: string; readonly bytes: number } | undefined {
  if (tool !== "Write" || isError) return undefined;
  const [, path, bytes] = /^(?:Created|Overwrote) (.+) \((\d+) bytes\)$/.exec(summary) ?? [];
  return path === undefined ? undefined : { path: fromSite(path, site), bytes: Number(bytes) };
}

/** The refusal in the tool's words, and who holds the file that a Write was refused. */
function refusal(result: ToolResult & Happening, around: Surroundings): string {
  const reason = result.summary.replace(/^Tool execution failed: (?:Invalid argument: )?/, "");
  const holder = holderOf(result, around.table);
  const held = holder === undefined ? "" : ` (held by ${holder})`;
  const what = result.tool === "SpawnPod" ? `spawn of ${String(result.input.name)} ` : "";
  return `${what}refused: ${fromSite(reason, around.site)}${held}`;
}

/** The Pod that may write where this Write was refused, if it is another one. */
export function holderOf(
  { pod, tool, input }: ToolResult & Happening,
  table: Allocations,
): string | undefined {
  if (tool !== "Write" || typeof input.file_path !== "string") return undefined;
  const wanted = { target: input.file_path, permission: "write", recursive: false } as const;
  return conflictOwner(table, wanted, [pod])?.entry.pod_name;
}
