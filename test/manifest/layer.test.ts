import { describe, expect, test } from "bun:test";
import { messageOf } from "../../src/base/errors.ts";
import { parseLayer } from "../../src/manifest/layer.ts";
import { ManifestError } from "../../src/manifest/problem.ts";

const FILE = "/p/.insomnia/manifest.toml";
const fromFile = (text: string) => parseLayer(text, { file: FILE, base: "/p" });
const fromOverlay = (text: string) => parseLayer(text, { base: "/p" });

async function failureOf(parsing: Promise<unknown>): Promise<ManifestError> {
  const error = await parsing.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ManifestError) return error;
  throw new Error(`not a ManifestError: ${messageOf(error)}`);
}

/** The problems of a file, each without the file's name: `3: pod.name: …`. */
async function problemsOf(text: string): Promise<string[]> {
  const { message } = await failureOf(fromFile(text));
  const prefix = `failed to parse manifest ${FILE}: `;
  expect(message).toStartWith(prefix);
  return message
    .slice(prefix.length)
    .split(";\n")
    .map((problem) => problem.replace(`${FILE}:`, ""));
}

describe("a layer that fits", () => {
  test("is the annotated example of the specification, without [memory]", async () => {
    const layer = await fromFile(`
[pod]
name = "auditor"
prompt_pack = "ops/prompts-audit.toml"
[model]
ref = "anthropic/claude-sonnet-4-6"
base_url = "https://api.example/v1//"
auth = { kind = "api_key", env = "TEAM_ANTHROPIC_KEY", file = "keys/anthropic" }
[model.capability]
tool_calling = "parallel"
structured_output = "json_schema"
reasoning = "budget_tokens"
vision = true
prompt_caching = { kind = "explicit", max_breakpoints = 4 }
[worker]
instruction = "$workspace/auditor"
max_tokens = 12000
max_turns = 80
temperature = 1.0
top_p = 0.95
top_k = 50
stop_sequences = ["<<END>>"]
reasoning = 6000
[worker.tool_output]
default_max_bytes = 24576
[worker.tool_output.per_tool]
Bash = 8192
[[scope.allow]]
target = "."
permission = "read"
[[scope.allow]]
target = "./reports/"
permission = "write"
recursive = false
[[scope.deny]]
target = "/etc/.env"
permission = "read"
[compaction]
compact_threshold = 120000
[compaction.model]
scheme = "gemini"
model_id = "gemini-2.5-flash"
auth = { kind = "api_key", file = "/keys/gemini" }
[limits]
max_depth = 2
`);
    expect(layer).toEqual({
      pod: { name: "auditor", prompt_pack: "/p/ops/prompts-audit.toml" },
      model: {
        ref: "anthropic/claude-sonnet-4-6",
        base_url: "https://api.example/v1",
        auth: { kind: "api_key", env: "TEAM_ANTHROPIC_KEY", file: "/p/keys/anthropic" },
        capability: {
          tool_calling: "parallel",
          structured_output: "json_schema",
          reasoning: "budget_tokens",
          vision: true,
          prompt_caching: { kind: "explicit", max_breakpoints: 4 },
        },
      },
      worker: {
        instruction: "$workspace/auditor",
        max_tokens: 12_000,
        max_turns: 80,
        temperature: 1,
        top_p: 0.95,
        top_k: 50,
        stop_sequences: ["<<END>>"],
        reasoning: 6000,
        tool_output: { default_max_bytes: 24_576, per_tool: { Bash: 8192 } },
      },
      scope: {
        allow: [
          { target: "/p", permission: "read", recursive: true },
          { target: "/p/reports", permission: "write", recursive: false },
        ],
        deny: [{ target: "/etc/.env", permission: "read", recursive: true }],
      },
      compaction: {
        compact_threshold: 120_000,
        model: {
          scheme: "gemini",
          model_id: "gemini-2.5-flash",
          auth: { kind: "api_key", file: "/keys/gemini" },
        },
      },
      limits: { max_depth: 2 },
    });
  });

  test("may be empty, or use dotted keys", async () => {
    expect(await fromOverlay("")).toEqual({});
    expect(await fromOverlay('pod.name = "dbg"')).toEqual({ pod: { name: "dbg" } });
  });

  test("has the scenario file of an offline model relative to its base", async () => {
    const { model } = await fromFile('model = { scheme = "script", script = "demo/a.toml" }');
    expect(model).toEqual({ scheme: "script", script: "/p/demo/a.toml" });
  });
});

describe("what is wrong with a value", () => {
  const cases: [string, string][] = [
    ["[worker]\nmax_turn = 3", "2: worker.max_turn: unknown key (did you mean `max_turns`?)"],
    ["[workers]\n", "1: workers: unknown key (did you mean `worker`?)"],
    ['name = "a"', "1: name: unknown key (did you mean `pod.name`?)"],
    ["[zebra]", "1: zebra: unknown key"],
    ["[constructor]", "1: constructor: unknown key"],
    ['["a b"]', '1: "a b": unknown key'],
    [
      '[model.auth]\nkind = "api_key"\nevn = "X"',
      "3: model.auth.evn: unknown key (did you mean `env`?)",
    ],
    [
      '[[scope.allow]]\ntarget = "/a"\npermission = "read"\n[[scope.allow]]\ntarget = "/b"\n' +
        'permission = "read"\nrecursiv = true',
      "7: scope.allow[1].recursiv: unknown key (did you mean `recursive`?)",
    ],
    [
      '[[scope.deny]]\ntarget = "/a"',
      '1: scope.deny[0].permission: is required ("read" | "write")',
    ],
    [
      '[[scope.deny]]\ntarget = "/a"\npermission = "wirte"',
      '3: scope.deny[0].permission: expected one of "read", "write" (did you mean `write`?)',
    ],
    [
      '[[scope.allow]]\ntarget = "../b"\npermission = "read"',
      "2: scope.allow[0].target: must not contain `..`",
    ],
    [
      '[[scope.allow]]\ntarget = ""\npermission = "read"',
      "2: scope.allow[0].target: must not be empty",
    ],
    ['pod = "a"', "1: pod: expected a table, found a string"],
    ["pod.name = 3", "1: pod.name: expected a string, found a number"],
    ["[limits]\nmax_depth = 0", "2: limits.max_depth: must be at least 1"],
    ["limits.max_children = -1", "1: limits.max_children: must be at least 1"],
    [
      "limits.ready_timeout_ms = 2147483648",
      "1: limits.ready_timeout_ms: must be at most 2147483647",
    ],
    ["worker.max_turns = 0", "1: worker.max_turns: must be at least 1"],
    ["worker.max_tokens = 4294967296", "1: worker.max_tokens: must be at most 4294967295"],
    [
      "worker.max_tokens = 1.5",
      "1: worker.max_tokens: expected an integer, found a number with a fraction",
    ],
    ["worker.temperature = inf", "1: worker.temperature: must be finite"],
    ["worker.temperature = nan", "1: worker.temperature: expected a number, found nan"],
    [
      "worker.reasoning = true",
      "1: worker.reasoning: expected an effort label (string) or a token budget (integer)",
    ],
    ["worker.reasoning = 2147483648", "1: worker.reasoning: must be at most 2147483647"],
    [
      "worker.stop_sequences = [\n 'a',\n 1]",
      "3: worker.stop_sequences[1]: expected a string, found a number",
    ],
    [
      "worker.tool_output.per_tool.Bash = '1'",
      "1: worker.tool_output.per_tool.Bash: expected a number, found a string",
    ],
    ["pod.name = 2020-01-01", "1: pod.name: expected a string, found a date"],
    [
      'model.scheme = "antropic"',
      '1: model.scheme: expected one of "anthropic", "openai_chat", "openai_responses", "gemini", ' +
        '"script" (did you mean `anthropic`?)',
    ],
    [
      'model.auth = { kind = "key" }',
      '1: model.auth.kind: expected one of "none", "api_key", "command"',
    ],
    ["model.auth = {}", '1: model.auth.kind: expected one of "none", "api_key", "command"'],
    ['sandbox.write = ["a\\u0000b"]', "1: sandbox.write[0]: must not contain a NUL character"],
    ['model.script = "a\\u0000b"', "1: model.script: must not contain a NUL character"],
    ['model.base_url = "http://a b"', "1: model.base_url: must be an http or https URL"],
    ['model.base_url = "http://[::g]"', "1: model.base_url: must be an http or https URL"],
    ['model.base_url = "localhost:1"', "1: model.base_url: must be an http or https URL"],
    ['model.base_url = "file:///etc"', "1: model.base_url: must be an http or https URL"],
    [
      'model.auth = { kind = "none", env = "X" }',
      '1: model.auth.env: unknown key: it goes with kind = "api_key"',
    ],
    [
      'compaction.model.auth = { kind = "api_key", command = ["x"] }',
      '1: compaction.model.auth.command: unknown key: it goes with kind = "command"',
    ],
    [
      'model.auth = { kind = "api_key", fiel = "x" }',
      "1: model.auth.fiel: unknown key (did you mean `file`?)",
    ],
    ["limits.max_depth = 9007199254740993", "1: limits.max_depth: integer out of range"],
    ["worker.temperature = -99999999999999999", "1: worker.temperature: integer out of range"],
    ["pod.name = 99999999999999999", "1: pod.name: expected a string, found an integer"],
    ["compaction.model.max = 1", "1: compaction.model.max: unknown key"],
    [
      "[memory]\nextract_threshold = 1",
      "1: memory: unknown key: this program has no memory tools; remove the [memory] section",
    ],
    ['pod.pwd = "/x"', "1: pod.pwd: unknown key: a Pod works in the directory it is started in"],
    [
      'worker.system_prompt = "x"',
      "1: worker.system_prompt: unknown key: write the text to a prompt asset and name it in " +
        "`worker.instruction`",
    ],
    [
      'model.auth.kind = "codex_oauth"',
      '1: model.auth.kind: "codex_oauth" is not supported: this program does not use another ' +
        'program\'s login; use kind = "api_key"',
    ],
  ];
  test.each(cases)("%j is told as: %s", async (text, problem) => {
    expect(await problemsOf(text)).toEqual([problem]);
  });

  test("a pod name that is no safe path component is refused where it stands", async () => {
    for (const name of ["", ".", "..", "../x", "/abs", "a/b", "pods.json", "a".repeat(65)]) {
      const [problem] = await problemsOf(`\npod.name = ${JSON.stringify(name)}`);
      expect(problem).toStartWith(
        `2: pod.name: invalid pod name \`${name.slice(0, 80)}\`: use 1 to`,
      );
    }
  });

  test("a capability is whole or refused", async () => {
    expect(await problemsOf('[model.capability]\ntool_calling = "none"')).toEqual([
      '1: model.capability.structured_output: is required ("none" | "json_object" | "json_schema")',
      "1: model.capability.prompt_caching: is required (a table)",
    ]);
  });

  test("an address with a password is refused without showing it", async () => {
    const error = await failureOf(fromFile('model.base_url = "https://me:hunter2@host/v1"'));
    expect(error.message).toEndWith(
      `${FILE}:1: model.base_url: must not contain a user name or password; use \`auth\``,
    );
    expect(error.message).not.toContain("hunter2");
  });
});

describe("several problems", () => {
  test("are told beside an integer that is too large for a number", async () => {
    const text =
      "[worker]\nmax_turns = 99999999999999999\nmax_trns = 1\n[x-own]\nid = 99999999999999999\n";
    expect(await problemsOf(text)).toEqual([
      "2: worker.max_turns: integer out of range",
      "3: worker.max_trns: unknown key (did you mean `max_turns`?)",
    ]);
  });

  test("are all reported, in the order of their lines", async () => {
    const text = "[limits]\nmax_depth = 0\nnax_depth = 1\n[wroker]\n[pod]\nname = 1\n";
    expect(await problemsOf(text)).toEqual([
      "2: limits.max_depth: must be at least 1",
      "3: limits.nax_depth: unknown key (did you mean `max_depth`?)",
      "4: wroker: unknown key (did you mean `worker`?)",
      "6: pod.name: expected a string, found a number",
    ]);
  });

  test("are kept as data too, the first one in `data`", async () => {
    const error = await failureOf(fromFile("a = 1\n[pod]\nname = 1"));
    expect(error.code).toBe("invalid_manifest");
    expect(error.data).toEqual({ file: FILE, line: 1, key: "a" });
    expect(error.problems).toEqual([
      { file: FILE, line: 1, key: "a", message: "unknown key" },
      { file: FILE, line: 3, key: "pod.name", message: "expected a string, found a number" },
    ]);
  });

  test("stay apart when a terminal folds them into one line", async () => {
    const error = await failureOf(fromOverlay("a = 1\nb = 2"));
    expect(messageOf(error)).toBe(
      "failed to parse overlay TOML: line 1: a: unknown key; line 2: b: unknown key",
    );
  });
});

describe("text that is not TOML", () => {
  test("is told with file, line, column and the line itself", async () => {
    const error = await failureOf(fromFile('[pod]\n\tname = 12x\nother = ""\n'));
    expect(error.message).toBe(
      `failed to parse manifest ${FILE}: ${FILE}:2:11: illegal character in numeric literal\n` +
        "  2 |  name = 12x\n" +
        "                ^",
    );
    expect(error.problems).toMatchObject([{ file: FILE, line: 2, column: 11 }]);
  });

  test("in an overlay is told without a file", async () => {
    const { message } = await failureOf(fromOverlay('pod.name = "a"\npod.name = "b"'));
    expect(message).toStartWith("failed to parse overlay TOML: line 2:");
  });

  test("is shown in part when the line is long, and without a password", async () => {
    const address = `"https://me:hunter2@host"`;
    const { message } = await failureOf(fromOverlay(`model = { base_url = ${address}, x }`));
    expect(message).not.toContain("hunter2");
    const long = await failureOf(fromOverlay(`a = "${"x".repeat(5000)}" b`));
    expect(long.message.length).toBeLessThan(600);
  });

  test.each(["", "a", "[", "[[", "a = {", 'a = """', "\u0000", "a = 99999999999999999999"])(
    "never ends in another kind of error: %j",
    async (text) => {
      if (text === "") expect(await fromFile(text)).toEqual({});
      else expect((await failureOf(fromFile(text))).problems[0]?.line).toBe(1);
    },
  );
});

test("tables of other programs at the top are left alone, and only there", async () => {
  expect(await fromFile('x-tool = 1\n[pod]\nname = "a"\n[x-editor]\nany = "thing"\n')).toEqual({
    pod: { name: "a" },
  });
  expect(await problemsOf("[pod]\nx-note = 1\n")).toEqual(["2: pod.x-note: unknown key"]);
});
