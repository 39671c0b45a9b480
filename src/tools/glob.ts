/** The `Glob` tool as the model sees it (spec worker-and-tools 3.7); its work is loaded at the first call. */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool } from "./tool.ts";

/** Input of `Glob`. */
export const globSchema = lazily(() =>
  z.object({
    pattern: z
      .string()
      .describe("Pattern for the path below the directory searched, as in `*.ts`."),
    path: z
      .string()
      .nullable()
      .default(null)
      .describe("Absolute path of the directory to search; the working directory unless given."),
  }),
);

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
    schema: globSchema,
    async execute({ pattern, path }, { signal }) {
      const { findFiles } = await import("./glob-find.ts");
      return await findFiles(files, pattern, path ?? cwd, signal);
    },
  });
}
