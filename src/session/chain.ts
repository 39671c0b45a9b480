/**
 * The hash chain of a session log (spec worker-and-tools 5.2): every line carries the hash of its own
 * text and of its predecessor, so that a changed, missing or foreign line is found. Pure. Hashes are
 * taken over the text as it stands in the file, never over a re-serialisation.
 */
import type { Entry } from "./entry.ts";

/** Hash of a line: 64 lower-case hex digits. Undefined stands for "before the first line". */
export type Head = string | undefined;

const HASH = "[0-9a-f]{64}";
const PREFIX = new RegExp(`^\\{"hash":"(${HASH})","prev_hash":(?:null|"(${HASH})"),`);
/** Length of the longest prefix, in bytes. */
const MAX_PREFIX_BYTES = `{"hash":"","prev_hash":"",`.length + 128;
const NO_PREDECESSOR = new Uint8Array(32);

function hashOf(previous: Head, ...entryJson: readonly (string | Uint8Array)[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  hasher.update(previous === undefined ? NO_PREDECESSOR : Buffer.from(previous, "hex"));
  for (const part of entryJson) hasher.update(part);
  return hasher.digest("hex");
}

/** A line as it is appended, with its end, and the head that it makes. */
interface SealedLine {
  readonly line: string;
  readonly head: string;
}

/** JSON whose strings others can read: half a character becomes the replacement character. */
function wellFormedJson(entry: Entry): string {
  const json = JSON.stringify(entry);
  // Only a lone surrogate is written as an escape; looking at every value is five times as slow.
  if (!json.includes("\\ud")) return json;
  return JSON.stringify(entry, (_key, value: unknown) =>
    typeof value === "string" && !value.isWellFormed() ? value.toWellFormed() : value,
  );
}

/** Seals an entry behind `previous`. Strings are made well-formed: others could not be read back. */
export function sealEntry(entry: Entry, previous: Head): SealedLine {
  const json = wellFormedJson(entry);
  const head = hashOf(previous, json);
  const before = previous === undefined ? "null" : `"${previous}"`;
  return { line: `{"hash":"${head}","prev_hash":${before},${json.slice(1)}\n`, head };
}

/** A line that fits behind its predecessor, or what is wrong with it. */
type OpenedLine =
  | { readonly ok: true; readonly head: string; readonly json: string }
  | { readonly ok: false; readonly reason: string };

/** Checks one line (its bytes without the line end) against the head before it. */
export function openLine(line: Uint8Array, previous: Head): OpenedLine {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.byteLength);
  const match = PREFIX.exec(bytes.toString("latin1", 0, MAX_PREFIX_BYTES));
  const [prefix, head, before] = match ?? [];
  if (prefix === undefined || head === undefined) {
    return { ok: false, reason: "is not a line of a session log" };
  }
  const rest = bytes.subarray(prefix.length);
  if (hashOf(before, "{", rest) !== head)
    return { ok: false, reason: "its hash does not fit its text" };
  if (before !== previous) {
    return {
      ok: false,
      reason: "it does not follow the line before it (a line was removed or added)",
    };
  }
  return { ok: true, head, json: `{${rest.toString("utf8")}` };
}
