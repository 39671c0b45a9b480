/** The manifest that `pod init` writes, from what was found. Pure; the text is a valid layer. */
import { dirname } from "node:path";
import type { Findings } from "./look.ts";

/** Most rules for secrets; how many more there are is said. */
const MAX_RULES = 200;

/**
 * Which secrets get a rule, a crowded directory one for all that is in it, and which get none: those
 * that are too many, and those with a name that is no text and so cannot be written.
 */
export function planOf({ secrets, crowded }: Pick<Findings, "secrets" | "crowded">): {
  readonly denied: readonly string[];
  readonly left: readonly string[];
} {
  const isText = (path: string): boolean => !path.includes("\ufffd");
  const whole = new Set(crowded.filter(isText));
  const single = secrets.filter((path) => !whole.has(dirname(path)));
  const wanted = [...whole, ...single.filter(isText)];
  return {
    denied: wanted.slice(0, MAX_RULES),
    left: [...wanted.slice(MAX_RULES), ...single.filter((path) => !isText(path))],
  };
}

/** The file's text. */
export function renderInitialManifest(found: Findings): string {
  const { languages, tests } = found;
  const kind = languages.length === 0 ? "" : ` (${languages.join(", ")})`;
  const { denied, left } = planOf(found);
  return `# Configuration of the agents that work in this project${kind}. Relative paths start from the
# project's root. All keys: docs/manifest.md, or \`pod schema manifest\`. For completion in an editor:
#   pod schema manifest > .insomnia/manifest.schema.json     and as the first line of this file:
#   #:schema ./manifest.schema.json
# What holds in the end, and where it comes from: pod config --show-origin.   Is it right: pod check.

# [pod]
# name = "lead"        # \`pod run\` makes one from the directory's name; two Pods cannot share one

[model]
# ref = "anthropic/claude-sonnet-4-6"    # \`provider/model\`; the key is in INSOMNIA_API_KEY_ANTHROPIC

[worker]
# instruction = "$workspace/lead"        # .insomnia/prompts/lead.md instead of the built-in prompt
# max_turns = 100                        # model requests per run
${testHints(tests)}
# What agents may touch. \`write\` implies \`read\`. A child gets a part of this, never more.
[[scope.allow]]
target = "."
permission = "write"

# Agents do not change their own configuration.
[[scope.deny]]
target = ".insomnia"
permission = "write"
${secretRules(denied, left.length)}
# [compaction]                # shortening of long conversations; the section's presence turns it on
# compact_threshold = 120000  # tokens

# [limits]
# max_depth = 4               # levels of Pods below the one you start
# max_children = 16           # live children of one Pod
`;
}

function testHints(tests: readonly string[]): string {
  if (tests.length === 0) return "";
  const commands = tests.map((command) => `#   ${oneLine(command)}\n`).join("");
  return `
# How the tests seem to be run. Agents learn it from AGENTS.md: write it there.
${commands}`;
}

function secretRules(denied: readonly string[], left: number): string {
  if (denied.length + left === 0) {
    return `
# No file here looks like a secret. A rule for one: \`read\` denies both, reading and writing.
# [[scope.deny]]
# target = ".env"
# permission = "read"
`;
  }
  const rules = denied.map(
    (path) => `[[scope.deny]]\ntarget = ${quoted(path)}\npermission = "read"\n`,
  );
  const more =
    left === 0
      ? ""
      : `# ${left} more look like secrets and are NOT denied: move them into a directory and deny that.\n`;
  return `
# These look like secrets: no agent reads them.
${rules.join("\n")}${more}`;
}

/** A string of TOML, which has the escapes of JSON and wants one more. */
const quoted = (text: string): string => JSON.stringify(text).replaceAll("\u007f", "\\u007f");

const oneLine = (text: string): string => text.replace(/[\u0000-\u001f\u007f]/g, " ");
