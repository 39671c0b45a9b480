/** `pod schema`: the formats that other programs may rely on, as JSON Schema. One table. */
import { EXIT, PodError } from "../base/errors.ts";
import { printable } from "../base/text.ts";
import { manifestJsonSchema } from "../manifest/json-schema.ts";
import { protocolJsonSchema } from "../protocol/json-schema.ts";
import type { Streams } from "./output.ts";

interface Entry {
  readonly description: string;
  readonly make: () => unknown;
}

const SCHEMAS: Readonly<Record<string, Entry>> = {
  manifest: {
    description: "one manifest file (TOML); editors: #:schema ./manifest.schema.json",
    make: manifestJsonSchema,
  },
  protocol: {
    description: "methods and events of a Pod's socket, one JSON value a line",
    make: protocolJsonSchema,
  },
};

/** Prints the schema called `name`, or the names of all. Throws `usage` for an unknown one. */
export function printSchema(name: string | undefined, { out }: Streams): number {
  if (name === undefined) {
    const width = Math.max(...Object.keys(SCHEMAS).map((key) => key.length));
    for (const [key, { description }] of Object.entries(SCHEMAS)) {
      out.write(`${key.padEnd(width)}  ${description}\n`);
    }
    return EXIT.done;
  }
  const entry = Object.hasOwn(SCHEMAS, name) ? SCHEMAS[name] : undefined;
  if (entry === undefined) {
    const known = Object.keys(SCHEMAS).join(", ");
    throw new PodError("usage", `there is no schema \`${printable(name)}\` (known: ${known})`);
  }
  out.write(`${JSON.stringify(entry.make(), null, 2)}\n`);
  return EXIT.done;
}
