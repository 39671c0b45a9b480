/**
 * Which layer wrote each key of a merged model table, by the same rules as the merge. A key
 * that may only go where its user sent it needs to know whose wish a host is (FIX 3). Pure.
 */
import type { LoadedLayer } from "./load.ts";
import { lineFinder } from "./locate.ts";
import type { ModelTable } from "./model-table.ts";

/** Who wrote a key. */
interface ModelAuthor {
  /** False for a project's manifest: it comes with a directory, perhaps a stranger's. */
  readonly trusted: boolean;
  /** `file:line`, or what stands for it. */
  readonly where: string;
}
/** The author of every key that some layer wrote. */
export type ModelAuthors = { readonly [Key in keyof ModelTable]?: ModelAuthor };

/** Tables that say a model: the Pod's own, and the summariser's. */
type ModelPlace = "model" | "compaction.model";

/** Layers without a file; the others have one. */
const WORDS: Readonly<Record<LoadedLayer["kind"], string>> = {
  builtin: "built in",
  user: "the user layer",
  project: "the project layer",
  manifest: "the manifest layer",
  overlay: "the overlay layer",
  options: "--model",
};

/** The authors of the table at `place` in the merge of `layers`, which go from low to high. */
export function modelAuthors(layers: readonly LoadedLayer[], place: ModelPlace): ModelAuthors {
  return layers.reduce((below: ModelAuthors, { layer, kind, text, file }) => {
    const table = place === "model" ? layer.model : layer.compaction?.model;
    if (table === undefined) return below;
    const lineOf = text === undefined ? undefined : lineFinder(text);
    const written = Object.keys(table).map((key) => {
      const line = lineOf?.([...place.split("."), key]) ?? 1;
      const where = file === undefined ? WORDS[kind] : `${file}:${line}`;
      return [key, { trusted: kind !== "project", where }] as const;
    });
    const own: ModelAuthors = Object.fromEntries(written);
    // As in the merge: who says which model it is discards what the layers below said.
    return table.ref !== undefined || table.scheme !== undefined ? own : { ...below, ...own };
  }, {});
}
