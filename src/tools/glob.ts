/** The `Glob` tool (spec worker-and-tools 3.7): files by name, newest first. */
import { z } from "zod/v3";
import { compileGlob, GlobSyntaxError } from "./glob-pattern.ts";
import { Pace } from "./pace.ts";
import { type Regex, RegexSyntaxError } from "./regex.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool, ToolError } from "./tool.ts";
import { SEARCH_LIMIT_MS, searchBase, STOPPED_NOTE, walk } from "./walk.ts";

const MAX_SHOWN = 1000;

const GlobSchema = z.object({
  pattern: z.string().describe("Pattern for the path below the directory searched, as in `*.ts`."),
  path: z
    .string()
    .nullable()
    .default(null)
    .describe("Absolute path of the directory to search; the working directory unless given."),
});

const DESCRIPTION = `Finds files by name and lists their absolute paths, most recently changed first.

- The pattern is compared with the path relative to the directory searched. * and ? also match /, so *.rs finds Rust files at every depth and src/*.rs everything below src; do not begin with / or ./.
- Also: **, [ab], [!a], [a-z], {ts,tsx}, and a backslash before a character that is meant literally. Upper and lower case differ.
- Hidden files and files that git ignores are included. Symbolic links are not followed and not listed.
- At most 1000 files are shown; the summary says how many there are. To search what is in files, use Grep.`;

/** Makes `Glob`. `cwd` is where it searches unless told otherwise. */
export function globTool({ files, cwd }: { files: ScopedFiles; cwd: string }): Tool {
  return defineTool({
    name: "Glob",
    description: DESCRIPTION,
    schema: GlobSchema,
    async execute({ pattern, path }, { signal }) {
      const regex = patternOf(pattern);
      const scope = files.scope.current();
      const base = searchBase(scope, path ?? cwd);
      const pace = new Pace(signal, SEARCH_LIMIT_MS);
      const found = new Newest(MAX_SHOWN);
      const consider = (relative: string, canonical: string): void => {
        if (pattern === "" || !regex.test(relative)) return;
        const modified = files.modifiedAt(canonical);
        if (modified === undefined) return;
        found.add({ path: relative === "" ? base.shown : `${base.shown}/${relative}`, modified });
      };
      if (base.kind === "file") consider("", base.canonical);
      if (base.kind === "directory") {
        for await (const file of walk(base.canonical, { files, scope, pace })) {
          consider(file.relative, file.canonical);
        }
      }
      const stopped = pace.expired ? STOPPED_NOTE : "";
      if (found.count === 0) return { summary: `No files found matching ${pattern}${stopped}` };
      const content = found
        .list()
        .map((file) => file.path)
        .join("\n");
      const count = found.count;
      return count > MAX_SHOWN
        ? {
            summary: `Found ${count}+ files matching ${pattern} (truncated to ${MAX_SHOWN})${stopped}`,
            content,
          }
        : { summary: `Found ${count} file(s) matching ${pattern}${stopped}`, content };
    },
  });
}

function patternOf(pattern: string): Regex {
  try {
    return compileGlob(pattern, { crossSlash: true, braces: true });
  } catch (error) {
    if (error instanceof GlobSyntaxError || error instanceof RegexSyntaxError) {
      throw new ToolError("invalid_argument", `invalid glob pattern: ${error.message}`);
    }
    throw error;
  }
}

interface Found {
  readonly path: string;
  readonly modified: number;
}

/** Keeps the newest files of any number: newest first, equal times by path. */
class Newest {
  readonly #limit: number;
  #kept: Found[] = [];
  #count = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#count;
  }

  add(file: Found): void {
    this.#count += 1;
    this.#kept.push(file);
    // Four times the limit before sorting: seldom enough to be cheap, small enough to be bounded.
    if (this.#kept.length > this.#limit * 4) this.#kept = this.list();
  }

  list(): Found[] {
    return this.#kept
      .toSorted((a, b) => b.modified - a.modified || (a.path < b.path ? -1 : 1))
      .slice(0, this.#limit);
  }
}
