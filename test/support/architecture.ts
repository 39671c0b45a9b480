/**
 * The rules of AGENTS.md about the source tree: layers, cycles, restricted imports and globals,
 * sizes and names of files. Sources are read as tokens, so that type imports count (they vanish
 * before Bun's own scan) and comments and strings do not. Pure; `test/arch.test.ts` applies it.
 */
import { posix } from "node:path";

/** Lines that a file may have, wherever it is. */
export const MAX_LINES = 400;

/** Layer of a folder or of a root file below `src`; a name that is not here has no place. */
const LAYERS: Readonly<Record<string, number>> = {
  base: 0,
  scope: 1,
  protocol: 1.5,
  transport: 2,
  registry: 2,
  manifest: 2,
  session: 2,
  model: 2,
  prompts: 2,
  sandbox: 2,
  tools: 3,
  worker: 4,
  controller: 5,
  spawn: 5,
  serve: 6,
  cli: 7,
  "main.ts": 8,
};

/** Packages with a home: the only places that may import them. */
const HOMES: readonly { readonly module: RegExp; readonly only: readonly string[] }[] = [
  { module: /^(ai|@ai-sdk\/.+)$/, only: ["model/"] },
  { module: /^minijinja-js\//, only: ["prompts/engine.ts"] },
  { module: /^bun:ffi$/, only: ["base/libc.ts"] },
  {
    module: /^zod-to-json-schema$/,
    only: ["tools/tool.ts", "manifest/", "protocol/json-schema.ts"],
  },
  { module: /^zod(?!\/v3$|-)/, only: [] },
  { module: /^(node:)?process$/, only: [] },
];

/** Globals with a home; the pattern meets tokens joined without blanks. */
const GLOBALS: readonly { readonly use: RegExp; readonly only: readonly string[] }[] = [
  { use: /^(process|Bun|import\.meta)\.env$/, only: ["main.ts", "serve/", "base/"] },
  { use: /^process\.exit$/, only: ["main.ts", "serve/", "base/"] },
  { use: /^process\[/, only: [] },
  { use: /^console\./, only: ["cli/", "main.ts"] },
  { use: /^(process|Bun)\.(stdout|stderr)$/, only: ["cli/", "main.ts"] },
];

/** Files of `model/` and `tools/` that the worker may know: it gets models and tools as arguments. */
const WORKER_MAY_IMPORT = ["model/model.ts", "tools/tool.ts"];

/** Source texts by their path below `src`. */
export type Sources = ReadonlyMap<string, string>;

interface Token {
  readonly kind: "word" | "string" | "mark";
  readonly text: string;
  readonly line: number;
}

const WORD = /[\p{ID_Continue}$#@]+/uy;
const BEFORE_REGEX = /^(return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)$/;

/** The tokens of a source; comments, template text and regular expressions are left out. */
export function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  /** Open braces: true where the closing one continues a template. */
  const braces: boolean[] = [];
  let at = 0;
  let line = 1;
  const add = (kind: Token["kind"], text: string): void => void tokens.push({ kind, text, line });
  const skipTo = (end: number): void => {
    line += source.slice(at, end).split("\n").length - 1;
    at = end;
  };
  const template = (): void => {
    let end = at;
    while (end < source.length && source[end] !== "`" && !source.startsWith("${", end)) {
      end += source[end] === "\\" ? 2 : 1;
    }
    const inner = source[end] === "$";
    if (inner) braces.push(true);
    skipTo(end + (inner ? 2 : 1));
  };
  const closing = (quote: RegExp): number => {
    quote.lastIndex = at;
    return quote.test(source) ? quote.lastIndex : source.length;
  };
  while (at < source.length) {
    const character = source[at] ?? "";
    if (/\s/.test(character)) skipTo(at + 1);
    else if (source.startsWith("//", at)) skipTo(closing(/[^\n]*/y));
    else if (source.startsWith("/*", at)) skipTo(closing(/\/\*[^]*?\*\//y));
    else if (character === '"' || character === "'") {
      const end = closing(character === '"' ? /"(?:[^"\\]|\\.)*"/sy : /'(?:[^'\\]|\\.)*'/sy);
      add("string", source.slice(at + 1, end - 1));
      skipTo(end);
    } else if (character === "`") {
      add("mark", "`");
      skipTo(at + 1);
      template();
    } else if (character === "/" && regexMayFollow(tokens.at(-1))) {
      add("mark", "/re/");
      skipTo(closing(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y));
    } else if (isWordAt(source, at)) {
      const end = closing(WORD);
      add("word", source.slice(at, end));
      skipTo(end);
    } else {
      if (character === "{") braces.push(false);
      if (character === "}" && braces.pop() === true) {
        skipTo(at + 1);
        template();
        continue;
      }
      add("mark", character);
      skipTo(at + 1);
    }
  }
  return tokens;
}

function isWordAt(source: string, at: number): boolean {
  WORD.lastIndex = at;
  return WORD.test(source);
}

function regexMayFollow(previous: Token | undefined): boolean {
  if (previous === undefined) return true;
  if (previous.kind === "word") return BEFORE_REGEX.test(previous.text);
  return previous.kind === "mark" && !/^[)\]}`]$|^\/re\/$/.test(previous.text);
}

interface Import {
  /** What is imported; undefined when it is computed. */
  readonly module: string | undefined;
  readonly line: number;
}

/** Every import of a source: static, type, side effect, re-export, dynamic, `require`. */
export function importsOf(tokens: readonly Token[]): Import[] {
  const imports: Import[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== "word" || tokens[index - 1]?.text === ".") continue;
    const next = tokens[index + 1];
    const { line } = token;
    const called = next?.kind === "mark" && next.text === "(";
    if ((token.text === "import" || token.text === "require") && called) {
      const argument = tokens[index + 2];
      imports.push({ module: argument?.kind === "string" ? argument.text : undefined, line });
    } else if (token.text === "import" && next?.kind === "string") {
      imports.push({ module: next.text, line });
    } else if (token.text === "import" && next !== undefined && /^[\w$*{]/.test(next.text)) {
      const module = moduleAfterFrom(tokens, index + 1);
      if (module !== undefined) imports.push({ module, line });
    } else if (token.text === "export" && /^(type|\*|\{)$/.test(next?.text ?? "")) {
      const module = moduleAfterFrom(tokens, index + 1);
      if (module !== undefined) imports.push({ module, line });
    }
  }
  return imports;
}

/** The string after the `from` of an import or export clause that begins at `start`. */
function moduleAfterFrom(tokens: readonly Token[], start: number): string | undefined {
  let depth = 0;
  for (let index = start; index < tokens.length; index += 1) {
    const { kind, text } = tokens[index] ?? { kind: "mark", text: ";" };
    if (kind === "mark" && text === "{") depth += 1;
    else if (kind === "mark" && text === "}") depth -= 1;
    else if (depth > 0) continue;
    else if (kind === "word" && text === "from") {
      const module = tokens[index + 1];
      return module?.kind === "string" ? module.text : undefined;
    } else if (kind === "word" ? /^(import|export)$/.test(text) : !/^[*,]$/.test(text)) {
      return undefined; // the clause is over: `export type X = …`, `export { a };`
    }
  }
  return undefined;
}

/** Uses of globals as `object.member`, `object[` or `import.meta.member`. */
function globalsOf(tokens: readonly Token[]): { use: string; line: number }[] {
  const uses: { use: string; line: number }[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== "word" || tokens[index - 1]?.text === ".") continue;
    const rest = tokens
      .slice(index + 1, index + 5)
      .map((part) => part.text)
      .join("")
      .replace(/^\?\./, ".");
    const member = /^\.meta\.\w+|^\.\w+|^\[/.exec(rest)?.[0] ?? "";
    // `const { env } = process` would get around the rules.
    const takenApart = tokens[index - 1]?.text === "=" && tokens[index - 2]?.text === "}";
    const bare = token.text === "process" && takenApart && member === "";
    uses.push({ use: token.text + (bare ? "[" : member), line: token.line });
  }
  return uses;
}

const unitOf = (file: string): string => file.split("/")[0] ?? file;
const isAt = (file: string, places: readonly string[]): boolean =>
  places.some((place) => (place.endsWith("/") ? file.startsWith(place) : file === place));

/** Every file that is too long, as `file:line: what is wrong`; for sources of any place. */
export function overlong(sources: Sources): string[] {
  return [...sources].flatMap(([file, source]) => {
    const lines = source.trimEnd().split("\n").length;
    return lines > MAX_LINES ? [`${file}:${lines}: ${lines} lines, at most ${MAX_LINES}`] : [];
  });
}

/** Every other breach of the architecture, as `src/file:line: what is wrong`; paths are relative to `src`. */
export function breaches(sources: Sources): string[] {
  const found: string[] = [];
  const edges = new Map<string, string[]>();
  for (const [file, source] of sources) {
    const say = (line: number, what: string): void =>
      void found.push(`src/${file}:${line}: ${what}`);
    const name = posix.basename(file).replace(/(\.d)?\.ts$/, "");
    if (/^(utils?|index)$/.test(name)) say(1, `a file is not named ${name}`);
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) say(1, "file names are kebab-case");
    if (LAYERS[unitOf(file)] === undefined) say(1, `${unitOf(file)} has no layer`);
    const tokens = tokensOf(source);
    for (const { module, line } of importsOf(tokens)) {
      if (module === undefined) {
        say(line, "import of a computed path");
      } else if (module.startsWith(".")) {
        const target = posix.join(posix.dirname(file), module);
        const what = checkEdge(file, target);
        if (what !== undefined) say(line, what);
        edges.set(file, [...(edges.get(file) ?? []), target]);
      } else {
        for (const home of HOMES) {
          if (home.module.test(module) && !isAt(file, home.only)) {
            say(line, `${module} may be imported ${only(home.only)}`);
          }
        }
      }
    }
    for (const { use, line } of globalsOf(tokens)) {
      const rule = GLOBALS.find((entry) => entry.use.test(use));
      if (rule !== undefined && !isAt(file, rule.only)) {
        say(line, `${use} may be used ${only(rule.only)}`);
      }
    }
  }
  return [...found, ...cycles(edges)];
}

const only = (places: readonly string[]): string =>
  places.length === 0 ? "nowhere" : `only in ${places.join(", ")}`;

function checkEdge(file: string, target: string): string | undefined {
  if (target.startsWith("..")) {
    return target.endsWith("package.json") ? undefined : `${target} is outside src`;
  }
  const [from, to] = [unitOf(file), unitOf(target)];
  if (from === to && file.includes("/")) return undefined;
  if (!((LAYERS[to] ?? Infinity) < (LAYERS[from] ?? -1))) {
    return `${from} must not import ${target}: not a lower layer`;
  }
  if (from === "worker" && ["model", "tools"].includes(to) && !WORKER_MAY_IMPORT.includes(target)) {
    return `worker gets models and tools as arguments; it must not import ${target}`;
  }
  return undefined;
}

/** Import cycles between files, each reported once. */
function cycles(edges: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start >= 0) found.push(`cycle: ${[...path.slice(start), file].join(" -> ")}`);
    if (start >= 0 || done.has(file)) return;
    for (const target of edges.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  return found;
}
