/**
 * The manifest as a JSON Schema for editors (taplo and what builds on it read draft 7), made from the
 * zod schema: nothing is written down twice.
 */
import { zodToJsonSchema } from "zod-to-json-schema";
import { PodError } from "../base/errors.ts";
import { manifestLayerSchema } from "./schema.ts";

/** What `assertPodName` takes; the program asks that function, whose message quotes the name. */
const POD_NAME = "^(?![Pp][Oo][Dd][Ss]\\.)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/** Schema of one manifest file: every key optional, none unknown but `x-…` at the top. */
export function manifestJsonSchema(): Record<string, unknown> {
  const schema = zodToJsonSchema(manifestLayerSchema(), {
    $refStrategy: "none",
    target: "jsonSchema7",
    postProcess: (node, _, { currentPath }) =>
      node !== undefined && currentPath.join(".") === "#.properties.pod.properties.name"
        ? { ...node, pattern: POD_NAME }
        : node,
  }) as Record<string, unknown>;
  // What a wrong version of zod would give, silently.
  if (schema.type !== "object") throw new PodError("internal", "the manifest is no object schema");
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "pod manifest",
    description: "One layer of the configuration of a Pod: user, project or overlay.",
    ...schema,
    patternProperties: { "^x-": { description: "ignored: for other programs" } },
  };
}
