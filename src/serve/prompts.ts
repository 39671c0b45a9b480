/** The prompts of one Pod: packs read, everything parsed and rendered once before the Pod is registered. */
import type { PromptDirectories } from "../manifest/discover.ts";
import { readPromptPack } from "../manifest/pack-file.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { PromptLibraries } from "../prompts/library.ts";
import { makeCatalog, PROMPT_KEYS, type PromptCatalog } from "../prompts/pack.ts";
import { prepareInstruction } from "../prompts/system.ts";
import type { Template } from "../prompts/template.ts";

/** What a Pod says to its model besides the conversation. */
export interface Prompts {
  readonly instruction: Template;
  readonly catalog: PromptCatalog;
}

/** Reads and checks all prompts; throws errors with the file and line of what is wrong. */
export async function preparePrompts(
  manifest: Manifest,
  directories: PromptDirectories,
): Promise<Prompts> {
  return {
    catalog: await prepareCatalog(manifest, directories),
    instruction: await prepareInstruction(manifest.worker.instruction, librariesOf(directories)),
  };
}

/** The short texts, from the packs that there are. */
export async function prepareCatalog(
  { pod }: Manifest,
  directories: PromptDirectories,
): Promise<PromptCatalog> {
  const packs = [
    ...(directories.packs ?? []),
    ...(pod.prompt_pack === undefined ? [] : [pod.prompt_pack]),
  ];
  const entries = await Promise.all(packs.map((path) => readPromptPack(path, PROMPT_KEYS)));
  return await makeCatalog(entries.flat(), librariesOf(directories));
}

/** Directories behind `$user` and `$workspace`. */
export function librariesOf({ user, workspace }: PromptDirectories): PromptLibraries {
  return {
    ...(user === undefined ? {} : { user }),
    ...(workspace === undefined ? {} : { workspace }),
  };
}
