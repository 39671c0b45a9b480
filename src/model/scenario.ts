/**
 * Scenario files: what a scripted model answers (format: docs/scripted-model.md). Reads, checks and
 * explains; `script.ts` plays. A mistake is found when the file is loaded and is reported with file,
 * key and, for TOML, line.
 */
import { extname } from "node:path";
import { z } from "zod/v3";
import { ioError, messageOf, PodError } from "../base/errors.ts";
import { readRegularFile } from "../base/files.ts";
import { isObject } from "./failure.ts";

/** A scenario is written by hand or generated for a test; more than this is a mistake. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
/** Longest delay: the longest wait that makes sense in a test or a demonstration. */
const MAX_DELAY_MS = 60 * 60 * 1000;

const delay = z.number().int().min(0).max(MAX_DELAY_MS);
const tokens = z.number().int().min(0);

const RuleSchema = z
  .object({
    /** Glob on the Pod's name. */
    pod: z.string().default("*"),
    /** Regular expression (flag `m`) on the newest input; absent means any input. */
    match: z.string().optional(),
    /** The rule does not apply to input that this matches. */
    not_match: z.string().optional(),
    /** How often the rule may be used in this process. */
    times: z.number().int().min(1).optional(),
    /** Wait before the first token, in milliseconds. */
    delay_ms: delay.default(0),
    /** Answer text; `""` is a silent answer. */
    text: z.string().optional(),
    /** Wait between two words of `text`. */
    chunk_delay_ms: delay.default(0),
    /** Tool calls after the text. */
    calls: z
      .array(
        z
          .object({ tool: z.string().min(1), input: z.record(z.string(), z.unknown()).default({}) })
          .strict(),
      )
      .optional(),
    /** Ends the answer, after the text if there is one, as a failed request with this message. */
    error: z.string().min(1).optional(),
    usage: z
      .object({
        input: tokens.optional(),
        output: tokens.optional(),
        cache_read: tokens.optional(),
        cache_write: tokens.optional(),
      })
      .strict()
      .optional(),
  })
  .strict();

const ScenarioSchema = z.object({ rules: z.array(RuleSchema).min(1) }).strict();

/** A rule as written, with its patterns compiled. */
export interface Rule extends z.infer<typeof RuleSchema> {
  readonly pattern: RegExp | undefined;
  readonly exclusion: RegExp | undefined;
}

/** A scenario file that has been checked. */
interface Scenario {
  readonly path: string;
  readonly rules: readonly Rule[];
}

/**
 * Loads a scenario, `.json` or `.toml` by extension. Throws `io` when it cannot be read and
 * `invalid_manifest` with every mistake found.
 */
export async function loadScenario(path: string): Promise<Scenario> {
  const text = readText(path);
  const toml = extname(path).toLowerCase() === ".toml";
  const parsed = ScenarioSchema.safeParse(await parse(path, text, toml));
  const line = (keys: readonly (string | number)[]): string => {
    const found = toml ? tomlLine(text, keys) : undefined;
    return found === undefined ? "" : `:${found}`;
  };
  const report = (keys: readonly (string | number)[], problem: string): string =>
    `${path}${line(keys)}: ${keys.length === 0 ? "" : `${keyPath(keys)}: `}${problem}`;
  if (!parsed.success) {
    throw new PodError("invalid_manifest", parsed.error.issues.flatMap(issues(report)).join("; "));
  }
  const problems: string[] = [];
  const rules = parsed.data.rules.map((rule, index): Rule => {
    const found = (key: string, problem: string): void =>
      void problems.push(report(["rules", index, key], problem));
    const pattern = compile(rule.match, (problem) => found("match", problem));
    const exclusion = compile(rule.not_match, (problem) => found("not_match", problem));
    checkAnswer(rule, found);
    checkReferences(rule, pattern, found);
    return { ...rule, pattern, exclusion };
  });
  if (problems.length > 0) throw new PodError("invalid_manifest", problems.join("; "));
  return { path, rules };
}

function readText(path: string): string {
  try {
    return new TextDecoder().decode(readRegularFile(path, MAX_FILE_BYTES));
  } catch (error) {
    throw ioError(`cannot read scenario ${path}`, error);
  }
}

async function parse(path: string, text: string, toml: boolean): Promise<unknown> {
  if (!toml) {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new PodError("invalid_manifest", `${path}: not valid JSON: ${messageOf(error)}`);
    }
  }
  const { parse: parseToml } = await import("smol-toml");
  try {
    return parseToml(text);
  } catch (error) {
    const position = isObject(error) && typeof error.line === "number" ? `:${error.line}` : "";
    const problem = (error instanceof Error ? error.message : String(error)).split("\n")[0];
    throw new PodError("invalid_manifest", `${path}${position}: ${problem}`);
  }
}

type Report = (keys: readonly (string | number)[], problem: string) => string;

/** Unknown keys are reported one by one, where they stand. */
function issues(report: Report): (issue: z.ZodIssue) => string[] {
  return (issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => report([...issue.path, key], "unknown key"))
      : [report(issue.path, issue.message === "Required" ? "missing" : issue.message)];
}

function compile(source: string | undefined, found: (p: string) => void): RegExp | undefined {
  if (source === undefined) return undefined;
  try {
    return new RegExp(source, "m");
  } catch (error) {
    found(messageOf(error));
    return undefined;
  }
}

type Found = (key: string, problem: string) => void;

function checkAnswer(rule: z.infer<typeof RuleSchema>, found: Found): void {
  const hasCalls = rule.calls !== undefined && rule.calls.length > 0;
  if (rule.text === undefined && !hasCalls && rule.error === undefined) {
    found("text", "a rule answers with text, calls or error; this one has none of them");
  }
  if (hasCalls && rule.error !== undefined) {
    found("error", "an answer that fails cannot have calls");
  }
}

/** A reference to a group that `match` does not have is a mistake; `$$` writes a dollar sign. */
function checkReferences(
  rule: z.infer<typeof RuleSchema>,
  pattern: RegExp | undefined,
  found: Found,
): void {
  const groups = groupsOf(pattern);
  const check = (key: string, text: string): void => {
    for (const reference of text.matchAll(REFERENCE)) {
      const { number, name } = reference.groups ?? {};
      const known =
        number !== undefined
          ? Number(number) <= groups.count
          : name === undefined || groups.names.includes(name);
      if (!known)
        found(key, `${reference[0]}: match has no such group; write $$ for a dollar sign`);
    }
  };
  if (rule.text !== undefined) check("text", rule.text);
  for (const text of stringsIn(rule.calls ?? [])) check("calls", text);
}

function groupsOf(pattern: RegExp | undefined): { count: number; names: readonly string[] } {
  if (pattern === undefined) return { count: 0, names: [] };
  // An alternative that matches nothing shows how many groups there are.
  const all = new RegExp(`${pattern.source}|`, pattern.flags).exec("");
  return { count: (all?.length ?? 1) - 1, names: Object.keys(all?.groups ?? {}) };
}

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (!isObject(value)) return [];
  return Object.values(value).flatMap(stringsIn);
}

/** `$1`…`$9`, `$<name>`, `$$`, `{pod}`, `{scenario_dir}`. */
const REFERENCE = /\$(?:\$|(?<number>[1-9])|<(?<name>\w+)>)|\{(?<word>pod|scenario_dir)\}/g;

/** What the references in an answer stand for. */
export interface Substitutes {
  readonly match: RegExpExecArray | undefined;
  readonly pod: string;
  readonly scenarioDirectory: string;
}

/** `text` with its references replaced; a group that took no part in the match is empty. */
export function substitute(text: string, substitutes: Substitutes): string {
  const { match } = substitutes;
  return text.replace(REFERENCE, (...parts) => {
    const { number, name, word } = parts.at(-1) as Record<string, string | undefined>;
    if (number !== undefined) return match?.[Number(number)] ?? "";
    if (name !== undefined) return match?.groups?.[name] ?? "";
    if (word === undefined) return "$";
    return word === "pod" ? substitutes.pod : substitutes.scenarioDirectory;
  });
}

/** `substitute` for every string in a value, at any depth; keys stay. */
export function substituteDeep(value: unknown, substitutes: Substitutes): unknown {
  if (typeof value === "string") return substitute(value, substitutes);
  if (Array.isArray(value)) return value.map((entry) => substituteDeep(entry, substitutes));
  if (!isObject(value) || value instanceof Date) return value; // a TOML date is written as text
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, substituteDeep(entry, substitutes)]),
  );
}

function keyPath(keys: readonly (string | number)[]): string {
  return keys
    .map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`))
    .join("");
}

/**
 * Line of a key in a TOML text, found by its table headers; the nearest enclosing header when the
 * key itself is not on a line of its own. Good for people, not a parser.
 */
function tomlLine(text: string, keys: readonly (string | number)[]): number | undefined {
  const lines = text.split("\n");
  const isHeader = (line: string, name: string): boolean =>
    new RegExp(`^\\s*\\[\\[?\\s*${name.replaceAll(".", "\\s*\\.\\s*")}\\s*\\]`).test(line);
  let name = "";
  let at: number | undefined;
  let end = lines.length;
  for (const key of keys) {
    const from: number = at === undefined ? 0 : at + 1;
    if (typeof key === "number") {
      const headers = lines.flatMap((line, i) =>
        i >= from - 1 && i < end && isHeader(line, name) ? [i] : [],
      );
      at = headers[key] ?? at;
      end = headers[key + 1] ?? end;
    } else {
      name = name === "" ? key : `${name}.${key}`;
      const own = new RegExp(`^\\s*"?${RegExp.escape(key)}"?\\s*[=.]`);
      const found = lines.findIndex(
        (line, i) => i >= from && i < end && (own.test(line) || isHeader(line, name)),
      );
      if (found !== -1) at = found;
    }
  }
  return at === undefined ? undefined : at + 1;
}
