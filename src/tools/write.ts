/** The `Write` tool (spec worker-and-tools 3.5): creates a file or replaces all of it. */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { assertStorable } from "./file-errors.ts";
import { FILE_TOOL_LIMIT_MS, type ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool } from "./tool.ts";
import type { FileTracker } from "./tracker.ts";

/** Input of `Write`. */
export const writeSchema = lazily(() =>
  z.object({
    file_path: z.string().describe("Absolute path of the file."),
    content: z.string().describe("The whole new content."),
  }),
);

const DESCRIPTION = `Creates a file, or replaces the whole content of one.

- The path must be absolute and lie where this agent may write. Missing directories are created.
- An existing file must have been read with Read before, and not have changed since; otherwise the call is refused and nothing is lost.
- To change a part of a file use Edit, which needs only that part.
- The file keeps its permissions; through a symbolic link, the file it points to is written. If anything fails, the old content is still there.`;

/** Makes `Write`; what it wrote counts as read. */
export function writeTool({ files, tracker }: { files: ScopedFiles; tracker: FileTracker }): Tool {
  return defineTool({
    name: "Write",
    description: DESCRIPTION,
    schema: writeSchema,
    serial: true,
    limitMs: FILE_TOOL_LIMIT_MS,
    async execute({ file_path: path, content }, { signal }) {
      assertStorable("content", content);
      const { created, bytes } = await files.replace(
        path,
        (before) => {
          if (before !== undefined) tracker.assertSeen(path, before.canonical, before.bytes);
          return Buffer.from(content);
        },
        signal,
        (result) => tracker.record(result.canonical, result.bytes),
      );
      return { summary: `${created ? "Created" : "Overwrote"} ${path} (${bytes.length} bytes)` };
    },
  });
}
