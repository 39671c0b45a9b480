/**
 * The prompt catalog: short texts that the program itself says to a model, by key, each replaceable
 * by packs (spec manifest 6.5). What packs say is read, parsed and rendered once when the catalog is
 * made, so that a wrong text is known at start-up.
 */
import { isPodError, messageOf, PodError } from "../base/errors.ts";
import type { PromptLibraries } from "./library.ts";
import { INTERRUPT_NOTE, notificationText } from "./notices.ts";
import { assetOrigin, type TemplateOrigin } from "./origin.ts";
import type { TemplateValues } from "./plain.ts";
import { parseReference } from "./reference.ts";
import { prepareOwn, prepareTemplate, type Template } from "./template.ts";

interface BuiltIn {
  readonly text: string;
  readonly inputs: readonly string[];
}

// Other programs look for "interrupted by the user" and for what `notificationText` promises.
const BUILT_IN = {
  compact_system: { text: '{% include "$insomnia/internal/compact_system" %}', inputs: [] },
  notify_wrapper: { text: notificationText("{{ message }}"), inputs: ["message"] },
  interrupt_tool_result_summary: { text: "[Interrupted by user]", inputs: [] },
  interrupt_system_note: { text: INTERRUPT_NOTE, inputs: [] },
  working_boundaries_section: {
    text: "---\n## Working boundaries\n\n{{ scope_summary }}",
    inputs: ["scope_summary"],
  },
  agents_md_section: {
    text: "---\n## Project instructions (AGENTS.md)\n\n{{ agents_md }}",
    inputs: ["agents_md"],
  },
  resident_knowledge_section: {
    text: "---\n## Resident knowledge\n\n{{ entries }}",
    inputs: ["entries"],
  },
} as const satisfies Record<string, BuiltIn>;

/** Names of the texts; the same as in the reference. */
type PromptKey = keyof typeof BUILT_IN;

/** All keys, in the order of the documentation. */
export const PROMPT_KEYS = Object.keys(BUILT_IN) as readonly PromptKey[];

/** The variables that a text gets. */
function inputsOf(key: PromptKey): readonly string[] {
  return BUILT_IN[key].inputs;
}

/** One text of a pack file; `label` says where it stands (`<file>:<line> prompt.<key>`). */
interface PackEntry {
  readonly key: string;
  readonly label: string;
  readonly text: string;
}

/** The texts in force. */
export interface PromptCatalog {
  /** Throws `invalid_argument` with `failed to render prompt '<key>': …`. */
  render(key: PromptKey, values?: TemplateValues): string;
}

/**
 * Makes the catalog from the built-in texts and `entries`, of which later ones win. Throws
 * `invalid_argument` with `failed to compile prompt template '<key>': …` or `failed to render …` for
 * each text that is wrong.
 */
export async function makeCatalog(
  entries: readonly PackEntry[],
  libraries: PromptLibraries,
): Promise<PromptCatalog> {
  const texts = new Map<string, PackEntry>(
    PROMPT_KEYS.map((key) => [key, { key, label: `prompt.${key}`, text: BUILT_IN[key].text }]),
  );
  for (const entry of entries) texts.set(entry.key, entry);
  const origin = (entry: PackEntry): TemplateOrigin => ({
    key: `prompt.${entry.key}`,
    label: entry.label,
    text: entry.text,
    // A bare name is another text of the catalog; everything else needs its library.
    resolve: (name) => {
      const other = texts.get(name.trim());
      return other === undefined ? assetOrigin(parseReference(name), libraries) : origin(other);
    },
  });
  const templates = new Map<PromptKey, Template>();
  const templateOf = (key: PromptKey): Template => {
    const known = templates.get(key);
    if (known !== undefined) return known;
    const own = prepareOwn(origin({ key, label: `prompt.${key}`, text: BUILT_IN[key].text }));
    templates.set(key, own);
    return own;
  };
  const render = (key: PromptKey, values: TemplateValues = {}): string => {
    try {
      return templateOf(key).render(values);
    } catch (error) {
      throw failure(`failed to render prompt '${key}'`, error);
    }
  };
  const problems: PodError[] = [];
  for (const key of PROMPT_KEYS) {
    const entry = texts.get(key);
    // Our own are right as long as our tests are: a Pod without packs parses them when it needs them.
    if (entry === undefined || !entries.includes(entry)) continue;
    try {
      templates.set(key, await prepareTemplate(origin(entry)));
    } catch (error) {
      problems.push(failure(`failed to compile prompt template '${key}'`, error));
      continue;
    }
    try {
      render(key, Object.fromEntries(inputsOf(key).map((name) => [name, name])));
    } catch (error) {
      if (!isPodError(error)) throw error;
      problems.push(error);
    }
  }
  if (problems.length > 0) {
    const text = problems.map(({ message }) => message).join(";\n");
    throw new PodError("invalid_argument", text, { cause: problems[0] });
  }
  return { render };
}

function failure(what: string, error: unknown): PodError {
  return new PodError("invalid_argument", `${what}: ${messageOf(error)}`, { cause: error });
}
