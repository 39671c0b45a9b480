/** What a call of `Grep` says, and what the tool works with (spec worker-and-tools 3.8). */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import type { ScopedFiles } from "./scoped-fs.ts";

/** Results shown unless the call says otherwise. */
export const DEFAULT_LIMIT = 250;

const count = (): z.ZodNullable<z.ZodNumber> => z.number().int().min(0).nullable();

/** Input of the tool. */
export const grepSchema = lazily(() =>
  z.object({
    pattern: z.string().describe("Regular expression to look for."),
    path: z
      .string()
      .nullable()
      .default(null)
      .describe("Absolute path of a file or directory; the working directory unless given."),
    glob: z
      .string()
      .nullable()
      .default(null)
      .describe("Only files that match, as in `*.ts`, `src/**/*.{c,h}`; `!*.md` leaves files out."),
    type: z
      .string()
      .nullable()
      .default(null)
      .describe("Only files of this type, as in `rust`, `py`, `ts`; `all` means any known type."),
    output_mode: z
      .enum(["files_with_matches", "content", "count"])
      .default("files_with_matches")
      .describe("Show the paths of files, the matching lines, or the number of matches per file."),
    "-n": z.boolean().nullable().default(true).describe("Line numbers in content mode."),
    "-i": z.boolean().default(false).describe("Ignore case."),
    "-A": count().default(0).describe("Lines to show after each match in content mode."),
    "-B": count().default(0).describe("Lines to show before each match in content mode."),
    "-C": count().default(null).describe("Lines before and after; replaces -A and -B."),
    multiline: z
      .boolean()
      .default(false)
      .describe("Let `.` match a newline and a match span lines."),
    head_limit: count()
      .default(DEFAULT_LIMIT)
      .describe("Most files, or matches in content mode, to show; 0 means no limit."),
    offset: count().default(0).describe("Files or matches to skip first, to see the next page."),
  }),
);

export type GrepInput = z.infer<ReturnType<typeof grepSchema>>;

/** Where `Grep` searches. */
export interface GrepDependencies {
  readonly files: ScopedFiles;
  /** Where it searches unless told otherwise. */
  readonly cwd: string;
  /** Finds the user's own ignore file for all repositories, if any; asked at each search. */
  readonly globalExcludes?: (() => string | undefined) | undefined;
}
