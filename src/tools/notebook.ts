/**
 * A Jupyter notebook as something to read: the cells with their source, outputs only as what they
 * are (nbformat 4). The file itself is JSON full of base64 and escapes. Pure.
 */

const MAX_OUTPUT_CHARACTERS = 300;

/** The cells as text and their number; undefined for text that is no notebook. */
export function describeNotebook(
  text: string,
): { readonly content: string; readonly cells: number } | undefined {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return undefined;
  }
  const cells = memberOf(data, "cells");
  if (!Array.isArray(cells)) return undefined;
  const content = cells.map((cell: unknown, index) => describeCell(cell, index + 1)).join("\n");
  return { content, cells: cells.length };
}

function describeCell(cell: unknown, number: number): string {
  const type = memberOf(cell, "cell_type");
  const source = textOf(memberOf(cell, "source"));
  const outputs = memberOf(cell, "outputs");
  const lines = Array.isArray(outputs) ? outputs.map(describeOutput) : [];
  const head = `--- cell ${number} [${typeof type === "string" ? type : "unknown"}]`;
  return [head, source.replace(/\n$/, ""), ...lines, ""].join("\n");
}

function describeOutput(output: unknown): string {
  const type = memberOf(output, "output_type");
  if (type === "stream") return labelled("output", textOf(memberOf(output, "text")));
  if (type === "error") {
    const words = [memberOf(output, "ename"), memberOf(output, "evalue")];
    return labelled("error", words.filter((word) => typeof word === "string").join(": "));
  }
  const data = memberOf(output, "data");
  if (typeof data !== "object" || data === null) return "[output]";
  const kinds = Object.entries(data).map(
    ([mime, value]: [string, unknown]) => `${mime}, ${textOf(value).length} characters`,
  );
  const plain = textOf(memberOf(data, "text/plain"));
  return kinds.length === 1 && plain !== ""
    ? labelled("output", plain)
    : `[output: ${kinds.join("; ")}]`;
}

function labelled(word: string, text: string): string {
  const cut = text.length > MAX_OUTPUT_CHARACTERS;
  const shown = cut ? `${text.slice(0, MAX_OUTPUT_CHARACTERS).toWellFormed()}…` : text;
  return `[${word}${cut ? `, ${text.length} characters` : ""}] ${shown.replace(/\n$/, "")}`;
}

/** Text in a notebook is a string or a list of lines. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return value === undefined ? "" : JSON.stringify(value);
  return value.filter((part) => typeof part === "string").join("");
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}
