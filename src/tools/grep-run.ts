/** What `Grep` does: query, search, presentation (spec worker-and-tools 3.8). */
import { fileType } from "./file-types.ts";
import { GlobSyntaxError } from "./glob-pattern.ts";
import { DEFAULT_LIMIT, type GrepDependencies, type GrepInput } from "./grep-input.ts";
import { type GrepQuery, type GrepResult, search } from "./grep-search.ts";
import { Pace } from "./pace.ts";
import { prefilterFor } from "./prefilter.ts";
import { Regex, RegexSyntaxError } from "./regex.ts";
import { searchFilter } from "./search-filter.ts";
import { ToolError, type ToolOutput } from "./tool.ts";
import { SEARCH_LIMIT_MS, searchBase, STOPPED_NOTE } from "./walk.ts";

/** One call of the tool. Throws `ToolError` for what the model can mend. */
export async function grep(
  { files, cwd, globalExcludes }: GrepDependencies,
  input: GrepInput,
  signal: AbortSignal,
): Promise<ToolOutput> {
  const query = queryOf(input);
  const type = input.type === null ? undefined : fileType(input.type);
  const scope = files.scope.current();
  const base = searchBase(scope, input.path ?? cwd);
  const filter = orInvalid(() =>
    searchFilter(base.canonical, { glob: input.glob, type, globalExcludes: globalExcludes?.() }),
  );
  const pace = new Pace(signal, SEARCH_LIMIT_MS);
  const result = await search({ files, scope, base, filter }, query, pace);
  if (result.binary) return { summary: `Binary file, not searched: ${base.shown}` };
  return present(query, result, pace.expired);
}

function queryOf(input: GrepInput): GrepQuery {
  const around = input["-C"];
  const { multiline } = input;
  const ignoreCase = input["-i"];
  const regex = orInvalid(() => new Regex(input.pattern, { ignoreCase, multiline }));
  return {
    regex,
    prefilter: prefilterFor(input.pattern, ignoreCase, regex),
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
    result.torn > 0 ? `, ${result.torn} file(s) searched only up to a NUL byte` : "",
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
