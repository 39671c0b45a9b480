/** The `Grep` tool as the model sees it (spec worker-and-tools 3.8); its work is loaded at the first call. */
import { type GrepDependencies, grepSchema } from "./grep-input.ts";
import { defineTool, type Tool } from "./tool.ts";

const DESCRIPTION = `Searches the content of files with a regular expression. Prefer it to grep in a shell.

- By default it lists the files that match, sorted by path; output_mode "content" shows the lines, "count" how many there are in each file.
- Patterns have the syntax of RE2: \\d \\w \\s \\b (ASCII only; \\pL is any letter), [a-z], (a|b), (?:x), {2,5}, lazy quantifiers, (?i), \\p{Greek}, but no look-around and no back-references. A brace in code needs no backslash. A pattern sees one line at a time unless multiline is set.
- Left out are hidden files, binary files, and in a git repository what git ignores. A file that glob names is searched all the same, and so is whatever path itself names, unless it is binary.
- Narrow with path, glob (compared with the path below the directory searched; without a slash it means the file name) or type.
- At most 250 results are shown: raise head_limit or use offset for more. Files that cannot be read, or have lines too long to search (of about a million characters; with multiline, the whole file), are passed over and counted.`;

/** Makes `Grep`. */
export function grepTool(dependencies: GrepDependencies): Tool {
  return defineTool({
    name: "Grep",
    description: DESCRIPTION,
    schema: grepSchema,
    async execute(input, { signal }) {
      const { grep } = await import("./grep-run.ts");
      return await grep(dependencies, input, signal);
    },
  });
}
