/**
 * The outer form of a template: text, tags, and the names of other templates in them. Knows just
 * enough of Jinja to find these; what is inside a tag is for the engine to judge. Pure.
 */

/** A piece of a template; `offset` is where it begins. */
type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "variable"; readonly name: string; readonly offset: number }
  | { readonly kind: "include"; readonly name: string; readonly offset: number }
  /** Anything else between braces: only the engine understands it. */
  | { readonly kind: "other"; readonly offset: number };

/** A name of another template, as written; `start` and `end` are those of the quoted text. */
export interface Mention {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly offset: number;
  /** Its absence is no error (`ignore missing`, or one of a list). */
  readonly optional: boolean;
}

/** A template taken apart. */
export interface Scan {
  readonly parts: readonly Part[];
  readonly mentions: readonly Mention[];
  /** True when it has nothing but text, `{{ name }}` and `{% include "name" %}`. */
  readonly plain: boolean;
}

// Comments and raw blocks first: nothing in them is a tag. The last is an opening without an end.
const TAG =
  /\{#[^]*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}[^]*?\{%[-+]?\s*endraw\s*[-+]?%\}|\{\{([^]*?)\}\}|\{%([^]*?)%\}|\{[{%#]/g;
const NAME = /^\s*([A-Za-z_]\w*)\s*$/;
const PLAIN_INCLUDE = /^\s*include\s+(?:"[^"\\]*"|'[^'\\]*')\s*$/;
const STATEMENT = /^[-+]?\s*(include|import|extends|from)\s+/;
const LITERAL = /"([^"\\]*)"|'([^'\\]*)'/g;
/** Words that are values, not names of variables. */
const CONSTANTS = new Set(["true", "false", "none", "True", "False", "None"]);

/** Takes a template apart. Never fails: an unclosed tag is an `other` part. */
export function scanTemplate(source: string): Scan {
  const parts: Part[] = [];
  const mentions: Mention[] = [];
  let at = 0;
  for (const match of source.matchAll(TAG)) {
    const offset = match.index;
    const [tag, expression, statement] = match;
    if (offset > at) parts.push({ kind: "text", text: source.slice(at, offset) });
    at = offset + tag.length;
    const found = statement === undefined ? [] : mentionsIn(statement, offset);
    mentions.push(...found);
    const name = NAME.exec(expression ?? "")?.[1];
    const [first] = found;
    if (name !== undefined && !CONSTANTS.has(name)) parts.push({ kind: "variable", name, offset });
    else if (first !== undefined && PLAIN_INCLUDE.test(statement ?? "")) {
      parts.push({ kind: "include", name: first.name, offset });
    } else parts.push({ kind: "other", offset });
  }
  if (at < source.length) parts.push({ kind: "text", text: source.slice(at) });
  return { parts, mentions, plain: parts.every(({ kind }) => kind !== "other") };
}

/** Literal names that stand directly behind the keyword, alone or in a list. */
function mentionsIn(statement: string, offset: number): Mention[] {
  const head = STATEMENT.exec(statement);
  if (head === null) return [];
  const after = head[0].length;
  const isList = statement[after] === "[";
  const end = isList ? statement.indexOf("]", after) : statement.length;
  const optional = isList || (head[1] === "include" && /\bignore\s+missing\b/.test(statement));
  LITERAL.lastIndex = after;
  const found: Mention[] = [];
  for (let hit = LITERAL.exec(statement); hit !== null; hit = LITERAL.exec(statement)) {
    if (hit.index > end || (!isList && hit.index !== after)) break;
    const start = offset + "{%".length + hit.index;
    found.push({
      name: hit[1] ?? hit[2] ?? "",
      start,
      end: start + hit[0].length,
      offset,
      optional,
    });
  }
  return found;
}

/** Line (from 1) of a place in a text. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) {
    line += 1;
  }
  return line;
}
