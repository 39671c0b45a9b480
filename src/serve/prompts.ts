/** The prompts of one Pod: packs read, everything parsed and rendered once before the Pod is registered. */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
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
  const catalog = prepareCatalog(manifest, directories);
  const instruction = prepareInstruction(manifest.worker.instruction, librariesOf(directories));
  await allOf<unknown>([catalog, instruction]);
  return { catalog: await catalog, instruction: await instruction };
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
  const entries = await allOf(packs.map((path) => readPromptPack(path, PROMPT_KEYS)));
  return await makeCatalog(entries.flat(), librariesOf(directories));
}

/** Like `Promise.all`, but it waits for every one, and its error tells all that is wrong. */
async function allOf<Value>(work: readonly Promise<Value>[]): Promise<Value[]> {
  const settled = await Promise.allSettled(work);
  const errors = settled.flatMap((it): unknown[] => (it.status === "rejected" ? [it.reason] : []));
  if (errors.length > 1) {
    const code = errors.find((error) => isPodError(error))?.code ?? "internal";
    throw new PodError(code, errors.map(textOf).join(";\n"), { cause: errors[0] });
  }
  return await Promise.all(work);
}

/** Line breaks stay: they keep problems apart. */
const textOf = (error: unknown): string => (isPodError(error) ? error.message : messageOf(error));

/** Directories behind `$user` and `$workspace`. */
export function librariesOf({ user, workspace }: PromptDirectories): PromptLibraries {
  return {
    ...(user === undefined ? {} : { user }),
    ...(workspace === undefined ? {} : { workspace }),
  };
}
