/**
 * The one error type of the project. Code elsewhere throws `PodError` for "cannot continue",
 * matches on `code` and never on text, and renders it with the functions here.
 */
import { harmless } from "./text.ts";

/** Every failure the project can name. The list is closed: a new kind of failure is added here first. */
export type ErrorKind =
  | "invalid_argument" // a value given by a person, a model or a client is wrong
  | "invalid_manifest" // configuration cannot be used
  | "usage" // the command line cannot be understood
  | "unsupported" // asked for something that this build does not do
  | "io" // the operating system said no
  | "insecure_directory" // a base directory is not ours or not private
  | "path_too_long" // a socket path does not fit the kernel's limit
  | "timed_out" // a bounded wait ended
  | "cancelled" // the caller withdrew the request
  | "registry_corrupt" // pods.json and its backup cannot be used
  | "registry_foreign" // pods.json belongs to live Pods of another implementation
  | "registry_locked" // another process kept the registry lock too long
  | "duplicate_name" // a live Pod has this name
  | "write_conflict" // another live Pod may write there
  | "not_subset" // the request exceeds the spawner's effective scope
  | "denied" // the request is inside the scope but removed by a deny rule
  | "unknown_pod" // no allocation of this name
  | "session_conflict" // another live Pod writes this session
  | "unknown_session" // no session log of this id, or one without entries
  | "session_corrupt" // a session log is damaged and is not used as it is
  | "session_store" // a session log cannot be written: nothing may happen unrecorded
  | "not_reservation" // adoption of something that was not reserved for us
  | "limit_reached" // depth, children or size limit
  | "spawn_failed" // a child did not come up
  | "unreachable" // a socket does not answer
  | "internal"; // a broken promise of our own code

/** Details a handler may act on; shapes depend on the kind and are documented where they are thrown. */
type ErrorData = Readonly<Record<string, string | number | boolean | null>>;

/** A failure with a stable `code`, a message made for people, and optional data for handlers. */
export class PodError extends Error {
  readonly code: ErrorKind;
  readonly data: ErrorData;

  constructor(
    code: ErrorKind,
    message: string,
    options: { cause?: unknown; data?: ErrorData } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "PodError";
    this.code = code;
    this.data = options.data ?? {};
  }
}

/** True when `error` is a `PodError` of one of the given kinds (of any kind when none is given). */
export function isPodError(error: unknown, ...kinds: ErrorKind[]): error is PodError {
  return error instanceof PodError && (kinds.length === 0 || kinds.includes(error.code));
}

/**
 * The operating system's short name of a failed call (`ENOENT`, `EACCES`, …), or undefined. Errors of ours
 * have kinds of their own, which are no such names.
 */
export function errnoCode(error: unknown): string | undefined {
  if (error instanceof PodError) return undefined;
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** One line of text for any thrown value: the message without a stack, line breaks folded to blanks. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, " ").trim() || "unknown error";
}

/** What to do about a failure of the operating system, by its short name; others speak for themselves. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: "free some space or files on that disk and try again",
  EDQUOT: "your quota is used up: remove something and try again",
  EROFS: "the file system is read-only: remount it, or use a directory on another one",
  EACCES: "check owner and mode with ls -ld (pod doctor --fix mends what is ours)",
  EPERM: "check owner and mode with ls -ld (pod doctor --fix mends what is ours)",
  ELOOP: "it is a symbolic link where a file must be: remove the link",
  EISDIR: "a directory is where a file must be: move it away",
  ENOTDIR: "a file is where a directory must be: move it away",
};

/** `; …` with what to do about `error`, to end a message with; empty when there is no telling. */
export function remedyOf(error: unknown): string {
  const remedy = REMEDIES[errnoCode(error) ?? ""];
  return remedy === undefined ? "" : `; ${remedy}`;
}

/** Wraps an operating-system failure so that it says what was being done, to which path, and what helps. */
export function ioError(action: string, cause: unknown): PodError {
  const errno = errnoCode(cause);
  return new PodError("io", `${action}: ${messageOf(cause)}${remedyOf(cause)}`, {
    cause,
    ...(errno === undefined ? {} : { data: { errno } }),
  });
}

/**
 * What a person sees on the terminal: `error: …`, never a stack trace. One line, except for faults of
 * configuration, of which there may be many, each on its own. What it quotes is made harmless.
 */
export function renderForTerminal(error: unknown): string {
  const text = isPodError(error, "invalid_manifest") ? error.message : messageOf(error);
  return `error: ${harmless(text)}`;
}

/** Exit codes of the program (design, section 5). */
export const EXIT = { done: 0, failed: 1, usage: 2, noSuchPod: 3, timedOut: 4 } as const;

/** The exit code that belongs to an error. */
export function exitCodeOf(error: unknown): number {
  if (isPodError(error, "usage")) return EXIT.usage;
  if (isPodError(error, "unknown_pod", "unknown_session")) return EXIT.noSuchPod;
  if (isPodError(error, "timed_out")) return EXIT.timedOut;
  return EXIT.failed;
}
