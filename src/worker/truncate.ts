/**
 * Cuts a tool's output to a size that a conversation can carry, keeping its head or its tail as the
 * tool wants it. Sizes are UTF-8 bytes (spec worker-and-tools 1.8). Pure.
 */

/** Length of the marker with a number of 20 digits: room kept free below the limit (1.8). */
const MARKER_RESERVE_BYTES = 68;

/** Cut text with its sizes in bytes. */
interface Truncation {
  readonly text: string;
  readonly before: number;
  readonly after: number;
}

/**
 * `text` cut to `limit` bytes at a character boundary, with a marker that says how much is gone, at
 * the end or, when the tail is kept, at the start; undefined when it fits. Below 68 bytes the marker
 * alone remains, which may exceed the limit.
 */
export function truncateOutput(
  text: string,
  limit: number,
  keep: "head" | "tail" = "head",
): Truncation | undefined {
  // Three bytes is the most that one UTF-16 unit takes: most output is known to fit without encoding.
  if (text.length * 3 <= limit) return undefined;
  const bytes = Buffer.from(text, "utf8");
  const before = bytes.length;
  if (before <= limit) return undefined;
  const room = Math.max(0, limit - MARKER_RESERVE_BYTES);
  if (keep === "tail") {
    let start = before - room;
    while (start < before && isContinuation(bytes[start])) start += 1;
    const marker = `[truncated: ${start} bytes dropped before this]\n\n`;
    return {
      text: marker + bytes.toString("utf8", start),
      before,
      after: before - start + Buffer.byteLength(marker),
    };
  }
  let kept = room;
  while (kept > 0 && isContinuation(bytes[kept])) kept -= 1;
  const marker = `\n\n[truncated: ${before - kept} bytes dropped, refine your query]`;
  return {
    text: bytes.toString("utf8", 0, kept) + marker,
    before,
    after: kept + Buffer.byteLength(marker),
  };
}

/** True for the second and later bytes of a UTF-8 character (RFC 3629). */
function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Sizes that tool output may have; `perTool` wins over the default. */
export interface OutputLimits {
  readonly defaultMaxBytes: number;
  readonly perTool: Readonly<Record<string, number>>;
}

/** The limit for one tool, in bytes. */
export function outputLimit(limits: OutputLimits, toolName: string): number {
  const own = Object.hasOwn(limits.perTool, toolName) ? limits.perTool[toolName] : undefined;
  return own ?? limits.defaultMaxBytes;
}

/** The warning that clients get about a cut (1.8). */
export function truncationAlert(toolName: string, cut: Truncation, limit: number): string {
  return `tool \`${toolName}\` output truncated from ${cut.before} to ${cut.after} bytes (limit ${limit})`;
}
