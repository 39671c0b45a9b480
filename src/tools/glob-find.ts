/** What `Glob` does: finds files by name, newest first (spec worker-and-tools 3.7). */
import { compileGlob, GlobSyntaxError } from "./glob-pattern.ts";
import { Pace } from "./pace.ts";
import type { Regex } from "./regex.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { ToolError, type ToolOutput } from "./tool.ts";
import { SEARCH_LIMIT_MS, searchBase, STOPPED_NOTE, walk } from "./walk.ts";

const MAX_SHOWN = 1000;

/** The files below `directory` (absolute) whose relative path matches and that the scope lets read. */
export async function findFiles(
  files: ScopedFiles,
  pattern: string,
  directory: string,
  signal: AbortSignal,
): Promise<ToolOutput> {
  const regex = patternOf(pattern);
  const scope = files.scope.current();
  const base = searchBase(scope, directory);
  const pace = new Pace(signal, SEARCH_LIMIT_MS);
  const found = new Newest(MAX_SHOWN);
  let skipped = 0;
  const skip = (): void => void (skipped += 1);
  const consider = (relative: string, canonical: string): void => {
    if (pattern === "" || !regex.test(relative)) return;
    const modified = files.modifiedAt(canonical);
    if (modified === undefined) return skip();
    found.add({ path: relative === "" ? base.shown : `${base.shown}/${relative}`, modified });
  };
  if (base.kind === "file") consider("", base.canonical);
  if (base.kind === "directory") {
    for await (const file of walk(base.canonical, { files, scope, pace, skipped: skip })) {
      consider(file.relative, file.canonical);
    }
  }
  // As Grep says it: what cannot be opened, or lies deeper than a path can say.
  const unseen = skipped > 0 ? `, ${skipped} file(s) or directories skipped` : "";
  const notes = `${unseen}${pace.expired ? STOPPED_NOTE : ""}`;
  if (found.count === 0) return { summary: `No files found matching ${pattern}${notes}` };
  const content = found
    .list()
    .map((file) => file.path)
    .join("\n");
  const count = found.count;
  return count > MAX_SHOWN
    ? {
        summary: `Found ${count}+ files matching ${pattern} (truncated to ${MAX_SHOWN})${notes}`,
        content,
      }
    : { summary: `Found ${count} file(s) matching ${pattern}${notes}`, content };
}

function patternOf(pattern: string): Regex {
  try {
    return compileGlob(pattern, { crossSlash: true });
  } catch (error) {
    if (error instanceof GlobSyntaxError) {
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
