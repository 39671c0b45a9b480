/**
 * Input schemas of tools in the form that a model is told, made when the program is built: making them
 * takes a zod object for every field, 3 ms in every Pod before its first request. Only the built program
 * has them (`build.ts`); run from source, each tool converts its own. They are found by the tool's name
 * alone, so no two tools of the program have one name: `test/serve/prepared-schemas.test.ts`.
 */
import { lazily } from "../base/lazy.ts";
import type { JsonObjectSchema } from "../model/model.ts";

/** JSON of a `Record` from the tool's name to its schema; `build.ts` puts it here. */
declare const POD_TOOL_SCHEMAS: string;

const prepared = lazily(() =>
  typeof POD_TOOL_SCHEMAS === "string"
    ? (JSON.parse(POD_TOOL_SCHEMAS) as Readonly<Record<string, JsonObjectSchema>>)
    : {},
);

/** The schema of the tool of this name, if it was prepared; it is what the tool's own would become. */
export function preparedSchema(name: string): JsonObjectSchema | undefined {
  return Object.hasOwn(prepared(), name) ? prepared()[name] : undefined;
}
