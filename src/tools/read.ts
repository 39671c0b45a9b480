/** The `Read` tool (spec worker-and-tools 3.4): part of a file as numbered lines. */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { fileError } from "./file-errors.ts";
import { kindOfFile } from "./file-kind.ts";
import { LONG_LINE_BYTES, renderLines } from "./lines.ts";
import { FILE_TOOL_LIMIT_MS, type ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool, type ToolOutput } from "./tool.ts";
import type { FileTracker } from "./tracker.ts";

const DEFAULT_LINES = 2000;

/** Input of `Read`. */
export const readSchema = lazily(() =>
  z.object({
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
  }),
);

const DESCRIPTION = `Shows a text file with line numbers.

- The path must be absolute and name a file; use Glob to see what a directory contains.
- Each line comes as its number, a tab, and its text. The number and the tab are not part of the file.
- Up to 2000 lines from the start are shown. For more, or for a part of a long file, pass offset and limit; the summary says which lines you got and how many there are.
- A file must be read here before Edit may change it or Write may replace it. One read covers the whole file, even when only a part was shown.
- Pictures are described, not shown. A notebook (.ipynb) is shown as its cells; pass offset or limit to see its JSON instead, as Edit needs it. Other binary files are refused.
- Files over 10 MiB are refused: look for the interesting part with Grep.`;

/** Makes `Read`; every successful call records the whole file in `tracker`. */
export function readTool({ files, tracker }: { files: ScopedFiles; tracker: FileTracker }): Tool {
  return defineTool({
    name: "Read",
    description: DESCRIPTION,
    schema: readSchema,
    serial: true,
    limitMs: FILE_TOOL_LIMIT_MS,
    overflow: "again",
    async execute({ file_path: path, offset, limit }) {
      const { bytes, canonical } = await files.read(path);
      const file = kindOfFile(bytes);
      if (file.kind === "binary") throw fileError.binary(path, file.what, bytes.length);
      tracker.record(canonical, bytes);
      if (file.kind === "image") {
        return { summary: `${file.what}, ${bytes.length} bytes: ${path} (pictures are not shown)` };
      }
      const start = offset ?? 0;
      const isWhole = start === 0 && (limit ?? DEFAULT_LINES) === DEFAULT_LINES;
      const notebook = isWhole && path.endsWith(".ipynb") ? await cellsOf(path, bytes) : undefined;
      if (notebook !== undefined) return notebook;
      const text =
        file.encoding === "utf-8"
          ? bytes
          : Buffer.from(new TextDecoder(file.encoding).decode(bytes));
      const slice = renderLines(text, start, Math.max(1, limit ?? DEFAULT_LINES));
      const { shown, total, long } = slice;
      const part =
        start === 0 && shown === total ? "" : ` [${start + 1}..${start + shown}] of ${total}`;
      const note =
        long !== undefined
          ? ` (line ${long.number} has ${long.bytes} bytes; ${howToSee(long.number)})`
          : start > 0 && shown === 0
            ? ` (the file has only ${total} line(s))`
            : "";
      return { summary: `Read ${shown} line(s)${part} from ${path}${note}`, content: slice.text };
    },
  });
}

/** Output is cut by bytes, and `offset` cannot reach into a line. Bash shows 12 KiB whole. */
function howToSee(line: number): string {
  const columns = `${LONG_LINE_BYTES + 1}-${LONG_LINE_BYTES + 12_000}`;
  return `what is cut off of it can be seen with Bash: sed -n ${line}p FILE | cut -b ${columns}`;
}

async function cellsOf(path: string, bytes: Uint8Array): Promise<ToolOutput | undefined> {
  const { describeNotebook } = await import("./notebook.ts");
  const notebook = describeNotebook(new TextDecoder().decode(bytes));
  if (notebook === undefined) return undefined;
  const { cells, content } = notebook;
  return { summary: `Read notebook of ${cells} cell(s) from ${path}`, content };
}
