/**
 * The socket protocol as a JSON Schema, made from the schemas that lines are decoded with: nothing is
 * written down twice. Loaded only to print it.
 */
import type { z } from "zod/v3";
import { zodToJsonSchema } from "zod-to-json-schema";
import { PodError } from "../base/errors.ts";
import { EVENT_DATA } from "./event.ts";
import { METHODS } from "./method.ts";

type Schema = Readonly<Record<string, unknown>>;

/** Methods and events, each as one of the `anyOf` of its definition (draft 7). */
export function protocolJsonSchema(): Schema {
  const methods = Object.entries(METHODS);
  const events = Object.entries(EVENT_DATA);
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "pod socket protocol",
    description:
      "A line from a client is one of `method`, a line from a Pod one of `event`. Unknown keys are " +
      "ignored by both sides. Explained in docs/protocol.md.",
    definitions: {
      method: {
        anyOf: methods.map(([name, make]) => ({ title: name, ...jsonSchema(name, make()) })),
      },
      event: { anyOf: events.map(([name, make]) => eventSchema(name, make())) },
    },
  };
}

function jsonSchema(name: string, schema: z.ZodTypeAny): Schema {
  const { $schema: _, ...result } = zodToJsonSchema(schema, {
    $refStrategy: "none",
    effectStrategy: "input",
    removeAdditionalStrategy: "strict", // unknown keys are ignored, so they are allowed
  }) as Record<string, unknown>;
  // What a wrong version of zod would give, silently.
  if (Object.keys(result).length === 0) {
    throw new PodError("internal", `no schema came out for \`${name}\``);
  }
  return result;
}

function eventSchema(name: string, schema: z.ZodTypeAny): Schema {
  const isBare = schema.isOptional();
  return {
    title: name,
    type: "object",
    properties: {
      event: { const: name },
      ...(isBare ? {} : { data: jsonSchema(name, schema) }),
    },
    required: isBare ? ["event"] : ["event", "data"],
  };
}
