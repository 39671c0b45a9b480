/**
 * What an input brings along besides its text: the bodies of referenced files as system messages,
 * and warnings for references that cannot be resolved (spec protocol 2.1, 4.4).
 */
import type { Alert } from "../protocol/event.ts";
import { type Item, textMessage } from "../protocol/history.ts";
import type { Segment } from "../protocol/segment.ts";

/** Bytes of a referenced file that go to the model. */
export const MAX_ATTACHMENT_BYTES = 16_384;
/** Of all files of one input together; what is referenced after that stays a name. */
export const MAX_ATTACHED_BYTES = 1024 * 1024;
/** Warnings about one input; more are counted. */
export const MAX_WARNINGS = 8;

/** Reads a file under the Pod's scope; throws with the reason in words. `path` is as typed. */
type ReadReferenced = (path: string) => Promise<Uint8Array>;

/** How a warning reaches people. */
export type Warn = (level: Alert["level"], source: Alert["source"], message: string) => void;

/**
 * The items that belong to an input, in the order of its references, each file once; never rejects.
 * After an abort no further file is read.
 */
export async function attachmentsFor(
  segments: readonly Segment[],
  read: ReadReferenced,
  warn: Warn,
  signal?: AbortSignal,
): Promise<Item[]> {
  const items: Item[] = [];
  const problems: string[] = [];
  const paths = new Set<string>();
  let room = MAX_ATTACHED_BYTES;
  let left = 0;
  for (const segment of segments) {
    if (segment.kind !== "file_ref" || paths.has(segment.path)) continue;
    paths.add(segment.path);
    if (signal?.aborted === true || room <= 0) {
      left += 1;
      continue;
    }
    const text = await fileText(segment.path, read, (problem) => void problems.push(problem));
    if (text === undefined) continue;
    room -= Buffer.byteLength(text);
    items.push(textMessage("system", `[File: ${segment.path}]\n${text}`));
  }
  for (const segment of segments) problems.push(...unresolvable(segment));
  for (const problem of problems.slice(0, MAX_WARNINGS)) warn("warn", "pod", problem);
  const untold = problems.length - MAX_WARNINGS;
  if (untold > 0) warn("warn", "pod", `${untold} more references could not be resolved`);
  if (left > 0) {
    const why =
      signal?.aborted === true
        ? "the run was interrupted"
        : `an input brings at most ${MAX_ATTACHED_BYTES} bytes along`;
    warn("warn", "pod", `${left} referenced file(s) were not read: ${why}`);
  }
  return items;
}

async function fileText(
  path: string,
  read: ReadReferenced,
  tell: (problem: string) => void,
): Promise<string | undefined> {
  const failed = (reason: string): undefined => {
    tell(`file ref @${path} could not be resolved: ${reason}`);
    return undefined;
  };
  let bytes: Uint8Array;
  try {
    bytes = await read(path);
  } catch (error) {
    return failed(error instanceof Error ? error.message : String(error));
  }
  const cut = bytes.length > MAX_ATTACHMENT_BYTES;
  try {
    // `stream` drops a character that the cut has split (W34).
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const text = decoder.decode(bytes.subarray(0, MAX_ATTACHMENT_BYTES), { stream: cut });
    return cut
      ? `${text}\n[...truncated, ${bytes.length} bytes total — use Read for the rest]`
      : text;
  } catch {
    return failed(`file is not valid UTF-8 text: ${path}`);
  }
}

/** What is wrong with a reference that has no resolver; empty for everything else. */
function unresolvable(segment: Segment): string[] {
  const tail = "(resolver not yet implemented); passed to LLM as placeholder";
  switch (segment.kind) {
    case "knowledge_ref":
      return [`knowledge ref #${segment.slug} cannot be resolved ${tail}`];
    case "workflow_invoke":
      return [`workflow /${segment.slug} cannot be resolved ${tail}`];
    case "unknown":
      return ["received unknown segment kind from a newer client; passed to LLM as placeholder"];
    default:
      return [];
  }
}
