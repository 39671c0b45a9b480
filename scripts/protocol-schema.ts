/**
 * Writes `docs/protocol.schema.json` from the schemas that the program itself decodes with:
 * `bun run docs`, or with `--check` says whether the file is
 * up to date (exit 1 when not). `test/protocol/schema.test.ts` does the latter.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { protocolJsonSchema } from "../src/protocol/json-schema.ts";

const SCHEMA_FILE = join(import.meta.dir, "../docs/protocol.schema.json");

/** The document as text. */
function protocolSchema(): string {
  return `${JSON.stringify(protocolJsonSchema(), null, 2)}\n`;
}

/** True when the file says what the schemas say; its layout is the formatter's. */
export function isCurrent(): boolean {
  const file: unknown = JSON.parse(readFileSync(SCHEMA_FILE, "utf8"));
  return Bun.deepEquals(file, JSON.parse(protocolSchema()));
}

if (import.meta.main) {
  if (!process.argv.includes("--check")) writeFileSync(SCHEMA_FILE, protocolSchema());
  else if (!isCurrent()) {
    console.error("docs/protocol.schema.json is stale; run: bun run docs");
    process.exit(1);
  }
}
