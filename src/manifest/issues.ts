/**
 * Turns what zod says about a layer into problems a person can act on: dotted key, plain words, the
 * nearest known name. Values are never quoted, except names of keys and words of a fixed choice.
 */
import type { z } from "zod/v3";
import { printable } from "../base/text.ts";
import { listKeys, namesBelow, type KeyDoc } from "./keys.ts";
import type { KeyPath } from "./locate.ts";
import { ABSENT_KEYS } from "./schema.ts";
import { nearestName } from "./suggest.ts";

/** A problem and the path of the key, from which the caller finds the line. */
interface Finding {
  readonly path: KeyPath;
  readonly message: string;
}

/** `scope.allow[1].target`; names that need quotes in TOML have them here too. */
export function dottedKey(path: KeyPath): string {
  return path
    .map((part, index) => {
      if (typeof part === "number") return `[${part}]`;
      const name = /^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(printable(part));
      return index === 0 ? name : `.${name}`;
    })
    .join("");
}

/**
 * What is wrong, one finding for each unknown key and each other issue, in zod's order. `schema` is
 * what did not fit (a manifest layer unless given); near names come from it.
 */
export function findingsOf(error: z.ZodError, schema?: z.ZodTypeAny): Finding[] {
  let keys: KeyDoc[] | undefined;
  return error.issues.flatMap((issue): Finding[] => {
    if (issue.code !== "unrecognized_keys") {
      return [{ path: issue.path, message: describeIssue(issue) }];
    }
    keys ??= schema === undefined ? listKeys() : listKeys(schema);
    const known = keys;
    return issue.keys.map((name) => ({
      path: [...issue.path, name],
      message: describeUnknown(issue.path, name, known),
    }));
  });
}

function describeUnknown(table: KeyPath, name: string, keys: readonly KeyDoc[]): string {
  const absent = ABSENT_KEYS.get(dottedKey([...table, name]));
  if (absent !== undefined) return `unknown key: ${absent}`;
  const pattern = dottedKey(table).replace(/\[\d+\]/g, "[]");
  // One that the schema knows goes with another choice in the same table.
  const own = keys.find(({ key }) => key === (pattern === "" ? name : `${pattern}.${name}`));
  if (own?.only !== undefined) return `unknown key: it goes with ${own.only}`;
  const near =
    nearestName(name, namesBelow(keys, pattern)) ??
    keys.find(({ key }) => key.endsWith(`.${name}`))?.key;
  return `unknown key${didYouMean(near)}`;
}

const didYouMean = (name: string | undefined): string =>
  name === undefined ? "" : ` (did you mean \`${name}\`?)`;

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  integer: "an integer",
  float: "a number with a fraction",
  bigint: "an integer",
  boolean: "a boolean",
  array: "an array",
  object: "a table",
  date: "a date",
  nan: "nan",
};

/** zod names a fixed choice as `'read' | 'write'`; TOML and JSON have double quotes. */
const typeName = (type: string): string => TYPE_NAMES[type] ?? type.replaceAll("'", '"');

function describeIssue(issue: z.ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      if (issue.received === "bigint" && /^(number|integer)$/.test(issue.expected)) {
        return "integer out of range";
      }
      return issue.received === "undefined"
        ? `is required (${typeName(issue.expected)})`
        : `expected ${typeName(issue.expected)}, found ${typeName(issue.received)}`;
    case "invalid_enum_value":
      return `expected one of ${issue.options.map((option) => JSON.stringify(option)).join(", ")}${
        typeof issue.received === "string"
          ? didYouMean(nearestName(issue.received, issue.options.map(String)))
          : ""
      }`;
    case "too_small":
      if (issue.type === "string") return "must not be empty";
      return `must be at least ${issue.minimum}${issue.type === "array" ? " long" : ""}`;
    case "too_big":
      return `must be at most ${issue.maximum}`;
    case "not_finite":
      return "must be finite";
    default:
      return issue.message;
  }
}
