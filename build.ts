/**
 * Builds the program: `bun run build.ts` makes `dist/pod` from `src/main.ts`. The file appears there
 * only after it has passed its smoke test, by a rename in the same directory: running Pods keep the
 * old program, and a broken build replaces nothing.
 *
 * `--entry FILE` and `--outfile FILE` build another program in the same way.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import manifest from "./package.json" with { type: "json" };
import { toolSchemas } from "./scripts/tool-schemas.ts";
import { errnoCode } from "./src/base/errors.ts";

const ROOT = import.meta.dir;
const SMOKE_TIMEOUT_MS = 20_000;

/** What the smoke test's `.env` tries to set; none of it may reach the program. */
const HOSTILE_ENV: Readonly<Record<string, string>> = {
  INSOMNIA_RUNTIME_DIR: "/hostile",
  BUN_OPTIONS: "--preload ./preload.ts",
  POD_SMOKE: "hostile",
};

/** Says which of `HOSTILE_ENV` reached it: a program of its own, since `--version` cannot tell. */
const PROBE_SOURCE = `console.log(${JSON.stringify(Object.keys(HOSTILE_ENV))}
  .filter((name) => process.env[name] !== undefined).join(" ") || "clean");`;

/** A reason to stop that the person who builds can act on. */
class BuildFailure extends Error {}

/** Compiles `entrypoint`, or `source` under that name, into the executable `outfile`. */
async function compile(entrypoint: string, outfile: string, source?: string): Promise<void> {
  const result = await Bun.build({
    entrypoints: [entrypoint],
    ...(source === undefined ? {} : { files: { [entrypoint]: source } }),
    root: ROOT,
    target: "bun",
    // Bytecode alone would mean CommonJS. Splitting keeps each `await import()` a chunk of its own,
    // so that a command's libraries are not even read until it runs: without it every process starts
    // 3 ms later and is 7 MiB larger.
    format: "esm",
    bytecode: true,
    splitting: true,
    // Short identifiers would save 0.2 % and take the names out of stacks and of `constructor.name`.
    minify: { whitespace: true, syntax: true, identifiers: false },
    // Any kind is embedded (compressed, read when a stack is printed), so that an internal error
    // names src/…:line; "none" leaves positions in the bundle. Bun also writes .map files beside
    // the executable: they are removed with the staging directory.
    sourcemap: "inline",
    define: {
      "process.env.NODE_ENV": JSON.stringify("production"),
      POD_VERSION: JSON.stringify(manifest.version),
      POD_TOOL_SCHEMAS: JSON.stringify(JSON.stringify(toolSchemas())),
    },
    // A Pod runs in directories of other people: nothing found there may configure it.
    compile: {
      outfile,
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
      // Most code of a Pod runs once or a few times: compiling it costs more than it saves (a fifth
      // of a child's processor time, 1.5 MiB). What runs often is compiled all the same, only later:
      // searching a large tree takes as long as with 1. With 30 children start more slowly again.
      jitPolicy: 10,
    },
    throw: false,
  });
  if (result.success) return;
  throw new BuildFailure(result.logs.map((entry) => Bun.inspect(entry)).join("\n"));
}

/** Runs `program` in `directory` with a bare environment; returns what it printed, or fails. */
async function run(program: string, args: readonly string[], directory: string): Promise<string> {
  const child = Bun.spawn([program, ...args], {
    cwd: directory,
    env: { PATH: "/usr/bin:/bin", HOME: directory },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: SMOKE_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const kill = (): void => child.kill("SIGKILL");
  process.once("exit", kill);
  const [output, complaints, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  process.off("exit", kill);
  if (child.signalCode === null && code === 0 && complaints === "") return output.trimEnd();
  const command = [basename(program), ...args].join(" ");
  const end =
    child.signalCode === null
      ? `exited with ${code}`
      : `was ended by ${child.signalCode} (limit ${SMOKE_TIMEOUT_MS} ms)`;
  const details = complaints === "" ? "" : `; standard error:\n${complaints.trimEnd()}`;
  throw new BuildFailure(`smoke test: \`${command}\` ${end}${details}`);
}

/** Makes `directory`, with files that would take over a program that loads its surroundings. */
function makeHostile(directory: string): { readonly marker: string } {
  mkdirSync(directory);
  const marker = join(directory, "marker");
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  const dotenv = Object.entries(HOSTILE_ENV).map(([name, value]) => `${name}="${value}"\n`);
  write(".env", dotenv.join(""));
  write(".env.production", dotenv.join(""));
  write("preload.ts", `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "");`);
  write("bunfig.toml", 'preload = ["./preload.ts"]\n');
  write(".bunfig.toml", 'preload = ["./preload.ts"]\n'); // the directory is also HOME
  write("tsconfig.json", '{ "extends": "./missing", "compilerOptions": { "paths": ');
  write("package.json", '{ "name": "hostile", "type": "commonjs", "imports": ');
  return { marker };
}

/**
 * Proves that `program` starts, knows its version, and takes nothing from where it is started:
 * runs it and `probe`, compiled with the same switches, in `directory`, which is made hostile.
 */
async function smokeTest(program: string, probe: string, directory: string): Promise<void> {
  const { marker } = makeHostile(directory);
  const version = await run(program, ["--version"], directory);
  if (version !== manifest.version) {
    throw new BuildFailure(
      `smoke test: \`--version\` printed ${JSON.stringify(version)}, not ${manifest.version}`,
    );
  }
  const reached = await run(probe, [], directory);
  if (reached !== "clean") {
    throw new BuildFailure(`smoke test: .env of the working directory set ${reached}`);
  }
  if (existsSync(marker)) {
    throw new BuildFailure("smoke test: the preload of the working directory's bunfig.toml ran");
  }
}

/** Builds, tests and puts in place; returns what to tell. Nothing is left of a failed attempt. */
async function build(entry: string, outfile: string): Promise<string> {
  const wanted = manifest.devDependencies.bun;
  if (Bun.version !== wanted) {
    throw new BuildFailure(
      `Bun ${Bun.version} runs this build, but the program is made for Bun ${wanted}; use: bun run build`,
    );
  }
  if (!existsSync(entry)) throw new BuildFailure(`there is no ${entry}`);
  const started = performance.now();
  mkdirSync(dirname(outfile), { recursive: true });
  // Beside the target, because a rename does not cross file systems; a directory, because the
  // name of the executable becomes part of the program (`Bun.main`).
  const staging = mkdtempSync(join(dirname(outfile), ".build-"));
  const discard = (): void => rmSync(staging, { recursive: true, force: true });
  process.once("SIGINT", () => process.exit(130)).once("SIGTERM", () => process.exit(143));
  process.once("exit", discard);
  try {
    const program = join(staging, basename(outfile));
    const probe = join(staging, "probe");
    await compile(entry, program);
    await compile(join(ROOT, "smoke-probe.ts"), probe, PROBE_SOURCE);
    await smokeTest(program, probe, join(staging, "hostile"));
    renameSync(program, outfile);
  } finally {
    discard();
  }
  const megabytes = (Bun.file(outfile).size / 1e6).toFixed(0);
  return `built ${outfile} ${manifest.version} (${megabytes} MB, ${Math.round(performance.now() - started)} ms)`;
}

try {
  const { values } = parseArgs({
    args: Bun.argv.slice(2),
    options: {
      entry: { type: "string", default: join(ROOT, "src/main.ts") },
      outfile: { type: "string", default: join(ROOT, "dist/pod") },
    },
  });
  console.log(await build(resolve(values.entry), resolve(values.outfile)));
} catch (error) {
  const misused = errnoCode(error)?.startsWith("ERR_PARSE_ARGS") === true;
  const expected = error instanceof BuildFailure || (misused && error instanceof Error);
  console.error(`build: ${expected ? error.message : Bun.inspect(error)}`);
  process.exitCode = 1;
}
