/**
 * What `pod init` finds in a directory: what kind of project it is, how its tests are run, which files
 * look like secrets. Reads names and a few small files; runs nothing; bounded in depth and number.
 */
import { type Dirent, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

/** What was found. Paths of secrets are relative to `root`, sorted. */
export interface Findings {
  /** Absolute; the repository's root, or the directory itself. */
  readonly root: string;
  readonly isRepository: boolean;
  readonly languages: readonly string[];
  /** Commands, as a person would type them. */
  readonly tests: readonly string[];
  /** Files, and directories that count as a whole. */
  readonly secrets: readonly string[];
  /** Directories with many of the secrets and nothing else. */
  readonly crowded: readonly string[];
  readonly hasAgentsMd: boolean;
  /** True when there were too many files to see all. */
  readonly cut: boolean;
}

const MAX_DEPTH = 4;
const MAX_ENTRIES = 20_000;
/** So many secrets in one directory, and nothing else, make it one of secrets. */
const MANY = 8;
const MAX_FILE_BYTES = 256 * 1024;
/** Directories that hold no file of the project itself. */
const SKIPPED = new Set([
  ".git",
  ".hg",
  ".svn",
  "node_modules",
  "target",
  "dist",
  "build",
  "vendor",
  ".venv",
  "venv",
  "__pycache__",
  ".tox",
  ".cache",
  ".next",
  ".gradle",
  "bower_components",
  "Pods",
]);

interface Kind {
  readonly file: RegExp;
  readonly language: string;
  readonly tests: (root: string, names: ReadonlySet<string>) => string | undefined;
}

const none = (): undefined => undefined;
const KINDS: readonly Kind[] = [
  { file: /^tsconfig\.json$/, language: "TypeScript", tests: none },
  { file: /^package\.json$/, language: "JavaScript", tests: packageTests },
  { file: /^deno\.jsonc?$/, language: "TypeScript (Deno)", tests: () => "deno test" },
  { file: /^Cargo\.toml$/, language: "Rust", tests: () => "cargo test" },
  { file: /^go\.mod$/, language: "Go", tests: () => "go test ./..." },
  {
    file: /^(pyproject\.toml|setup\.py|requirements\.txt)$/,
    language: "Python",
    tests: () => "pytest",
  },
  {
    file: /^Gemfile$/,
    language: "Ruby",
    tests: (_, names) => (names.has("spec") ? "bundle exec rspec" : "bundle exec rake test"),
  },
  { file: /^pom\.xml$/, language: "Java", tests: () => "mvn test" },
  {
    file: /^build\.gradle(\.kts)?$/,
    language: "Java or Kotlin",
    tests: (_, names) => (names.has("gradlew") ? "./gradlew test" : "gradle test"),
  },
  { file: /^composer\.json$/, language: "PHP", tests: () => "composer test" },
  { file: /^mix\.exs$/, language: "Elixir", tests: () => "mix test" },
  { file: /^Package\.swift$/, language: "Swift", tests: () => "swift test" },
  { file: /\.(csproj|sln)$/, language: "C#", tests: () => "dotnet test" },
  { file: /^CMakeLists\.txt$/, language: "C or C++", tests: () => "ctest --test-dir build" },
  { file: /^(GNUm|M|m)akefile$/, language: "", tests: makeTests },
  {
    file: /^[Jj]ustfile$/,
    language: "",
    tests: (root, names) =>
      [...names].some(
        (name) => /^justfile$/i.test(name) && /^test\b.*:/m.test(smallText(join(root, name))),
      )
        ? "just test"
        : undefined,
  },
];

/** Names of files that usually hold something nobody else should read. */
const SECRET =
  /^(\.env(\..+)?|\.envrc|.+\.(pem|key|p12|pfx|keystore|jks|kdbx|tfstate)|id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.git-credentials|\.htpasswd|\.pgpass|credentials(\.json)?|secrets?\.(json|ya?ml|toml|ini)|service-account.*\.json)$/is;
/** Names of directories that hold nothing else; `credentials` may be a part of a program. */
const SECRET_DIRECTORY = /^\.(env(\..+)?|ssh|gnupg|aws|secrets?)$/is;
const HARMLESS = /\.(example|sample|template|dist|defaults?)$|\.pub$/i;

/** Looks at the project that `cwd` (absolute) is in. */
export function lookAt(cwd: string): Findings {
  const repository = repositoryOf(cwd);
  const root = repository ?? cwd;
  const names = new Set(entriesOf(root).map(({ name }) => name));
  const kinds = KINDS.filter(({ file }) => [...names].some((name) => file.test(name)));
  const languages = kinds.map(({ language }) => language).filter((language) => language !== "");
  const found = findSecrets(root);
  return {
    root,
    isRepository: repository !== undefined,
    // A project with a tsconfig is one of TypeScript, whatever package.json says.
    languages: languages.filter(
      (name) => name !== "JavaScript" || !languages.includes("TypeScript"),
    ),
    tests: kinds.flatMap(({ tests }) => tests(root, names) ?? []),
    hasAgentsMd: names.has("AGENTS.md"),
    ...found,
  };
}

function repositoryOf(cwd: string): string | undefined {
  for (let directory = cwd; ; directory = dirname(directory)) {
    if (statSync(join(directory, ".git"), { throwIfNoEntry: false }) !== undefined)
      return directory;
    if (dirname(directory) === directory) return undefined;
  }
}

function findSecrets(root: string): Pick<Findings, "secrets" | "crowded" | "cut"> {
  const secrets: string[] = [];
  const crowded: string[] = [];
  const waiting = [{ path: "", depth: 0 }];
  let seen = 0;
  let cut = false;
  for (let next = waiting.shift(); next !== undefined && !cut; next = waiting.shift()) {
    const { path, depth } = next;
    const entries = entriesOf(join(root, path));
    const before = secrets.length;
    for (const entry of entries) {
      seen += 1;
      cut = seen > MAX_ENTRIES;
      if (cut) break;
      const below = path === "" ? entry.name : `${path}/${entry.name}`;
      if (isSecret(entry, join(root, below))) secrets.push(below);
      else if (entry.isDirectory() && depth < MAX_DEPTH && !SKIPPED.has(entry.name)) {
        waiting.push({ path: below, depth: depth + 1 });
      }
    }
    const own = secrets.length - before;
    if (path !== "" && own >= MANY && own === entries.length) crowded.push(path);
  }
  return { secrets: secrets.sort(), crowded: crowded.sort(), cut };
}

function isSecret(entry: Dirent, path: string): boolean {
  if (HARMLESS.test(entry.name)) return false;
  if (!entry.isDirectory()) return SECRET.test(entry.name);
  // Some keep Python's packages in `.env`.
  return SECRET_DIRECTORY.test(entry.name) && !existsSync(join(path, "pyvenv.cfg"));
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}

function packageTests(root: string, names: ReadonlySet<string>): string | undefined {
  let scripts: unknown;
  try {
    scripts = (JSON.parse(smallText(join(root, "package.json"))) as { scripts?: unknown }).scripts;
  } catch {
    return undefined;
  }
  const test: unknown =
    typeof scripts === "object" && scripts !== null && "test" in scripts ? scripts.test : undefined;
  // What npm writes when nobody has written a test.
  if (typeof test !== "string" || /no test specified/.test(test)) return undefined;
  if (names.has("bun.lock") || names.has("bun.lockb")) return "bun run test";
  if (names.has("pnpm-lock.yaml")) return "pnpm test";
  return names.has("yarn.lock") ? "yarn test" : "npm test";
}

function makeTests(root: string, names: ReadonlySet<string>): string | undefined {
  const files = [...names].filter((name) => /^(GNUm|M|m)akefile$/.test(name));
  for (const target of ["test", "check"]) {
    const has = new RegExp(`^${target}\\s*:(?!=)`, "m");
    if (files.some((file) => has.test(smallText(join(root, file))))) return `make ${target}`;
  }
  return undefined;
}

/** Text of a file of reasonable size; empty for anything else. */
function smallText(path: string): string {
  try {
    const info = statSync(path);
    return info.isFile() && info.size <= MAX_FILE_BYTES ? readFileSync(path, "utf8") : "";
  } catch {
    return "";
  }
}
