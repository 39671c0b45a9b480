/**
 * Texts of prompt assets: embedded ones, the user's and the project's. There is no fall-through
 * between libraries (spec manifest 6.1). Texts are handed out as they are, unrendered.
 */
import { join } from "node:path";
import { errnoCode, messageOf, PodError } from "../base/errors.ts";
import { readRegularFile } from "../base/files.ts";
import defaultText from "./assets/default.md" with { type: "text" };
import compactSystemText from "./assets/internal/compact_system.md" with { type: "text" };
import toolUsageText from "./assets/common/tool-usage.md" with { type: "text" };
import workspaceText from "./assets/common/workspace.md" with { type: "text" };
import { type PromptReference, qualifiedName } from "./reference.ts";

/** Directories behind `$user` and `$workspace`; absent: that prefix is not configured. Without links. */
export interface PromptLibraries {
  readonly user?: string;
  readonly workspace?: string;
}

/** An asset's text, and what to call it in messages: its file, or its name when it is embedded. */
interface PromptAsset {
  readonly label: string;
  readonly text: string;
}

const EMBEDDED: ReadonlyMap<string, string> = new Map([
  ["default", defaultText],
  ["common/workspace", workspaceText],
  ["common/tool-usage", toolUsageText],
  ["internal/compact_system", compactSystemText],
]);

/** The names of all embedded assets, as `$insomnia/…`. */
export function embeddedAssets(): string[] {
  return [...EMBEDDED.keys()].map((path) => qualifiedName({ prefix: "insomnia", path }));
}

/**
 * Loads an asset. Throws `invalid_argument` when the library is not configured or has no such
 * asset, `io` when it cannot be read, with the texts of spec manifest 6.1.
 */
export function loadAsset(reference: PromptReference, libraries: PromptLibraries): PromptAsset {
  const name = qualifiedName(reference);
  if (reference.prefix === "insomnia") {
    const text = EMBEDDED.get(reference.path);
    if (text === undefined) throw notFound(name);
    return { label: name, text };
  }
  const directory = libraries[reference.prefix];
  if (directory === undefined) {
    throw new PodError(
      "invalid_argument",
      `prompt prefix '$${reference.prefix}' is not configured for this loader`,
    );
  }
  const label = join(directory, `${reference.path}.md`);
  // A project comes with links of its own, and its agents can make some: none may bring another file's
  // text to the model. What the user's own lead to is the user's affair.
  return {
    label,
    text: readText(label, name, reference.prefix === "user" ? undefined : directory),
  };
}

/** Larger than any text for a model. */
const MAX_ASSET_BYTES = 1024 * 1024;

function readText(file: string, name: string, within: string | undefined): string {
  try {
    const bytes = readRegularFile(file, MAX_ASSET_BYTES, within);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    const errno = errnoCode(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") throw notFound(name);
    const reason = errno === "ERR_ENCODING_INVALID_ENCODED_DATA" ? "not valid UTF-8" : undefined;
    throw new PodError(
      "io",
      `failed to read prompt asset '${name}': ${reason ?? messageOf(error)}`,
      { cause: error },
    );
  }
}

const notFound = (name: string): PodError =>
  new PodError("invalid_argument", `prompt asset not found: '${name}'`);
