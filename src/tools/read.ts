/** The `Read` tool (spec worker-and-tools 3.4): part of a file as numbered lines. */
import { z } from "zod/v3";
import { renderLines } from "./lines.ts";
import type { ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool } from "./tool.ts";
import type { FileTracker } from "./tracker.ts";

const DEFAULT_LINES = 2000;

const ReadSchema = z.object({
  file_path: z.string().describe("Absolute path of the file."),
  offset: z
    .number()
    .int()
    .min(0)
    .nullable()
    .default(0)
    .describe("How many lines to skip: 0 starts at the first line."),
  limit: z
    .number()
    .int()
    .min(0)
    .nullable()
    .default(DEFAULT_LINES)
    .describe("How many lines to show at most. 2000 unless given."),
});

const DESCRIPTION = `Shows a text file with line numbers.

- The path must be absolute and name a file; use Glob to see what a directory contains.
- Each line comes as its number, a tab, and its text. The number and the tab are not part of the file.
- Up to 2000 lines from the start are shown. For more, or for a part of a long file, pass offset and limit; the summary says which lines you got and how many there are.
- A file must be read here before Edit may change it or Write may replace it. One read covers the whole file, even when only a part was shown.
- Files over 10 MiB are refused: look for the interesting part with Grep.`;

/** Makes `Read`; every successful call records the whole file in `tracker`. */
export function readTool({ files, tracker }: { files: ScopedFiles; tracker: FileTracker }): Tool {
  return defineTool({
    name: "Read",
    description: DESCRIPTION,
    schema: ReadSchema,
    serial: true,
    async execute({ file_path: path, offset, limit }) {
      const { bytes, canonical } = await files.read(path);
      const start = offset ?? 0;
      const slice = renderLines(bytes, start, Math.max(1, limit ?? DEFAULT_LINES));
      tracker.record(canonical, bytes);
      const { shown, total } = slice;
      const part =
        start === 0 && shown === total ? "" : ` [${start + 1}..${start + shown}] of ${total}`;
      return { summary: `Read ${shown} line(s)${part} from ${path}`, content: slice.text };
    },
  });
}
