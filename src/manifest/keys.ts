/**
 * The manifest's keys as a list, read from the schema: for suggestions here, for documentation and
 * editors elsewhere. Nothing is written down twice.
 */
import { z } from "zod/v3";
import { manifestLayerSchema } from "./schema.ts";

/** One key that a manifest may have. */
export interface KeyDoc {
  /** Dotted, `[]` after arrays, `*` for a free name: `scope.allow[].target`, `worker.tool_output.per_tool.*`. */
  readonly key: string;
  /** What a value looks like: `string`, `integer`, `"read" | "write"`, `table`, … */
  readonly type: string;
  /** Meaning and default; empty for tables that are only sections. */
  readonly description: string;
  /** What else the table must say for the key to be one: `kind = "api_key"`. */
  readonly only?: string;
}

/** Every key of `schema` (a manifest layer unless given), depth first, each once. */
export function listKeys(schema: z.ZodTypeAny = manifestLayerSchema()): KeyDoc[] {
  const found = new Map<string, KeyDoc>();
  walk(schema, "", found);
  return [...found.values()];
}

/** The names a table may have at `key` (a `KeyDoc.key`, or `""` for the document), in schema order. */
export function namesBelow(keys: readonly KeyDoc[], key: string): string[] {
  const prefix = key === "" ? "" : `${key}.`;
  return keys
    .filter((entry) => entry.key.startsWith(prefix))
    .map((entry) => entry.key.slice(prefix.length))
    .filter((rest) => !/[.[*]/.test(rest));
}

function walk(wrapped: z.ZodTypeAny, key: string, found: Map<string, KeyDoc>, only?: string): void {
  const schema = unwrap(wrapped);
  const doc = { key, type: typeOf(schema), description: textOf(wrapped) };
  add(only === undefined ? doc : { ...doc, only }, found);
  if (schema instanceof z.ZodArray) {
    const element = unwrap(schema.element as z.ZodTypeAny);
    // Elements that are plain values are not keys of their own.
    if (element instanceof z.ZodObject) walkTable(element, `${key}[]`, found);
  } else if (schema instanceof z.ZodRecord) {
    walk(schema.valueSchema as z.ZodTypeAny, `${key}.*`, found);
  } else if (schema instanceof z.ZodDiscriminatedUnion) {
    const options = schema.options as z.AnyZodObject[];
    const tags = options.map((option) => option.shape[schema.discriminator] as z.ZodTypeAny);
    add(
      {
        key: `${key}.${schema.discriminator}`,
        type: tags.map(typeOf).join(" | "),
        description: tags.map(textOf).find((text) => text !== "") ?? "",
      },
      found,
    );
    for (const [index, option] of options.entries()) {
      const tag = tags[index];
      const only = tag === undefined ? undefined : `${schema.discriminator} = ${typeOf(tag)}`;
      walkTable(option, key, found, only);
    }
  } else if (schema instanceof z.ZodObject) {
    walkTable(schema, key, found);
  }
}

function add(doc: KeyDoc, found: Map<string, KeyDoc>): void {
  if (doc.key !== "" && !found.has(doc.key)) found.set(doc.key, doc);
}

function walkTable(
  table: z.AnyZodObject,
  key: string,
  found: Map<string, KeyDoc>,
  only?: string,
): void {
  for (const [name, value] of Object.entries(table.shape as z.ZodRawShape)) {
    walk(value, key === "" ? name : `${key}.${name}`, found, only);
  }
}

function unwrap(schema: z.ZodTypeAny): z.ZodTypeAny {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
    return unwrap(schema._def.innerType as z.ZodTypeAny);
  }
  if (schema instanceof z.ZodEffects) return unwrap(schema.innerType() as z.ZodTypeAny);
  return schema;
}

/** The nearest `describe` text from the outside in. */
function textOf(schema: z.ZodTypeAny): string {
  if (schema.description !== undefined) return schema.description;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
    return textOf(schema._def.innerType as z.ZodTypeAny);
  }
  return schema instanceof z.ZodEffects ? textOf(schema.innerType() as z.ZodTypeAny) : "";
}

function typeOf(schema: z.ZodTypeAny): string {
  if (schema instanceof z.ZodEnum) {
    return (schema.options as string[]).map((value) => JSON.stringify(value)).join(" | ");
  }
  if (schema instanceof z.ZodLiteral) return JSON.stringify(schema.value);
  if (schema instanceof z.ZodUnion) {
    return (schema.options as z.ZodTypeAny[]).map((option) => typeOf(unwrap(option))).join(" | ");
  }
  if (schema instanceof z.ZodArray)
    return `array of ${typeOf(unwrap(schema.element as z.ZodTypeAny))}`;
  if (schema instanceof z.ZodNumber) return schema.isInt ? "integer" : "number";
  if (schema instanceof z.ZodString) return "string";
  if (schema instanceof z.ZodBoolean) return "boolean";
  return "table";
}
