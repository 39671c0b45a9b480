/**
 * What is wrong with a configuration, kept apart from how it is shown: a list of problems with their
 * places, and the error that carries them all (FIX 26). A message never quotes a value that could be
 * a secret.
 */
import { PodError } from "../base/errors.ts";

/** One thing wrong; parts of the place that are not known are absent. */
export interface Problem {
  /** File as the person named it; absent for an overlay, a child's manifest and merged values. */
  readonly file?: string;
  /** Counted from 1. */
  readonly line?: number;
  /** Counted from 1; known for syntax errors only. */
  readonly column?: number;
  /** Dotted path of the key (`scope.allow[1].target`). */
  readonly key?: string;
  /** What is wrong, with the suggestion if there is one. */
  readonly message: string;
  /** The source line with a mark below; syntax errors only. */
  readonly excerpt?: string;
}

/** `file:line:column: key: message`, without the parts that are absent; the excerpt follows indented. */
export function renderProblem(problem: Problem): string {
  const { file, line, column, key, message, excerpt } = problem;
  const position = line === undefined ? [] : [line, ...(column === undefined ? [] : [column])];
  const place = file === undefined ? position : [file, ...position];
  const where =
    file === undefined && place.length > 0 ? `line ${place.join(":")}` : place.join(":");
  const head = [where, key ?? "", message].filter((part) => part !== "").join(": ");
  return excerpt === undefined ? head : `${head}\n${excerpt.replace(/^/gm, "  ")}`;
}

/** Problems of one source under the text that says what could not be done. */
interface Fault {
  /** `failed to parse manifest /p/manifest.toml` and the like (spec manifest 2.4, 7.5). */
  readonly prefix?: string;
  /** At least one; the first is the one a person should mend first. */
  readonly problems: readonly Problem[];
}

const renderFault = ({ prefix, problems }: Fault): string =>
  joined(prefix, problems.map(renderProblem).join(";\n"));

const joined = (...parts: (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined).join(": ");

/**
 * `invalid_manifest` with everything that was found, the first problem first in the text and, with
 * `file`, `line` and `key` where known, in `data`.
 */
export class ManifestError extends PodError {
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[], cause?: unknown) {
    const first = faults[0]?.problems[0];
    const data = { file: first?.file, line: first?.line, key: first?.key };
    // The terminal folds line breaks to blanks; the semicolon keeps problems apart there too.
    super("invalid_manifest", faults.map(renderFault).join(";\n"), {
      cause,
      data: Object.fromEntries(
        Object.entries(data).flatMap(([k, v]) => (v === undefined ? [] : [[k, v]])),
      ),
    });
    this.name = "ManifestError";
    this.faults = faults;
  }

  /** All problems, in order. */
  get problems(): readonly Problem[] {
    return this.faults.flatMap((fault) => fault.problems);
  }

  /** The same problems, with `prefix` in front of what could not be done. */
  within(prefix: string): ManifestError {
    return new ManifestError(
      this.faults.map((fault) => ({ ...fault, prefix: joined(prefix, fault.prefix) })),
      this.cause,
    );
  }
}
