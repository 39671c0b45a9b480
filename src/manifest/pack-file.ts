/**
 * A file with prompt texts: one table `[prompt]`, every value a string (spec manifest 6.5). What the
 * texts mean is not known here; their places are kept for messages about them.
 */
import { dottedKey } from "./issues.ts";
import { type KeyPath, lineFinder } from "./locate.ts";
import { ManifestError, type Problem } from "./problem.ts";
import { nearestName } from "./suggest.ts";
import { parseTomlText, readConfigurationFile } from "./toml.ts";

/** One text; `label` is `<file>:<line> prompt.<key>`. */
interface PackText {
  readonly key: string;
  readonly label: string;
  readonly text: string;
}

/**
 * Reads a pack at a path without links: one that was put there since is not followed. Throws `ManifestError` with `failed to read prompt pack <path>: …` or
 * `failed to parse prompt pack <path>: …`, the latter with every problem: keys that are not in
 * `known`, values that are no strings, tables other than `[prompt]`.
 */
export async function readPromptPack(path: string, known: readonly string[]): Promise<PackText[]> {
  const text = readConfigurationFile(path, "prompt pack", path);
  const prefix = `failed to parse prompt pack ${path}`;
  const data = await parseTomlText(text, prefix, path);
  const lineOf = lineFinder(text);
  const problems: Problem[] = [];
  const complain = (key: KeyPath, message: string): void =>
    void problems.push({ file: path, line: lineOf(key), key: dottedKey(key), message });
  for (const name of Object.keys(data)) {
    if (name !== "prompt" && !name.startsWith("x-")) complain([name], unknown(name, ["prompt"]));
  }
  const table = data.prompt ?? {};
  const texts: PackText[] = [];
  if (!isTable(table)) complain(["prompt"], "expected a table");
  else {
    for (const [key, value] of Object.entries(table)) {
      const place = ["prompt", key];
      if (!known.includes(key)) complain(place, unknown(key, known));
      else if (typeof value !== "string") complain(place, "expected a string");
      else texts.push({ key, label: `${path}:${lineOf(place)} prompt.${key}`, text: value });
    }
  }
  if (problems.length === 0) return texts;
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  throw new ManifestError([{ prefix, problems }]);
}

function unknown(name: string, known: readonly string[]): string {
  const near = nearestName(name, known);
  return near === undefined
    ? `unknown key (known: ${known.join(", ")})`
    : `unknown key (did you mean \`${near}\`?)`;
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
