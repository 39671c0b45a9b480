/**
 * The refusals and failures of the file tools, word for word (spec worker-and-tools 3.2). `path` is
 * always the path as the model gave it, so that it recognises its own call.
 */
import { errnoCode, isPodError, messageOf } from "../base/errors.ts";
import { printable } from "../base/text.ts";
import { ToolError } from "./tool.ts";

/** Characters that are repeated of a path which is longer than a path can be. */
const MAX_SHOWN_PATH = 256;

/** The file or a directory above it was exchanged between check and open; nothing was read or written. */
export class MovedError extends ToolError {
  constructor(path: string) {
    super("execution_failed", `path changed while it was being opened: ${path}`);
    this.name = "MovedError";
  }
}

const invalid = (message: string): ToolError => new ToolError("invalid_argument", message);
const failed = (message: string): ToolError => new ToolError("execution_failed", message);

/** One function for each failure; each takes the path as given. */
export const fileError = {
  notAbsolute: (path: string) => invalid(`path must be absolute: ${path}`),
  unusable: (path: string, reason: string) =>
    invalid(`${reason}, which is not accepted: ${printable(path, MAX_SHOWN_PATH)}`),
  outside: (path: string) => invalid(`path is outside allowed scope: ${path}`),
  readOnly: (path: string) => invalid(`path is read-only in this scope: ${path}`),
  directory: (path: string) => invalid(`path is a directory: ${path}`),
  directoryName: (path: string) =>
    invalid(`path ends like that of a directory, not of a file: ${path}`),
  special: (path: string, kind: string) =>
    invalid(`path is a ${kind}, not a regular file: ${path}`),
  binary: (path: string, what: string, bytes: number) =>
    invalid(`file is not text (${what}, ${bytes} bytes): ${path}; Read shows text only`),
  // Not written through, because what it names may lie outside the scope; nor replaced, as the older
  // system did, because whoever made the link would find a file in its place.
  brokenLink: (path: string) =>
    invalid(
      `path is a symbolic link to something that does not exist: ${path}; ` +
        "write to the place it points to, or remove the link first",
    ),
  missing: (path: string) => failed(`file not found: ${path}`),
  notRead: (path: string) =>
    invalid(`file has not been read in this session; read it first: ${path}`),
  changed: (path: string) => invalid(`file was modified externally after last read: ${path}`),
  appeared: (path: string) =>
    invalid(`file was created by someone else in the meantime; read it first: ${path}`),
  tooLarge: (path: string, bytes: number, limit: number) =>
    failed(
      `file is too large: ${path} has ${bytes} bytes, the limit is ${limit}; ` +
        "find the part you need with Grep",
    ),
  resultTooLarge: (path: string, bytes: number, limit: number) =>
    invalid(`file would become too large: ${path} with ${bytes} bytes, the limit is ${limit}`),
} as const;

/** Refuses a text that would not be in a file as it was sent: UTF-8 has no halves of surrogate pairs. */
export function assertStorable(field: string, text: string): void {
  if (text.isWellFormed()) return;
  throw invalid(
    `${field} has half of a surrogate pair, which no file can hold; send the whole character`,
  );
}

/**
 * Any other operating-system failure, as `I/O error at {path}: Not a directory (os error 20)`. What
 * is already meant for the model, and a cancel, pass unchanged.
 */
export function ioFailure(path: string, cause: unknown): Error {
  if (cause instanceof ToolError || isPodError(cause)) return cause;
  if (errnoCode(cause) === "ENOENT") return fileError.missing(path);
  return failed(`I/O error at ${path}: ${osText(cause)}`);
}

/** Texts of strerror(3) that the runtime does not have, or has in words of its own. */
const OS_TEXTS: Readonly<Record<string, string>> = {
  EDQUOT: "Disk quota exceeded",
  EIO: "Input/output error",
};

function osText(cause: unknown): string {
  const known = OS_TEXTS[errnoCode(cause) ?? ""];
  // `ENOTDIR: not a directory, open '/x'` without its code, call and (maybe internal) path.
  const text = messageOf(cause)
    .replace(/^E[A-Z0-9]+: /, "")
    .replace(/, [a-z]+(?: '.*)?$/, "");
  const sentence = known ?? text.charAt(0).toUpperCase() + text.slice(1);
  const number =
    typeof cause === "object" && cause !== null && "errno" in cause ? cause.errno : undefined;
  return typeof number === "number" ? `${sentence} (os error ${Math.abs(number)})` : sentence;
}
