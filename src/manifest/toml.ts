/**
 * TOML text to plain data, with the place of what is wrong. smol-toml is loaded at the first call: a
 * child that gets its manifest as JSON never loads it.
 */
import { messageOf } from "../base/errors.ts";
import { readRegularFile } from "../base/files.ts";
import { ManifestError, type Problem } from "./problem.ts";

/** Larger than any file that a person writes. */
export const MAX_FILE_BYTES = 1024 * 1024;
const MAX_EXCERPT_CHARACTERS = 160;

/**
 * Reads a configuration file; `ManifestError` with `failed to read <what> <path>: …`. `within`: see
 * `readRegularFile`.
 */
export function readConfigurationFile(path: string, what: string, within?: string): string {
  const failure = (message: string, cause?: unknown): ManifestError =>
    new ManifestError(
      [{ prefix: `failed to read ${what} ${path}`, problems: [{ message }] }],
      cause,
    );
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(path, MAX_FILE_BYTES, within);
  } catch (error) {
    throw failure(messageOf(error), error);
  }
  return decodedText(bytes, failure);
}

/** The text of a configuration; throws `failure` with the line in which it is none. */
export function decodedText(
  bytes: Uint8Array,
  failure: (message: string, cause: unknown) => ManifestError,
): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw failure(`not valid UTF-8 in line ${firstBadLine(bytes)}`, error);
  }
}

/** A line break is no part of a longer character, so each line is text or not by itself. */
function firstBadLine(bytes: Uint8Array): number {
  let start = 0;
  for (let line = 1; ; line += 1) {
    const end = bytes.indexOf(10, start);
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(
        bytes.subarray(start, end < 0 ? undefined : end),
      );
    } catch {
      return line;
    }
    if (end < 0) return line;
    start = end + 1;
  }
}

/** Parses text of `file` (absent: text that is in no file); `ManifestError` under `prefix`. */
export async function parseTomlText(
  text: string,
  prefix: string,
  file: string | undefined,
): Promise<Record<string, unknown>> {
  const { parse, TomlError } = await import("smol-toml");
  const failure = (problem: Problem, cause?: unknown): ManifestError =>
    new ManifestError(
      [{ prefix, problems: [file === undefined ? problem : { file, ...problem }] }],
      cause,
    );
  try {
    // One that is too large for a number is one wrong value among others.
    return parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw failure({ message: messageOf(error) }, error);
    const [headline = ""] = error.message.split("\n");
    throw failure({
      line: error.line,
      column: error.column,
      message: headline.replace(/^Invalid TOML document: /, ""),
      excerpt: excerptOf(text, error.line, error.column),
    });
  }
}

/** The line with a caret below the column; a password in an address is not shown (FIX 6). */
function excerptOf(text: string, line: number, column: number): string {
  const source = (text.split(/\r?\n/)[line - 1] ?? "")
    .replaceAll("\t", " ")
    .replace(/:\/\/[^\s"']*@/g, (user) => `://${"*".repeat(user.length - 4)}@`);
  // A long line is shown from a little before the place.
  const start = column > MAX_EXCERPT_CHARACTERS / 2 ? column - MAX_EXCERPT_CHARACTERS / 2 : 0;
  const number = `${line} | `;
  const shown = source.slice(start, start + MAX_EXCERPT_CHARACTERS);
  return `${number}${shown}\n${" ".repeat(number.length + column - 1 - start)}^`;
}
