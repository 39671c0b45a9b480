/**
 * The `Edit` tool (spec worker-and-tools 3.6): replaces exact text in a file the model has read. The
 * replacement is literal: neither newlines nor `$` in it mean anything else than themselves.
 */
import { z } from "zod/v3";
import { lazily } from "../base/lazy.ts";
import { assertStorable, fileError } from "./file-errors.ts";
import { renderLines } from "./lines.ts";
import { Pace } from "./pace.ts";
import { FILE_TOOL_LIMIT_MS, MAX_FILE_BYTES, type ScopedFiles } from "./scoped-fs.ts";
import { defineTool, type Tool, ToolError } from "./tool.ts";
import type { FileTracker } from "./tracker.ts";

const PREVIEW_LINES = 3;

/** Input of `Edit`. */
export const editSchema = lazily(() =>
  z.object({
    file_path: z.string().describe("Absolute path of the file."),
    old_string: z
      .string()
      .describe("The text to replace, exactly as it is in the file, without line numbers."),
    new_string: z.string().describe("The text to put in its place."),
    replace_all: z
      .boolean()
      .default(false)
      .describe("Replace every occurrence; without it there must be exactly one."),
  }),
);

const DESCRIPTION = `Replaces text in a file.

- Read the file first; the call is refused when it was never read or has changed since.
- old_string must match the file exactly, blanks and line breaks included. Leave out the line numbers and tabs that Read adds.
- old_string must occur exactly once: add surrounding lines until it does, or pass replace_all to change every occurrence, for example to rename something.
- The result shows the lines around the first change.`;

/** Makes `Edit`; the file as changed counts as read, so several edits may follow one read. */
export function editTool({ files, tracker }: { files: ScopedFiles; tracker: FileTracker }): Tool {
  return defineTool({
    name: "Edit",
    description: DESCRIPTION,
    schema: editSchema,
    serial: true,
    limitMs: FILE_TOOL_LIMIT_MS,
    async execute(input, { signal }) {
      const { file_path: path, old_string: from, new_string: to } = input;
      if (from === "") throw new ToolError("invalid_argument", "old_string must not be empty");
      if (from === to) {
        throw new ToolError("invalid_argument", "old_string and new_string are identical");
      }
      assertStorable("old_string", from); // in the text, it would be found inside a character
      assertStorable("new_string", to);
      let count = 0;
      let line = 0;
      const { bytes } = await files.replace(
        path,
        async (before) => {
          if (before === undefined) throw fileError.missing(path);
          tracker.assertSeen(path, before.canonical, before.bytes);
          const text = decodeStrictly(before.bytes, path);
          count = await countOf(text, from, new Pace(signal));
          assertUsable(path, count, input.replace_all);
          const grown = (Buffer.byteLength(to) - Buffer.byteLength(from)) * count;
          const size = before.bytes.length + grown;
          // Before it is built, because thousands of replacements can exceed all memory.
          if (size > MAX_FILE_BYTES) throw fileError.resultTooLarge(path, size, MAX_FILE_BYTES);
          line = countLines(text, text.indexOf(from));
          const literal = to.replaceAll("$", "$$$$"); // `$$` stands for one `$`
          return Buffer.from(
            input.replace_all ? text.replaceAll(from, literal) : text.replace(from, literal),
          );
        },
        signal,
        (result) => tracker.record(result.canonical, result.bytes),
      );
      return {
        summary: `Edited ${path} (${count} replacement${count === 1 ? "" : "s"})`,
        content: previewOf(bytes, line),
      };
    },
  });
}

function assertUsable(path: string, count: number, all: boolean): void {
  if (count === 0) {
    throw new ToolError("invalid_argument", `string not found in file: ${path}`);
  }
  if (count === 1 || all) return;
  throw new ToolError(
    "invalid_argument",
    `string is not unique in file (${count} occurrences); ` +
      `pass replace_all=true or disambiguate: ${path}`,
  );
}

/** A wrong guess at the encoding would destroy the bytes we do not change, so there is none. */
function decodeStrictly(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ToolError(
      "invalid_argument",
      `invalid argument: file is not valid UTF-8: ${path}`, // the doubled words are the contract
    );
  }
}

/** Occurrences from left to right, not overlapping. */
async function countOf(text: string, part: string, pace: Pace): Promise<number> {
  let count = 0;
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + part.length)) {
    count += 1;
    if (count % 1024 === 0 && pace.due) await pace.rest();
  }
  return count;
}

function countLines(text: string, end: number): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) {
    lines += 1;
  }
  return lines;
}

/** Three lines before and after the line (0-based) in which the first replacement begins. */
function previewOf(bytes: Uint8Array, line: number): string {
  const offset = Math.max(0, line - PREVIEW_LINES);
  const preview = renderLines(bytes, offset, line + PREVIEW_LINES + 1 - offset);
  if (preview.shown > 0 || preview.total === 0) return preview.text;
  // The end of the file was deleted: show what is last now.
  return renderLines(bytes, Math.max(0, preview.total - PREVIEW_LINES), PREVIEW_LINES).text;
}
