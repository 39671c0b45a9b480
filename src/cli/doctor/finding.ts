/**
 * What `pod doctor` says: one finding for each check, made by a function from facts to findings that
 * touches nothing. What could be mended safely is written down as data and done elsewhere.
 */

/** How a check came out. `fixed` is only said of what `--fix` has just done. */
export type Status = "ok" | "warning" | "problem" | "fixed";

/** A repair that is safe beside live Pods and beside another doctor; see `mend.ts` for how. */
export type Mend =
  | { readonly kind: "make-directory"; readonly path: string }
  /** `follow`: only for a base directory, which may be reached through a link. */
  | {
      readonly kind: "chmod";
      readonly path: string;
      readonly mode: number;
      readonly follow: boolean;
    }
  /** Reclaims the dead, brings back live Pods that were lost, rebuilds a bad table. */
  | { readonly kind: "registry"; readonly base: string }
  /** A temporary of the registry that a dead writer left. */
  | { readonly kind: "remove-temporary"; readonly base: string; readonly name: string }
  /** Directories on their way out, and files by which a doctor tried the locks. */
  | { readonly kind: "sweep"; readonly base: string }
  /** Temporary files of Pods that were killed. */
  | { readonly kind: "remove-rooms"; readonly base: string }
  /** A Pod directory without anything in it. */
  | { readonly kind: "remove-empty"; readonly path: string };

/** One line of the report. */
export interface Finding {
  /** Stable kebab-case name of the check. */
  readonly check: string;
  readonly status: Status;
  /** What was found, one sentence without a full stop. */
  readonly finding: string;
  /** What to do, with a command where there is one. */
  readonly advice?: string;
  readonly mends?: readonly Mend[];
}

/** All is well. */
export function ok(check: string, finding: string, mends: readonly Mend[] = []): Finding {
  return { check, status: "ok", finding, mends };
}

/** Worth knowing; the exit code stays 0. */
export function warning(
  check: string,
  finding: string,
  advice: string,
  mends: readonly Mend[] = [],
): Finding {
  return { check, status: "warning", finding, advice, mends };
}

/** Something does not work, or a promise is in danger. */
export function problem(
  check: string,
  finding: string,
  advice: string,
  mends: readonly Mend[] = [],
): Finding {
  return { check, status: "problem", finding, advice, mends };
}

/** Names for a sentence: at most `limit` of them, and how many more there are. */
export function listed(names: readonly string[], limit = 8): string {
  const shown = names.slice(0, limit).join(", ");
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}

/** A word as one argument of a shell command that can be pasted. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
