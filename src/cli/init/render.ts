/** The manifest that `pod init` writes, from what was found. Pure; the text is a valid layer. */
import type { Findings } from "./look.ts";

/** Most secrets that get a rule each; more are named in a comment. */
const MAX_RULES = 50;

/** The file's text. */
export function renderInitialManifest({ languages, tests, secrets }: Findings): string {
  const kind = languages.length === 0 ? "" : ` (${languages.join(", ")})`;
  const shown = secrets.slice(0, MAX_RULES);
  const left = secrets.length - shown.length;
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
${secretRules(shown, left)}
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

function secretRules(secrets: readonly string[], left: number): string {
  if (secrets.length === 0) {
    return `
# No file here looks like a secret. A rule for one: \`read\` denies both, reading and writing.
# [[scope.deny]]
# target = ".env"
# permission = "read"
`;
  }
  const rules = secrets.map(
    (path) => `[[scope.deny]]\ntarget = ${JSON.stringify(path)}\npermission = "read"\n`,
  );
  const more =
    left === 0
      ? ""
      : `# … and ${left} more files that look like secrets: deny their directories.\n`;
  return `
# These look like secrets: no agent reads them.
${rules.join("\n")}${more}`;
}

const oneLine = (text: string): string => text.replace(/[\u0000-\u001f\u007f]/g, " ");
