/**
 * One layer of the cascade, from TOML text to checked data: everything wrong with it is found at
 * once, with line and key; its paths are absolute when it leaves here (spec manifest 2.1, 2.3).
 * smol-toml is loaded at the first call: a child that gets its manifest as JSON never loads it.
 */
import { messageOf } from "../base/errors.ts";
import { dottedKey, findingsOf } from "./issues.ts";
import { lineFinder } from "./locate.ts";
import { absolutePaths } from "./paths.ts";
import { ManifestError, type Problem } from "./problem.ts";
import { type ManifestLayer, manifestLayerSchema } from "./schema.ts";

/** Where a layer's text comes from. */
export interface LayerSource {
  /** The file, as messages name it; absent for an overlay. */
  readonly file?: string;
  /** Absolute directory that relative paths in the layer start from. */
  readonly base: string;
}

/**
 * Parses a layer. Throws `ManifestError` whose text starts with `failed to parse manifest <path>: `
 * or `failed to parse overlay TOML: ` and lists every problem, ordered by line.
 */
export async function parseLayer(text: string, source: LayerSource): Promise<ManifestLayer> {
  const data = await parseToml(text, source);
  const parsed = manifestLayerSchema().safeParse(absolutePaths(data, source.base));
  if (parsed.success) return parsed.data;
  const lineOf = lineFinder(text);
  const problems = findingsOf(parsed.error)
    .map(({ path, message }) => ({ line: lineOf(path), key: dottedKey(path), message }))
    .sort((a, b) => a.line - b.line);
  throw failure(source, problems, parsed.error);
}

async function parseToml(text: string, source: LayerSource): Promise<unknown> {
  const { parse, TomlError } = await import("smol-toml");
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) {
      throw failure(source, [{ message: messageOf(error) }], error);
    }
    const [headline = ""] = error.message.split("\n");
    const problem = {
      line: error.line,
      column: error.column,
      message: headline.replace(/^Invalid TOML document: /, ""),
      excerpt: excerptOf(text, error.line, error.column),
    };
    throw failure(source, [problem]);
  }
}

const MAX_EXCERPT_CHARACTERS = 160;

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

function failure(
  source: LayerSource,
  problems: readonly Problem[],
  cause?: unknown,
): ManifestError {
  const { file } = source;
  const prefix =
    file === undefined ? "failed to parse overlay TOML" : `failed to parse manifest ${file}`;
  const placed = file === undefined ? problems : problems.map((entry) => ({ file, ...entry }));
  return new ManifestError([{ prefix, problems: placed }], cause);
}
