/**
 * Writes the reference part of docs/manifest.md from the schema: `bun run docs`. With `--check` only
 * says whether it is up to date. What is outside the marks is written by hand and stays.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listKeys, type KeyDoc } from "../src/manifest/keys.ts";

export const FILE = join(import.meta.dir, "../docs/manifest.md");
const BEGIN = "<!-- begin of the reference: written by `bun run docs` -->";
const END = "<!-- end of the reference -->";

/** The document with its reference part as the schema has it now. Throws when a mark is missing. */
export function withReference(document: string): string {
  const [before, rest] = split(document, BEGIN);
  const [, after] = split(rest, END);
  return `${before}${BEGIN}\n\n${reference()}\n${END}${after}`;
}

function split(text: string, mark: string): readonly [string, string] {
  const at = text.indexOf(mark);
  if (at === -1) throw new Error(`docs/manifest.md has no line ${mark}`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}

/** One table for each section, in the order of the schema. */
function reference(): string {
  const keys = listKeys();
  const sections = keys.filter(({ key }) => !/[.[]/.test(key));
  return sections
    .map((section) => {
      const own = keys.filter(({ key }) => key.startsWith(`${section.key}.`));
      // The model table stands in other places too; it is shown once.
      const repeated = own.filter(({ key }) => /^\w+\.model\./.test(key));
      const rows = own.filter((entry) => !repeated.includes(entry));
      return `### \`[${section.key}]\`\n\n${sentence(section.description)}\n\n${table(rows)}`;
    })
    .join("\n");
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function table(rows: readonly KeyDoc[]): string {
  const cells = rows.map(({ key, type, description }) => [
    `\`${key}\``,
    cell(type === "table" ? "table" : `\`${type}\``),
    cell(description),
  ]);
  const all = [["key", "type", "meaning"], ...cells];
  const widths = [0, 1, 2].map((column) =>
    Math.max(...all.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |\n`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |\n`;
  return line(all[0] ?? []) + rule + cells.map(line).join("");
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

if (import.meta.main) {
  const document = readFileSync(FILE, "utf8");
  const wanted = withReference(document);
  if (process.argv.includes("--check")) {
    if (document !== wanted) {
      console.error("docs/manifest.md is out of date; run: bun run docs");
      process.exitCode = 1;
    }
  } else writeFileSync(FILE, wanted);
}
