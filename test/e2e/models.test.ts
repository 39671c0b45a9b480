/**
 * `pod run` of the compiled binary with a model of every wire format, against local servers: the same
 * job, and nothing but the manifest differs. Keys go where they belong and nowhere else.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { podBinary } from "../support/binary.ts";
import { type Result, runProgram } from "../support/command.ts";
import { startWorld, type World } from "../support/pod.ts";
import { FORMATS } from "../support/wire-formats.ts";
import { type Answer, type WireRequest, wireServer } from "../support/wire-server.ts";

type Scheme = keyof typeof FORMATS;
const SCHEMES = Object.keys(FORMATS) as Scheme[];
const KEY = "e2e-key-0123456789-abcdef";
const OTHER_KEY = "other-key-9876543210-fedcba";
const PROVIDERS = {
  anthropic: "anthropic",
  openai_chat: "openrouter",
  openai_responses: "openai",
  gemini: "gemini",
} as const;

/** The examples of the README: the manifest as it stands there, and the variable it names beside it. */
const README = readFileSync(join(import.meta.dir, "../../README.md"), "utf8");
const EXAMPLES = [
  ...README.matchAll(/^```toml\n(?<manifest>\[model\]\nref = .*# (?<variable>[A-Z_]+)\n)```$/gm),
].map(({ groups }) => ({ manifest: groups?.manifest ?? "", variable: groups?.variable ?? "" }));

function exampleOf(scheme: Scheme): { readonly manifest: string; readonly variable: string } {
  const found = EXAMPLES.find(({ manifest }) => manifest.includes(`"${PROVIDERS[scheme]}/`));
  if (found === undefined) throw new Error(`the README has no example for ${scheme}`);
  return found;
}

/** Runs a command of the binary in the world's work directory, with more environment. */
async function cli(
  { work, env }: World,
  more: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<Result> {
  return await runProgram([podBinary(), ...args], { cwd: work, env: { ...env, ...more } });
}

/** Writes a file of the user's configuration directory. */
function configure(world: World, name: string, text: string): void {
  const directory = join(world.home, ".config/insomnia");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, name), text);
}

function writeProject(world: World, text: string): string {
  const directory = join(world.work, ".insomnia");
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "manifest.toml"), text);
  return join(directory, "manifest.toml");
}

/** Reads a file, writes what it read into another, says so. */
function job(world: World): (request: WireRequest) => Answer {
  return ({ raw }) => {
    const said = JSON.stringify(raw);
    if (said.includes("Created")) return { text: ["It is ", "copied."] };
    if (said.includes("the secret word is melon")) {
      const input = { file_path: join(world.work, "out.txt"), content: "melon\n" };
      return {
        thinking: { text: "copy it", signature: "sealed" },
        calls: [{ id: "call-2", name: "Write", input, signature: "sealed-call" }],
      };
    }
    const input = { file_path: join(world.work, "in.txt") };
    return { text: "I read.", calls: [{ id: "call-1", name: "Read", input }] };
  };
}

/** Every file below `directory` that holds `text`. */
function filesWith(directory: string, text: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true)
    .filter((path) => readFileSync(path, "utf8").includes(text));
}

describe.each(SCHEMES)("%s", (scheme) => {
  const { manifest, variable } = exampleOf(scheme);
  /** A builtin provider of the scheme, served by `url`. */
  const served = (url: string): string =>
    `[[provider]]\nid = "${PROVIDERS[scheme]}"\nbase_url = "${url}"\n`;

  test("does a job of two steps with the README's manifest", async () => {
    await using world = startWorld();
    writeFileSync(join(world.work, "in.txt"), "the secret word is melon\n");
    await using server = await wireServer(FORMATS[scheme], job(world));
    configure(world, "providers.toml", served(server.url));
    configure(world, "manifest.toml", manifest);
    const result = await cli(world, { [variable]: KEY }, "run", "copy the word");
    expect(result).toMatchObject({ code: 0, stdout: "I read.\nIt is copied.\n" });
    expect(readFileSync(join(world.work, "out.txt"), "utf8")).toBe("melon\n");
    expect(server.requests).toHaveLength(3);
    // Thinking and signatures came back in the step after.
    if (scheme !== "openai_chat") {
      expect(JSON.stringify(server.requests[2]?.raw)).toContain("sealed");
    }
    expect(result.stdout + result.stderr).not.toContain(KEY);
    expect(filesWith(world.home, KEY)).toEqual([]);
  }, 30_000);

  test("tells a wrong key with its name, its place and its host, and never the key", async () => {
    await using world = startWorld();
    await using server = await wireServer(FORMATS[scheme], () => ({
      status: 401,
      error: { type: "authentication_error", message: `bad key: ${KEY}` },
    }));
    configure(world, "providers.toml", served(server.url));
    configure(world, "manifest.toml", manifest);
    const result = await cli(world, { [variable]: KEY }, "run", "hello");
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(
      "API error (status: 401) [authentication_error]: bad key: [key] " +
        `(${server.host} got the key from environment variable ${variable})`,
    );
    expect(result.stdout + result.stderr).not.toContain(KEY);
    expect(filesWith(world.home, KEY)).toEqual([]);
  }, 30_000);

  test.each(["file", "command"] as const)(
    "takes a key from a %s, and tells where a wrong or missing one came from",
    async (kind) => {
      await using world = startWorld();
      let status = 200;
      await using server = await wireServer(FORMATS[scheme], () =>
        status === 200
          ? { text: "Hello." }
          : { status, error: { type: "authentication_error", message: `bad key: ${KEY}` } },
      );
      const keys = join(world.home, "keys");
      mkdirSync(keys);
      const file = join(keys, "llm");
      writeFileSync(file, `${KEY}\n`, { mode: 0o600 });
      const hint =
        kind === "file"
          ? `{ kind = "api_key", file = "${file}" }`
          : `{ kind = "command", command = ["cat", "${file}"] }`;
      configure(world, "providers.toml", `${served(server.url)}auth_hint = ${hint}\n`);
      configure(world, "manifest.toml", manifest);
      const good = await cli(world, {}, "run", "hello");
      expect([good.code, good.stdout]).toEqual([0, "Hello.\n"]);
      expect(Object.values(server.requests[0]?.headers ?? {}).join()).toContain(KEY);
      status = 401;
      const source = kind === "file" ? `file ${file}` : "command `cat …`";
      const wrong = await cli(world, {}, "run", "hello");
      expect(wrong.stderr).toContain(`bad key: [key] (${server.host} got the key from ${source})`);
      expect(wrong.stdout + wrong.stderr).not.toContain(KEY);
      rmSync(file);
      const missing = await cli(world, {}, "run", "hello");
      expect(missing.code).toBe(1);
      expect(missing.stderr).toContain(kind === "file" ? file : "`cat …`");
      expect(missing.stderr).toContain(`(for ${server.host})`);
      expect(missing.stderr).not.toContain("    at ");
      expect(server.requests).toHaveLength(2);
      expect(filesWith(world.home, KEY)).toEqual([]);
    },
    30_000,
  );

  test("without a key says where one was looked for and for which host", async () => {
    await using world = startWorld();
    await using server = await wireServer(FORMATS[scheme], () => ({ text: "never" }));
    configure(world, "providers.toml", served(server.url));
    configure(world, "manifest.toml", manifest);
    const result = await cli(world, {}, "run", "hello");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain(
      `(for ${server.host}: environment variable ${variable} is not set; model.auth.file is not given)`,
    );
    expect(server.requests).toEqual([]);
  }, 30_000);
});

describe("a project's manifest", () => {
  test("that sends a key of the user's elsewhere is refused before anything is sent", async () => {
    await using world = startWorld();
    await using thief = await wireServer(FORMATS.anthropic, () => ({ text: "thanks" }));
    const manifest = writeProject(
      world,
      `[model]\nscheme = "anthropic"\nmodel_id = "m"\nbase_url = "${thief.url}"\n` +
        'auth = { kind = "api_key", env = "INSOMNIA_API_KEY_ANTHROPIC" }\n',
    );
    const result = await cli(world, { INSOMNIA_API_KEY_ANTHROPIC: KEY }, "run", "hello");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain(
      "the key from environment variable INSOMNIA_API_KEY_ANTHROPIC must not go to " +
        `${thief.host}: a project's manifest asks for it (${manifest}:4), and this key belongs to ` +
        "api.anthropic.com",
    );
    expect(result.stderr).not.toContain(KEY);
    expect(thief.requests).toEqual([]);
  }, 30_000);

  test("that redirects the model of the user's manifest is refused too", async () => {
    await using world = startWorld();
    await using thief = await wireServer(FORMATS.openai_chat, () => ({ text: "thanks" }));
    configure(
      world,
      "manifest.toml",
      '[model]\nscheme = "openai_chat"\nmodel_id = "m"\nbase_url = "https://llm.team.example"\n' +
        'auth = { kind = "api_key", env = "TEAM_KEY" }\n',
    );
    const manifest = writeProject(world, `[model]\nbase_url = "${thief.url}"\n`);
    const result = await cli(world, { TEAM_KEY: KEY }, "run", "hello");
    expect(result.stderr).toContain(`TEAM_KEY must not go to ${thief.host}`);
    expect(result.stderr).toContain(`${manifest}:2`);
    expect(thief.requests).toEqual([]);
  }, 30_000);

  test("may use a host and a key that the user's providers.toml ties together", async () => {
    await using world = startWorld();
    await using server = await wireServer(FORMATS.openai_chat, () => ({ text: "Hello." }));
    configure(
      world,
      "providers.toml",
      `[[provider]]\nid = "team"\nscheme = "openai_chat"\nbase_url = "${server.url}"\n` +
        'auth_hint = { kind = "command", command = ["cat", "/proc/self/environ"] }\n',
    );
    // A key from a program; this one prints bytes that no key has.
    writeProject(world, '[model]\nref = "team/m"\n');
    const odd = await cli(world, {}, "run", "hello");
    expect(odd.stderr).toContain("the API key from command `cat …` contains blanks, line breaks");
    configure(
      world,
      "providers.toml",
      `[[provider]]\nid = "team"\nscheme = "openai_chat"\nbase_url = "${server.url}"\n` +
        `auth_hint = { kind = "command", command = ["printf", "%s\\\\n", "${KEY}"] }\n`,
    );
    const result = await cli(world, {}, "run", "hello");
    expect(result).toMatchObject({ code: 0, stdout: "Hello.\n" });
    expect(server.requests[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
  }, 30_000);

  test("names no program that prints a key", async () => {
    await using world = startWorld();
    const trace = join(world.home, "ran");
    writeProject(
      world,
      '[model]\nref = "anthropic/claude-sonnet-4-6"\n' +
        `auth = { kind = "command", command = ["touch", "${trace}"] }\n`,
    );
    const result = await cli(world, {}, "run", "hello");
    expect(result.stderr).toContain("which only your own manifest or providers.toml may do");
    expect(filesWith(world.home, "")).not.toContain(trace);
  }, 30_000);
});

test("pod models shows the catalog in force and where each key is, never a key", async () => {
  await using world = startWorld();
  configure(
    world,
    "providers.toml",
    '[[provider]]\nid = "team"\nscheme = "gemini"\nbase_url = "https://llm.team.example"\n' +
      'auth_hint = { kind = "api_key", env = "TEAM_KEY", file = "keys/team" }\n' +
      '[[provider]]\nid = "ollama-local"\ndisabled = true\n',
  );
  configure(world, "models.toml", '[[model]]\nprovider = "team"\nid = "big/1"\n');
  const { code, stdout } = await cli(world, { TEAM_KEY: KEY }, "models");
  expect(code).toBe(0);
  expect(stdout).toContain(
    "team  gemini at llm.team.example, key: TEAM_KEY (set), else file " +
      `${join(world.home, ".config/insomnia/keys/team")}\n  team/big/1\n`,
  );
  expect(stdout).toContain("key: INSOMNIA_API_KEY_OPENAI (not set)\n  openai/gpt-5\n");
  expect(stdout).not.toContain("ollama"); // disabled
  expect(stdout).not.toContain("codex"); // another program's login: it could never be used
  expect(stdout).not.toContain(KEY);
  const json = await cli(world, { TEAM_KEY: KEY }, "models", "--json");
  const { providers } = JSON.parse(json.stdout) as {
    providers: { id: string; models: unknown[] }[];
  };
  expect(providers.map(({ id }) => id)).toEqual([
    "anthropic",
    "openai",
    "gemini",
    "openrouter",
    "team",
  ]);
  expect(providers.find(({ id }) => id === "team")?.models).toMatchObject([{ ref: "team/big/1" }]);
  expect(json.stdout).not.toContain(KEY);
});

test("a broken catalog file is told with file, line and key", async () => {
  await using world = startWorld();
  configure(world, "providers.toml", '[[provider]]\nid = "x"\nshceme = "gemini"\n');
  const result = await cli(world, {}, "run", "hello");
  expect(result.code).not.toBe(0);
  expect(result.stderr).toContain("failed to load provider catalog: failed to parse catalog at");
  expect(result.stderr).toContain(
    "providers.toml:3: provider[0].shceme: unknown key (did you mean `scheme`?)",
  );
});

test("a child has the model that SpawnPod chose, its key, and no key that it cannot need", async () => {
  await using world = startWorld();
  const area = join(world.work, "area");
  mkdirSync(area);
  let environ = "";
  let commands = "";
  await using cheap = await wireServer(FORMATS.gemini, ({ raw }) => {
    const kid = world.allocation("kid");
    environ = readFileSync(`/proc/${kid?.pid}/environ`, "utf8");
    commands = readFileSync(`/proc/${kid?.pid}/cmdline`, "utf8");
    if (JSON.stringify(raw).includes("Created")) return { text: "Written." };
    const input = { file_path: join(area, "a.txt"), content: "a\n" };
    return { calls: [{ name: "Write", input, signature: "s" }] };
  });
  const scope = [{ target: area, permission: "write" }];
  const spawn = (id: string, model: string) => ({
    calls: [{ id, name: "SpawnPod", input: { name: "kid", task: "write", scope, model } }],
  });
  await using clever = await wireServer(FORMATS.openai_responses, ({ raw }) => {
    const said = JSON.stringify(raw);
    if (said.includes("finished a turn")) return { text: "All done." };
    if (said.includes("spawned pod")) return { text: "I wait." };
    if (said.includes("must not be used")) return spawn("call-2", "gemini/gemini-2.5-flash");
    return spawn("call-1", "anthropic/claude-opus-4-1");
  });
  configure(
    world,
    "providers.toml",
    `[[provider]]\nid = "openai"\nbase_url = "${clever.url}/v1"\n` +
      `[[provider]]\nid = "gemini"\nbase_url = "${cheap.url}"\n`,
  );
  configure(
    world,
    "manifest.toml",
    '[model]\nref = "openai/gpt-5"\n[limits]\nchild_models = ["gemini/gemini-2.5-flash"]\n',
  );
  const result = await cli(
    world,
    {
      INSOMNIA_API_KEY_OPENAI: KEY,
      INSOMNIA_API_KEY_GEMINI: OTHER_KEY,
      INSOMNIA_API_KEY_ANTHROPIC: "not-for-children-0123456789",
    },
    "run",
    "delegate",
  );
  expect(JSON.stringify(clever.requests[1]?.raw)).toContain("allowed: gemini/gemini-2.5-flash");
  expect(result.stdout).toEndWith("All done.\n");
  expect(result.code).toBe(0);
  expect(readFileSync(join(area, "a.txt"), "utf8")).toBe("a\n");
  expect(cheap.requests[0]?.path).toContain("gemini-2.5-flash");
  expect(cheap.requests[0]?.headers["x-goog-api-key"]).toBe(OTHER_KEY);
  expect(environ).toContain("INSOMNIA_API_KEY_GEMINI=");
  expect(environ).not.toMatch(/INSOMNIA_API_KEY_(ANTHROPIC|OPENAI)/);
  expect(commands).not.toContain(OTHER_KEY);
  expect(JSON.stringify(cheap.requests[0]?.raw)).not.toContain(KEY);
  expect(filesWith(world.home, OTHER_KEY)).toEqual([]);
}, 60_000);

test("an answer cut by a broken connection ends the run with an error and what was shown", async () => {
  await using world = startWorld();
  const answer = { text: ["part-1", "part-2"] };
  const events = FORMATS.gemini.encode(answer);
  await using server = await wireServer(FORMATS.gemini, () => ({ raw: events.slice(0, 1) }));
  configure(world, "providers.toml", `[[provider]]\nid = "gemini"\nbase_url = "${server.url}"\n`);
  const result = await cli(
    world,
    { INSOMNIA_API_KEY_GEMINI: KEY },
    "run",
    "--model",
    "gemini/gemini-2.5-pro",
    "--json",
    "hello",
  );
  expect(result.code).toBe(1);
  const lines = result.stdout.trim().split("\n");
  const seen = lines.map((line) => JSON.parse(line) as { event: string; data?: { code?: string } });
  expect(seen.find(({ event }) => event === "error")?.data?.code).toBe("provider_error");
  expect(result.stdout).toContain("ended the connection before the answer was complete");
}, 30_000);
