/**
 * Where a template comes from and how names inside it are understood: an asset of a library, with
 * bare names beside it (spec manifest 6.2). Other origins, such as packs, have the same shape.
 */
import { loadAsset, type PromptLibraries } from "./library.ts";
import { parseReference, type PromptReference, qualifiedName } from "./reference.ts";

/** A template's text with its surroundings. */
export interface TemplateOrigin {
  /** Unique among the templates of one graph. */
  readonly key: string;
  /** File or name, as messages show it before the line. */
  readonly label: string;
  readonly text: string;
  /** The template that `name` means inside this one; throws `PodError`s that say what is wrong. */
  resolve(name: string): TemplateOrigin;
}

/** The asset `reference`; throws what `loadAsset` throws. */
export function assetOrigin(
  reference: PromptReference,
  libraries: PromptLibraries,
): TemplateOrigin {
  return {
    key: qualifiedName(reference),
    ...loadAsset(reference, libraries),
    resolve: (name) => assetOrigin(parseReference(name, reference), libraries),
  };
}
