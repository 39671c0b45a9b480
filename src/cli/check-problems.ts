/**
 * What `pod check` found: errors of all kinds as problems, each with the file and line of the key that
 * is to blame. Pure.
 */
import { isPodError, messageOf } from "../base/errors.ts";
import type { LoadedManifest } from "../manifest/load.ts";
import { type Origin, originsOf } from "../manifest/origins.ts";
import { ManifestError, type Problem } from "../manifest/problem.ts";

/** One thing found; `error` means that a Pod would not start. */
export interface Diagnostic extends Problem {
  readonly level: "error" | "warning";
  readonly code: string;
}

/** What an error says, as problems with `key` where it names none; `""` when no key is to blame. */
export function diagnosticsOf(error: unknown, key: string): Diagnostic[] {
  const code = isPodError(error) ? error.code : "internal";
  const keyed = key === "" ? {} : { key };
  if (error instanceof ManifestError) {
    return error.faults.flatMap(({ prefix, problems }) =>
      problems.map((problem): Diagnostic => {
        // A file's own problems have their place; others need to say what could not be done.
        const message =
          problem.file === undefined && prefix !== undefined
            ? `${prefix}: ${problem.message}`
            : problem.message;
        return {
          level: "error",
          code,
          ...(prefix === undefined ? keyed : {}),
          ...problem,
          message,
        };
      }),
    );
  }
  const text = messageOf(error);
  // The key stands before the message anyway.
  const message = key !== "" && text.startsWith(`${key}: `) ? text.slice(key.length + 2) : text;
  return [{ level: "error", code, ...keyed, message }];
}

/** Problems with the file and line of their key, as far as a layer has it. */
export function placed(found: readonly Diagnostic[], loaded: LoadedManifest): Diagnostic[] {
  const origins = originsOf(loaded).filter(({ line }) => line !== undefined);
  const first = new Map<string, Origin>();
  for (const origin of origins) {
    // The key itself, and every table and list around it.
    for (const end of [...origin.key.matchAll(/[.[]|$/g)].map(({ index }) => index)) {
      const around = origin.key.slice(0, end);
      if (!first.has(around)) first.set(around, origin);
    }
  }
  const files = loaded.layers.flatMap(({ file }) => file ?? []);
  return found.map((problem) => {
    const { key, file } = problem;
    if (key === undefined || file !== undefined) return problem;
    const named = namedPlace(problem.message, files);
    if (named !== undefined) {
      const at = origins.find((it) => it.file === named.file && it.line === named.line);
      const isBelow = at?.key.startsWith(`${key}.`) === true;
      return { ...problem, ...named, ...(isBelow ? { key: at.key } : {}) };
    }
    // A list of plain values has one place for all of its elements; of a table that is not there, that
    // around it is to blame.
    const origin =
      first.get(key) ??
      first.get(key.replace(/\[\d+\]$/, "")) ??
      first.get(key.replace(/\.(auth|script)$/, ""));
    return origin === undefined ? problem : { ...placeOf(origin), ...problem };
  });
}

/** The place that a message itself names, `(file:line)`, and the message without it if it ends so. */
function namedPlace(
  message: string,
  files: readonly string[],
): { readonly file: string; readonly line: number; readonly message: string } | undefined {
  for (const file of files) {
    const start = message.indexOf(` (${file}:`);
    const [text = "", digits] = /^(\d+)\)/.exec(message.slice(start + file.length + 3)) ?? [];
    if (start < 0 || digits === undefined) continue;
    const isLast = start + file.length + 3 + text.length === message.length;
    return { file, line: Number(digits), message: isLast ? message.slice(0, start) : message };
  }
  return undefined;
}

function placeOf({ file, line }: Origin): Pick<Problem, "file" | "line"> {
  return { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) };
}
