/**
 * The project's `AGENTS.md`: exactly the one in the Pod's working directory, at most 64 KiB of it, as
 * untrusted text. It is read only where the scope permits: a link must not carry another file into
 * the prompt (spec manifest 6.4, FIX 23).
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { errnoCode, messageOf } from "../base/errors.ts";
import { canonicalPath } from "../scope/rule.ts";
import { accessTo, type Scope } from "../scope/set.ts";

/** Bytes of the file that reach the prompt. */
export const MAX_AGENTS_MD_BYTES = 64 * 1024;

/** The text for the prompt, a warning for the person (alert of source `agents_md`), or neither. */
interface AgentsMd {
  readonly text?: string;
  readonly warning?: string;
}

/** Reads `<cwd>/AGENTS.md`. Never throws; what is unusable is left out and explained in `warning`. */
export function readAgentsMd(cwd: string, scope: Scope): AgentsMd {
  const path = join(cwd, "AGENTS.md");
  const failed = (reason: string): AgentsMd => ({
    warning: `failed to read AGENTS.md (${path}): ${reason}`,
  });
  if (!existsSync(path)) return {};
  const real = canonicalPath(path);
  if (!real.ok) return failed(real.reason);
  if (accessTo(scope, real.path) === "none") return failed("outside the readable scope");
  let file: Content | undefined;
  try {
    file = readStart(real.path);
  } catch (error) {
    return errnoCode(error) === "ENOENT" ? {} : failed(messageOf(error));
  }
  if (file === undefined) return failed("not a regular file");
  try {
    // `stream`: a character cut in half at the limit is dropped instead of being an error.
    const isCut = file.size > file.bytes.length;
    const text = new TextDecoder("utf-8", { fatal: true }).decode(file.bytes, { stream: isCut });
    return { text: isCut ? `${text}\n\n${cutNotice(path, file)}` : text };
  } catch (error) {
    return { warning: `AGENTS.md (${path}) is not valid UTF-8: ${messageOf(error)}` };
  }
}

const cutNotice = (path: string, { bytes, size }: Content): string =>
  `[AGENTS.md truncated: the first ${bytes.length} of ${size} bytes are shown; ` +
  `the rest is in ${path}]`;

interface Content {
  readonly bytes: Uint8Array;
  readonly size: number;
}

/** The first bytes of a regular file; undefined for anything else. */
function readStart(path: string): Content | undefined {
  // Without O_NONBLOCK a named pipe would block for ever.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = fstatSync(fd);
    if (!info.isFile()) return undefined;
    const bytes = new Uint8Array(Math.min(info.size, MAX_AGENTS_MD_BYTES));
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(fd, bytes, length, bytes.length - length, null);
      if (read === 0) break;
      length += read;
    }
    return { bytes: bytes.subarray(0, length), size: info.size };
  } finally {
    closeSync(fd);
  }
}
