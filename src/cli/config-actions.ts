/**
 * What the commands about configuration do, as one unit to load: every module that is imported at run
 * time splits the code that it shares with a Pod process into more pieces, and each piece costs every
 * child some of its start.
 */
import { checkConfig } from "./check.ts";
import { showConfig } from "./config.ts";
import { initProject } from "./init/command.ts";
import { printSchema } from "./schema.ts";

/** The commands by name. */
export const configActions = { showConfig, checkConfig, initProject, printSchema } as const;
