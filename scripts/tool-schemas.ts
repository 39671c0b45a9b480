/**
 * The input schemas of a Pod's tools as a model is told them, for `build.ts` to put into the program
 * (`src/tools/prepared-schemas.ts` says why). A tool that is missing here works all the same, only its
 * Pod starts later.
 */
import type { z } from "zod/v3";
import type { JsonObjectSchema } from "../src/model/model.ts";
import { listInputSchema, stopInputSchema } from "../src/spawn/control-tools.ts";
import { spawnInputSchema } from "../src/spawn/plan.ts";
import { readInputSchema, sendInputSchema } from "../src/spawn/talk-tools.ts";
import { editSchema } from "../src/tools/edit.ts";
import { globSchema } from "../src/tools/glob.ts";
import { grepSchema } from "../src/tools/grep-input.ts";
import { readSchema } from "../src/tools/read.ts";
import { bashSchema, idSchema } from "../src/tools/shell/bash.ts";
import { toObjectSchema } from "../src/tools/tool.ts";
import { writeSchema } from "../src/tools/write.ts";

const INPUTS: Readonly<Record<string, () => z.ZodTypeAny>> = {
  Bash: bashSchema,
  BashOutput: idSchema,
  Edit: editSchema,
  Glob: globSchema,
  Grep: grepSchema,
  KillBash: idSchema,
  ListPods: listInputSchema,
  Read: readSchema,
  ReadPodOutput: readInputSchema,
  SendToPod: sendInputSchema,
  SpawnPod: spawnInputSchema,
  StopPod: stopInputSchema,
  Write: writeSchema,
};

/** Each tool's schema by the tool's name. */
export function toolSchemas(): Record<string, JsonObjectSchema> {
  return Object.fromEntries(
    Object.entries(INPUTS).map(([name, schema]) => [name, toObjectSchema(name, schema())]),
  );
}
