/** The `Grep` tool (spec worker-and-tools 3.8): searches the content of files. */
import { z } from "zod/v3";
import { fileType } from "./file-types.ts";
import { GlobSyntaxError } from "./glob-pattern.ts";
import { type GrepQuery, type GrepResult, search } from "./grep-search.ts";
import { Pace } from "./pace.ts";
import { Regex, RegexSyntaxError } from "./regex.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { searchFilter } from "./search-filter.ts";
import { defineTool, type Tool, ToolError, type ToolOutput } from "./tool.ts";
import { SEARCH_LIMIT_MS, searchBase, STOPPED_NOTE } from "./walk.ts";

const DEFAULT_LIMIT = 250;

const count = (): z.ZodNullable<z.ZodNumber> => z.number().int().min(0).nullable();

const GrepSchema = z.object({
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
  multiline: z.boolean().default(false).describe("Let `.` match a newline and a match span lines."),
  head_limit: count()
    .default(DEFAULT_LIMIT)
    .describe("Most files, or matches in content mode, to show; 0 means no limit."),
  offset: count().default(0).describe("Files or matches to skip first, to see the next page."),
});

const DESCRIPTION = `Searches the content of files with a regular expression. Prefer it to grep in a shell.

- By default it lists the files that match, sorted by path; output_mode "content" shows the lines, "count" how many there are in each file.
- Patterns have the syntax of RE2: \\d \\w \\s \\b (ASCII only; \\pL is any letter), [a-z], (a|b), (?:x), {2,5}, lazy quantifiers, (?i), \\p{Greek}, but no look-around and no back-references. A brace in code needs no backslash. A pattern sees one line at a time unless multiline is set.
- Left out are hidden files, binary files, and in a git repository what git ignores. A file that glob names is searched all the same; so is whatever path itself names.
- Narrow with path, glob (compared with the path below the directory searched; without a slash it means the file name) or type.
- At most 250 results are shown: raise head_limit or use offset for more. Files that cannot be read, or have lines too long to search (of about a million characters; with multiline, the whole file), are passed over and counted.`;

/** Makes `Grep`. `cwd` is where it searches unless told otherwise. */
export function grepTool({
  files,
  cwd,
  globalExcludes,
}: {
  files: ScopedFiles;
  cwd: string;
  /** The user's own ignore file for all repositories, if any. */
  globalExcludes?: string | undefined;
}): Tool {
  return defineTool({
    name: "Grep",
    description: DESCRIPTION,
    schema: GrepSchema,
    async execute(input, { signal }) {
      const query = queryOf(input);
      const type = input.type === null ? undefined : fileType(input.type);
      const scope = files.scope.current();
      const base = searchBase(scope, input.path ?? cwd);
      const filter = orInvalid(() =>
        searchFilter(base.canonical, { glob: input.glob, type, globalExcludes }),
      );
      const pace = new Pace(signal, SEARCH_LIMIT_MS);
      const result = await search({ files, scope, base, filter }, query, pace);
      return present(query, result, pace.expired);
    },
  });
}

function queryOf(input: z.infer<typeof GrepSchema>): GrepQuery {
  const around = input["-C"];
  const { multiline } = input;
  return {
    regex: orInvalid(() => new Regex(input.pattern, { ignoreCase: input["-i"], multiline })),
    multiline,
    mode: input.output_mode,
    numbers: input["-n"] ?? true,
    before: around ?? input["-B"] ?? 0,
    after: around ?? input["-A"] ?? 0,
    limit: input.head_limit ?? DEFAULT_LIMIT,
    offset: input.offset ?? 0,
  };
}

function orInvalid<Value>(make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    if (error instanceof GlobSyntaxError) {
      throw new ToolError("invalid_argument", `invalid glob pattern: ${error.message}`);
    }
    if (error instanceof RegexSyntaxError) {
      throw new ToolError("invalid_argument", `invalid regex: ${error.message}`);
    }
    throw error;
  }
}

function present(query: GrepQuery, result: GrepResult, stopped: boolean): ToolOutput {
  const notes = [
    result.limited ? ` (truncated at ${query.limit})` : "",
    result.oversized ? " (truncated at 1 MiB of output)" : "",
    stopped ? STOPPED_NOTE : "",
    result.skipped > 0 ? `, ${result.skipped} file(s) skipped` : "",
  ].join("");
  const { files, matches, lines } = result;
  if (files === 0) {
    const none = query.mode === "content" ? "No matches" : "No files matched";
    return { summary: none + notes };
  }
  const found = {
    files_with_matches: `Found matches in ${files} file(s)`,
    count: `Found matches in ${files} file(s), ${matches} total line(s)`,
    content: `${matches} matching line(s) in ${files} file(s)`,
  }[query.mode];
  return { summary: found + notes, content: lines.join("\n") };
}
