/**
 * Which exports nobody imports. A name counts as imported when a file that imports its module has it as
 * a word: coarse, so that a namespace or a dynamic import is never taken for none. Pure.
 */
import { posix } from "node:path";
import { importsOf, type Sources, tokensOf } from "./architecture.ts";

/** An export by its name. */
interface Export {
  readonly name: string;
  readonly line: number;
}

type Tokens = ReturnType<typeof tokensOf>;

/** Words between `export` and the name. */
const DECLARES = /^(declare|abstract|async|function|class|const|let|type|interface|enum)$/;

/** The declarations that a source exports; re-exports and `export default` are none. */
function exportsOf(tokens: Tokens): Export[] {
  const found: Export[] = [];
  for (const [index, { kind, text, line }] of tokens.entries()) {
    if (kind !== "word" || text !== "export" || tokens[index - 1]?.text === ".") continue;
    let at = index + 1;
    while (DECLARES.test(tokens[at]?.text ?? "") || tokens[at]?.text === "*") at += 1;
    const name = tokens[at];
    if (at > index + 1 && name?.kind === "word") found.push({ name: name.text, line });
  }
  return found;
}

/**
 * Exports below `src/` that no other source imports, as `src/file:line: what is wrong`. Paths are
 * relative to the root of the project; what imports may lie anywhere, in tests too.
 */
export function lonelyExports(sources: Sources): string[] {
  const exported = new Map<string, Export[]>();
  const importers = new Map<string, ReadonlySet<string>[]>();
  for (const [file, source] of sources) {
    const tokens = tokensOf(source);
    if (file.startsWith("src/")) exported.set(file, exportsOf(tokens));
    const words = new Set(tokens.filter(({ kind }) => kind === "word").map(({ text }) => text));
    for (const { module } of importsOf(tokens)) {
      if (module?.startsWith(".") !== true) continue;
      const target = posix.join(posix.dirname(file), module);
      importers.set(target, [...(importers.get(target) ?? []), words]);
    }
  }
  return [...exported].flatMap(([file, names]) =>
    names
      .filter(({ name }) => !importers.get(file)?.some((words) => words.has(name)))
      .map(({ name, line }) => `${file}:${line}: ${name} is exported and imported nowhere`),
  );
}
