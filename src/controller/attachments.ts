/**
 * What an input brings along besides its text: the bodies of referenced files as system messages,
 * and warnings for references that cannot be resolved (spec protocol 2.1, 4.4).
 */
import type { Alert } from "../protocol/event.ts";
import { type Item, textMessage } from "../protocol/history.ts";
import type { Segment } from "../protocol/segment.ts";

/** Bytes of a referenced file that go to the model. */
export const MAX_ATTACHMENT_BYTES = 16_384;

/** Reads a file under the Pod's scope; throws with the reason in words. `path` is as typed. */
export type ReadReferenced = (path: string) => Promise<Uint8Array>;

/** How a warning reaches people. */
export type Warn = (level: Alert["level"], source: Alert["source"], message: string) => void;

/** The items that belong to an input, in the order of its references; never rejects. */
export async function attachmentsFor(
  segments: readonly Segment[],
  read: ReadReferenced,
  warn: Warn,
): Promise<Item[]> {
  const items: Item[] = [];
  for (const segment of segments) {
    if (segment.kind === "file_ref") {
      const text = await fileText(segment.path, read, warn);
      if (text !== undefined) items.push(textMessage("system", `[File: ${segment.path}]\n${text}`));
    }
  }
  for (const segment of segments) {
    const problem = unresolvable(segment);
    if (problem !== undefined) warn("warn", "pod", problem);
  }
  return items;
}

async function fileText(
  path: string,
  read: ReadReferenced,
  warn: Warn,
): Promise<string | undefined> {
  const failed = (reason: string): undefined => {
    warn("warn", "pod", `file ref @${path} could not be resolved: ${reason}`);
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

function unresolvable(segment: Segment): string | undefined {
  const tail = "(resolver not yet implemented); passed to LLM as placeholder";
  switch (segment.kind) {
    case "knowledge_ref":
      return `knowledge ref #${segment.slug} cannot be resolved ${tail}`;
    case "workflow_invoke":
      return `workflow /${segment.slug} cannot be resolved ${tail}`;
    case "unknown":
      return "received unknown segment kind from a newer client; passed to LLM as placeholder";
    default:
      return undefined;
  }
}
