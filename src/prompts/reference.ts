/**
 * Names of prompt assets: `$prefix/path`, or a bare path inside another asset (spec manifest 6.1,
 * 6.2). Pure; whether the asset exists is the library's business.
 */
import { PodError } from "../base/errors.ts";

/** The three libraries. */
type PromptPrefix = "insomnia" | "user" | "workspace";

/** A checked name; `path` has no `.md`, no empty and no `.` or `..` parts. */
export interface PromptReference {
  readonly prefix: PromptPrefix;
  readonly path: string;
}

const PREFIXES: readonly PromptPrefix[] = ["insomnia", "user", "workspace"];

/** `$prefix/path`, as messages name an asset. */
export function qualifiedName(reference: PromptReference): string {
  return `$${reference.prefix}/${reference.path}`;
}

/**
 * Parses a name. A bare one is looked up beside `from`, the asset that contains it; without `from`
 * it is an error. Throws `invalid_argument` with the texts of spec manifest 6.1.
 */
export function parseReference(raw: string, from?: PromptReference): PromptReference {
  const invalid = (reason: string): PodError =>
    new PodError("invalid_argument", `invalid prompt reference '${raw}': ${reason}`);
  const name = raw.trim();
  if (name === "") throw invalid("reference must not be empty");
  const slash = name.indexOf("/");
  const isQualified = name.startsWith("$");
  if (isQualified && slash < 0) throw invalid("prefix must be followed by '/'");
  const parts = (isQualified ? name.slice(slash + 1) : name).split("/").filter((p) => p !== "");
  if (parts.length === 0) throw invalid("path component must not be empty");
  if (parts.some((part) => part === "." || part === "..")) {
    throw invalid("path must not contain '.' or '..' segments");
  }
  if (!isQualified) {
    if (from === undefined) throw unqualified(raw);
    const directory = from.path.split("/").slice(0, -1);
    return { prefix: from.prefix, path: [...directory, ...parts].join("/") };
  }
  const wanted = name.slice(1, slash);
  const prefix = PREFIXES.find((known) => known === wanted);
  if (prefix === undefined) {
    throw new PodError(
      "invalid_argument",
      `unknown prompt prefix '$${wanted}' in reference '${raw}'`,
    );
  }
  return { prefix, path: parts.join("/") };
}

function unqualified(raw: string): PodError {
  return new PodError(
    "invalid_argument",
    `unqualified prompt reference '${raw}' requires a current prefix ` +
      "(include it from inside another template, or use an explicit $prefix/path form)",
  );
}
