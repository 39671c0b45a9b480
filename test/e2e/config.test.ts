/** The commands about configuration with the compiled binary: config, check, schema, init. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { podBinary } from "../support/binary.ts";
import { temp } from "../support/temp.ts";

const LIMIT_MS = 30_000;

function place() {
  const dir = temp();
  for (const name of ["home", "project", "run"]) mkdirSync(dir.join(name), { mode: 0o700 });
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: dir.join("home"),
    INSOMNIA_HOME: dir.join("home", "i"),
    INSOMNIA_RUNTIME_DIR: dir.join("run"),
  };
  return {
    env,
    join: dir.join,
    project: dir.join("project"),
    write: (name: string, text: string) => {
      mkdirSync(dir.join("project", ".insomnia", "prompts"), { recursive: true });
      writeFileSync(dir.join("project", ".insomnia", name), text);
    },
    pod: (...args: string[]) => {
      const { stdout, stderr, exitCode } = Bun.spawnSync([podBinary(), ...args], {
        cwd: dir.join("project"),
        env,
        stdin: "ignore",
        timeout: LIMIT_MS,
        killSignal: "SIGKILL", // one that waits for a pipe hears nothing else
      });
      return { out: stdout.toString(), err: stderr.toString(), code: exitCode };
    },
    [Symbol.asyncDispose]: dir[Symbol.asyncDispose],
  };
}

const SCRIPT = '[model]\nscheme = "script"\nscript = "s.toml"\n';

describe("pod config", () => {
  test("shows the resolved manifest and where each value came from", async () => {
    await using here = place();
    here.write("manifest.toml", `${SCRIPT}[worker]\nmax_turns = 7\n`);
    const shown = here.pod("config", "--overlay", 'pod.name = "me"');
    expect(shown.code).toBe(0);
    expect(Bun.TOML.parse(shown.out)).toMatchObject({
      pod: { name: "me" },
      model: { script: `${here.project}/s.toml` },
      worker: { max_turns: 7 },
    });
    const lines = here.pod("config", "--show-origin", "--overlay", 'pod.name = "me"').out;
    expect(lines).toMatch(/^--overlay:1 +pod\.name = "me"$/m);
    expect(lines).toMatch(/\/\.insomnia\/manifest\.toml:5 +worker\.max_turns = 7$/m);
    expect(lines).toMatch(/^default +limits\.max_depth = 4$/m);
    const json = JSON.parse(here.pod("config", "--show-origin", "--json").out);
    expect(json.origins).toContainEqual({
      key: "worker.max_turns",
      value: 7,
      source: "project",
      file: `${here.project}/.insomnia/manifest.toml`,
      line: 5,
    });
  });

  test("takes one file alone, and leaves layers out when told to", async () => {
    await using here = place();
    here.write("manifest.toml", "[worker]\nmax_turns = 7\n");
    writeFileSync(here.join("ci.toml"), '[pod]\nname = "ci"\n[worker]\nmax_tokens = 5\n');
    const alone = JSON.parse(here.pod("config", "--json", "--manifest", "../ci.toml").out);
    expect([alone.pod.name, alone.worker.max_turns, alone.worker.max_tokens]).toEqual([
      "ci",
      undefined,
      5,
    ]);
    const without = JSON.parse(here.pod("config", "--json", "--no-project").out);
    expect(without.worker.max_turns).toBeUndefined();
    const file = JSON.parse(here.pod("config", "--json", "--overlay-file", "../ci.toml").out);
    expect([file.pod.name, file.worker.max_turns]).toEqual(["ci", 7]);
  });
});

describe("pod check", () => {
  test("tells everything that is wrong in all layers at once, with file, line, key and nearest name", async () => {
    await using here = place();
    mkdirSync(here.join("home", "i", "config"), { recursive: true });
    const user = here.join("home", "i", "config", "manifest.toml");
    writeFileSync(user, "[worker]\nmax_trns = 3\n[memory]\n");
    here.write(
      "manifest.toml",
      '[pod]\nname = "-x"\n[model]\nauth = { kind = "codex_oauth" }\n[[scope.allow]]\ntarget = "."\n',
    );
    const { err, out, code } = here.pod("check");
    const file = `${here.project}/.insomnia/manifest.toml`;
    expect(code).toBe(1);
    expect(out).toBe("");
    expect(err).toContain(
      `error: ${user}:2: worker.max_trns: unknown key (did you mean \`max_turns\`?)\n`,
    );
    expect(err).toMatch(/:3: memory: .*no memory tools/);
    expect(err).toContain(`error: ${file}:2: pod.name: invalid pod name`);
    expect(err).toContain(`error: ${file}:4: model.auth.kind: "codex_oauth" is not supported`);
    expect(err).toContain(`error: ${file}:5: scope.allow[0].permission: is required`);
    const json = JSON.parse(here.pod("check", "--json").out);
    expect(json.ok).toBe(false);
    expect(json.problems).toHaveLength(5);
    expect(json.problems[0]).toMatchObject({ file: user, line: 2, key: "worker.max_trns" });
  });

  test("looks at the model, the scope and the prompts too, all of them", async () => {
    await using here = place();
    here.write(
      "manifest.toml",
      `${SCRIPT}[worker]\ninstruction = "$workspace/a"\n[[scope.allow]]\ntarget = "sub"\npermission = "write"\n`,
    );
    here.write("prompts/a.md", "fine\n{% if nope %}x{% endif %}\n");
    const { err, code } = here.pod("check");
    expect(code).toBe(1);
    expect(err).toMatch(/manifest\.toml:3: model\.script: .*s\.toml/);
    expect(err).toContain("pwd is not readable under the configured scope");
    expect(err).toContain(`${here.project}/.insomnia/prompts/a.md:2: undefined value`);
    expect(err).toMatch(/warning: .*:7: scope\.allow\[0\]\.target: .* does not exist yet/);
    here.write("prompts.toml", '[prompt]\nnotify_wrapper = """\n{{ mesage }}"""\n');
    expect(here.pod("check").err).toContain("unknown variable `mesage` (known: message)");
  });

  test("says that nothing is wrong", async () => {
    await using here = place();
    here.write("manifest.toml", SCRIPT);
    here.write("../s.toml", '[[rules]]\ntext = "hi"\n');
    here.write("prompts/a.md", "{% for t in tools %}{{ t }}{% endfor %}\n");
    const { out, code } = here.pod("check", "--overlay", 'worker.instruction = "$workspace/a"');
    expect([out, code]).toEqual([
      expect.stringMatching(/^ok: model script.*manifest\.toml\)\n$/),
      0,
    ]);
  });
});

test("pod schema lists what there is and prints the manifest's and the protocol's", async () => {
  await using here = place();
  expect(here.pod("schema").out).toMatch(/^manifest /m);
  expect(JSON.parse(here.pod("schema", "manifest").out)).toMatchObject({ type: "object" });
  const protocol: unknown = JSON.parse(here.pod("schema", "protocol").out);
  expect(protocol).toMatchObject({ definitions: { method: {}, event: {} } });
  const wrong = here.pod("schema", "manifst");
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining("known: ")]);
});

describe("pod init", () => {
  test("writes a manifest that passes the check, and never a second time", async () => {
    await using here = place();
    writeFileSync(`${here.project}/.env`, "KEY=1");
    const first = here.pod("init");
    const path = `${here.project}/.insomnia/manifest.toml`;
    expect([first.code, first.out]).toEqual([0, expect.stringContaining(`wrote ${path}\n`)]);
    expect(first.out).toContain("1 denied: .env");
    const text = readFileSync(path, "utf8");
    expect(text).toContain('target = ".env"\npermission = "read"');
    here.write("../s.toml", '[[rules]]\ntext = "hi"\n');
    const model = `model = { scheme = "script", script = "s.toml" }`;
    expect(here.pod("check", "--overlay", model).code).toBe(0);
    const second = here.pod("init");
    expect([second.code, second.err]).toEqual([1, expect.stringContaining("exists already")]);
    expect(readFileSync(path, "utf8")).toBe(text);
    expect(here.pod("init", "--dry-run").out).toBe(text);
  });

  test("says what it denied and what it did not", async () => {
    await using here = place();
    for (let i = 0; i < 300; i += 1) writeFileSync(`${here.project}/s${i}.pem`, "");
    const { out } = here.pod("init");
    expect(out).toContain("200 denied: s0.pem, ");
    expect(out).toContain("100 NOT denied: ");
  });

  test("says in words that .insomnia is no directory", async () => {
    await using here = place();
    writeFileSync(`${here.project}/.insomnia`, "");
    const file = here.pod("init");
    expect([file.code, file.err]).toEqual([
      1,
      expect.stringContaining(".insomnia is not a directory"),
    ]);
    expect(file.err).not.toMatch(/ENOTDIR|lstat/);
    rmSync(`${here.project}/.insomnia`);
    symlinkSync("nowhere", `${here.project}/.insomnia`);
    const link = here.pod("init");
    expect([link.code, link.err]).toEqual([
      1,
      expect.stringContaining(".insomnia is not a directory"),
    ]);
  });

  test("refuses the home directory", async () => {
    await using here = place();
    const { exitCode, stderr } = Bun.spawnSync([podBinary(), "init"], {
      cwd: here.join("home"),
      env: { HOME: here.join("home") },
      timeout: LIMIT_MS,
    });
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toContain("is your home directory");
    expect(existsSync(here.join("home", ".insomnia"))).toBe(false);
  });
});

test("a Pod process takes one manifest, an overlay from a file, and nothing else", async () => {
  await using here = place();
  here.write("manifest.toml", "[worker]\nmax_trns = 1\n"); // not looked at
  writeFileSync(here.join("project", "s.toml"), '[[rules]]\ntext = "hi"\n');
  writeFileSync(
    here.join("project", "ci.toml"),
    `${SCRIPT}[[scope.allow]]\ntarget = "."\npermission = "write"\n`,
  );
  writeFileSync(here.join("over.toml"), 'pod.name = "from-file"\n');
  const pod = Bun.spawn(
    [podBinary(), "--manifest", "ci.toml", "--overlay-file", here.join("over.toml")],
    {
      cwd: here.project,
      env: {
        HOME: here.join("home"),
        INSOMNIA_HOME: here.join("home", "i"),
        INSOMNIA_RUNTIME_DIR: here.join("run"),
      },
      stdio: ["ignore", "ignore", "pipe"],
      timeout: LIMIT_MS,
    },
  );
  let said = "";
  const decoder = new TextDecoder();
  for await (const chunk of pod.stderr) {
    said += decoder.decode(chunk, { stream: true });
    if (said.includes("listening on")) pod.kill("SIGTERM");
  }
  expect(said).toStartWith("INSOMNIA-READY\tfrom-file\t");
  expect(await pod.exited).toBe(0);
});

describe("pod run", () => {
  test("takes the manifests that it is told to, and its own options count above them all", async () => {
    await using here = place();
    const says = (text: string) => `[[rules]]\ntext = "${text}"\n`;
    for (const name of ["low", "over", "own"]) {
      writeFileSync(here.join("project", `${name}.toml`), says(name));
    }
    here.write("manifest.toml", "[worker]\nmax_trns = 1\n"); // broken, and not looked at
    writeFileSync(
      here.join("ci.toml"),
      '[pod]\nname = "ci"\n[model]\nscheme = "script"\nscript = "project/low.toml"\n',
    );
    const run = (...args: string[]) => here.pod("run", "--manifest", "../ci.toml", ...args, "go");
    const plain = run();
    expect([plain.code, plain.out]).toEqual([0, "low\n"]);
    expect(plain.err).toStartWith("pod `ci` works in ");
    const overlay = '[pod]\nname = "over"\n[model]\nscheme = "script"\nscript = "over.toml"\n';
    const over = run("--overlay", overlay);
    expect([over.code, over.out]).toEqual([0, "over\n"]);
    expect(over.err).toStartWith("pod `over` works in ");
    const own = run("--overlay", overlay, "--name", "own", "--model", "script:own.toml");
    expect([own.code, own.out]).toEqual([0, "own\n"]);
    expect(own.err).toStartWith("pod `own` works in ");
    const without = here.pod("run", "--no-project", "--model", "script:own.toml", "go");
    expect([without.code, without.out]).toEqual([0, "own\n"]);
    const refused = here.pod("run", "--manifest", "f", "--project", "d", "go");
    expect(refused.code).toBe(2);
    expect(refused.err).toContain("--manifest and --project exclude each other");
  });

  test("names the option that says a model that is none", async () => {
    await using here = place();
    const said = (...args: string[]) => here.pod("run", ...args, "go");
    expect(said("--model", "foo")).toMatchObject({
      code: 1,
      err: expect.stringContaining("must be `<provider>/<model_id>` (--model)\n"),
    });
    expect(said("--overlay", 'model.ref = "foo"').err).toContain("(the overlay layer)\n");
    expect(said("--model", "script:")).toMatchObject({
      code: 2,
      err: expect.stringContaining("--model script: needs a file"),
    });
  });
});

test.each([
  [["--overlay", "a=1", "--overlay-file", "f"], "--overlay and --overlay-file exclude each other"],
  [["--manifest", "f", "--project", "d"], "--manifest and --project exclude each other"],
  [["--no-user", "--user-manifest", "f"], "--no-user and --user-manifest exclude each other"],
])("a Pod process refuses %j", async (flags, message) => {
  await using here = place();
  const { code, err } = here.pod(...flags);
  expect([code, err]).toEqual([2, expect.stringContaining(message)]);
});

describe("a pipe where a file must be is named, and nobody waits for it", () => {
  for (const [name, message] of [
    ["project/.insomnia/prompts/a.md", "failed to read prompt asset '$workspace/a'"],
    ["home/i/config/providers.toml", "failed to read catalog at"],
    ["home/i/config/manifest.toml", "failed to read manifest"],
  ] as const) {
    test(name, async () => {
      await using here = place();
      here.write("manifest.toml", `worker.instruction = "$workspace/a"\n${SCRIPT}`);
      writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
      mkdirSync(here.join("home", "i", "config"), { recursive: true });
      expect(Bun.spawnSync(["mkfifo", here.join(name)]).exitCode).toBe(0);
      const { code, err } = here.pod("run", "hello");
      expect(err).toContain(message);
      expect(err).toContain("not a regular file");
      expect(code).toBe(1);
    });
  }
});

test("a check tells broken manifests and broken catalogs at once", async () => {
  await using here = place();
  here.write("manifest.toml", "[pod]\nnam = 1\n");
  const config = here.join("home", "i", "config");
  mkdirSync(config, { recursive: true });
  writeFileSync(`${config}/manifest.toml`, "[worker]\nmax_turns = true\n");
  writeFileSync(`${config}/providers.toml`, '[[provider]]\nid = "x"\nshceme = "gemini"\n');
  const { err, code } = here.pod("check");
  expect(code).toBe(1);
  expect(err.trimEnd().split("\n")).toEqual([
    `error: ${config}/manifest.toml:2: worker.max_turns: expected a number, found a boolean`,
    `error: ${here.project}/.insomnia/manifest.toml:2: pod.nam: unknown key (did you mean \`name\`?)`,
    expect.stringContaining("providers.toml:3: provider[0].shceme: unknown key"),
  ]);
});

test("a check tells every unknown model and every broken text at once", async () => {
  await using here = place();
  here.write(
    "manifest.toml",
    'worker.instruction = "$workspace/a"\nlimits.child_models = ["no/x", "openai/y", "nor/z"]\n' +
      '[model]\nref = "never/x"\n',
  );
  here.write("prompts/a.md", '{% include "$workspace/b" %}\n{% include "$workspace/c" %}\n');
  here.write(
    "prompts.toml",
    '[prompt]\nnotify_wrapper = "{{ a }}"\nagents_md_section = "{{ b }}"\n',
  );
  const { problems } = JSON.parse(here.pod("check", "--json").out);
  const told = problems.map((it: { key: string; line?: number }) => `${it.line} ${it.key}`);
  expect(told).toContain("2 limits.child_models[0]");
  expect(told).toContain("2 limits.child_models[2]");
  const text = JSON.stringify(problems);
  for (const part of ["`never`", "variable `a`", "variable `b`", "workspace/b", "workspace/c"]) {
    expect(text).toContain(part);
  }
});

test("no command lets what a stranger's manifest says reach the terminal raw", async () => {
  await using here = place();
  const escape = "\u001b]0;PWNED\u0007\u001b[2J";
  const model = 'model.ref = "\\u001b]0;X\\u0007/x"';
  for (const text of [`# ${escape}\n`, `${model}\n`]) {
    here.write("manifest.toml", text);
    for (const args of [["config"], ["run", "hi"], ["check"], ["--overlay", "a = 1"]]) {
      const { out, err } = here.pod(...args);
      expect([args, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/.test(out + err)]).toEqual([
        args,
        false,
      ]);
    }
  }
});

describe("a check finds what a start would fail at", () => {
  const agrees = async (
    prepare: (here: ReturnType<typeof place>) => void,
    message: string | RegExp,
  ): Promise<string> => {
    await using here = place();
    here.write("manifest.toml", SCRIPT);
    writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
    expect(here.pod("check").code).toBe(0);
    prepare(here);
    const check = here.pod("check");
    expect([check.code, check.err]).toEqual([1, expect.stringMatching(message)]);
    expect(here.pod("run", "hi").code).toBe(1);
    return check.err;
  };

  test("a path for commands that is none", async () => {
    await agrees(
      (here) => here.write("manifest.toml", `sandbox.write = ["a\\u0000b"]\n${SCRIPT}`),
      /manifest\.toml:1: sandbox\.write\[0\]: must not contain a NUL character\n/,
    );
    await agrees((here) => {
      symlinkSync("nowhere", here.join("project", "link"));
      here.write("manifest.toml", `sandbox.write = ["link"]\n${SCRIPT}`);
    }, /manifest\.toml:1: sandbox\.write: .*link is a broken link\n/);
  });

  test("a summariser without its scenario, or without its key", async () => {
    const summariser = (table: string) => (here: ReturnType<typeof place>) =>
      here.write("manifest.toml", `${SCRIPT}[compaction.model]\n${table}`);
    await agrees(
      summariser('scheme = "script"\nscript = "no.toml"\n'),
      /manifest\.toml:6: compaction\.model\.script: cannot read scenario .*no\.toml/,
    );
    await agrees(
      summariser('ref = "openai/gpt-5"\n'),
      /manifest\.toml:5: compaction\.model\.auth: API key not provided/,
    );
  });

  test("a sessions directory that is a file, or a link that leads nowhere", async () => {
    const sessions = (here: ReturnType<typeof place>): string => {
      mkdirSync(here.join("home", "i"), { recursive: true, mode: 0o700 });
      return here.join("home", "i", "sessions");
    };
    await agrees((here) => writeFileSync(sessions(here), ""), /sessions is not a directory/);
    await agrees((here) => symlinkSync("nowhere", sessions(here)), /sessions is a link .* nowhere/);
  });

  test("a data directory that cannot be made, and a runtime directory open to others", async () => {
    await agrees((here) => writeFileSync(here.join("home", "i"), ""), /sessions cannot be/);
    await agrees((here) => chmodSync(here.join("run"), 0o755), /run is open to other users/);
  });
});

test("a start says at once that the summariser has no key", async () => {
  await using here = place();
  here.write("manifest.toml", `${SCRIPT}[compaction.model]\nref = "openai/gpt-5"\n`);
  writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
  expect(here.pod("run", "hi").err).toStartWith(
    "error: failed to create pod: compaction.model: API key not provided",
  );
});

describe("a check puts what is wrong with a model", () => {
  const FILE = String.raw`^error: \S+/\.insomnia/manifest\.toml`;
  test.each([
    [
      '[model]\nref = "openai/x"\nauth = { kind = "api_key", env = "NO" }\n',
      "3: model.auth: API key",
    ],
    [
      '[model]\n\nref = "foo"\n',
      "3: model.ref: failed to resolve model manifest: invalid model.ref `foo`: must be `<provider>/<model_id>`$",
    ],
    ['[model]\nscheme = "script"\nscript = "no.toml"\n', "3: model.script: cannot read scenario"],
    [
      '[model]\nscheme = "gemini"\nmodel_id = "m"\nauth = { kind = "none" }\nbase_url = "http://a?b"\n',
      "5: model.base_url: .* a query or fragment \\(host a\\)$",
    ],
    [
      '[model]\nmodel_id = "x"\nref = "foo"\n[limits]\nchild_models = ["bar"]\n',
      "3: model.ref: failed to resolve model manifest: invalid model.ref `foo`: must be `<provider>/<model_id>`$",
    ],
    [
      '[model]\nscheme = "openai_chat"\nmodel_id = "m"\nbase_url = "http://a"\nauth = { kind = "api_key", env = "NO" }\n',
      "4: model.base_url: the key from environment variable NO must not go to a: ",
    ],
  ])("on its own line, once: %j", async (text, said) => {
    await using here = place();
    here.write("manifest.toml", text);
    expect(here.pod("check").err).toMatch(new RegExp(`${FILE}:${said}`, "m"));
  });
});

describe("a check puts what is wrong with texts", () => {
  test("on the line that names a missing pack, and in the pack what is wrong there", async () => {
    await using here = place();
    writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
    here.write("manifest.toml", `${SCRIPT}[pod]\nprompt_pack = "no.toml"\n`);
    here.write("prompts.toml", '[prompt]\nnotify_wrapper = "{{ a }}"\n');
    const [pack = "", text = "", ...rest] = here.pod("check").err.trimEnd().split("\n");
    expect(rest).toEqual([]);
    expect(pack).toMatch(
      /manifest\.toml:5: pod\.prompt_pack: failed to read prompt pack \S+no\.toml: ENOENT/,
    );
    expect(text).toContain("prompts.toml:2");
    expect(text).not.toContain("pod.prompt_pack");
  });

  test("with the directory that is not there", async () => {
    await using here = place();
    writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
    writeFileSync(here.join("ci.toml"), SCRIPT.replace("s.toml", "project/s.toml"));
    const said = (name: string, ...args: string[]): string =>
      here.pod("check", ...args, "--overlay", `worker.instruction = "${name}"`).err;
    here.write("manifest.toml", SCRIPT);
    rmSync(here.join("project", ".insomnia", "prompts"), { recursive: true });
    expect(said("$user/a")).toContain(
      `there is no directory ${here.join("home", "i", "config", "prompts")}: `,
    );
    expect(said("$workspace/a")).toContain(
      `there is no directory ${here.project}/.insomnia/prompts: `,
    );
    expect(said("$user/a", "--manifest", "../ci.toml")).toContain("who is left out: ");
    expect(said("$workspace/a", "--no-project")).toContain("which is left out: ");
  });
});

test.each([[["check"]], [["config"]], [["run", "hi"]]])(
  "options that exclude each other are refused: %j",
  async (command) => {
    await using here = place();
    const { code, err } = here.pod(...command, "--manifest", "f", "--project", "d");
    expect([code, err]).toEqual([2, expect.stringContaining("exclude each other")]);
  },
);

test.each([[["check"]], [["config"]], [["run", "hi"]], [["--no-user"]]])(
  "%j tells broken catalogs beside broken manifests",
  async (command) => {
    await using here = place();
    here.write("manifest.toml", "[pod]\nnam = 1\n");
    mkdirSync(here.join("home", "i", "config"), { recursive: true });
    writeFileSync(
      here.join("home", "i", "config", "providers.toml"),
      '[[provider]]\nid = "x"\nshceme = "gemini"\n',
    );
    const { code, err } = here.pod(...command);
    expect(code).toBe(1);
    expect(err).toContain("pod.nam: unknown key");
    expect(err).toContain("providers.toml:3: provider[0].shceme: unknown key");
  },
);

test("a check warns of an allow rule below a deny, and of a deny that denies nothing", async () => {
  await using here = place();
  const rule = (list: string, target: string, permission: string) =>
    `[[scope.${list}]]\ntarget = "${target}"\npermission = "${permission}"\n`;
  for (const name of ["a/b", "c/d"]) mkdirSync(`${here.project}/${name}`, { recursive: true });
  writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
  here.write(
    "manifest.toml",
    SCRIPT +
      rule("allow", ".", "read") +
      rule("allow", "a/b", "write") +
      rule("allow", "c/d", "write") +
      rule("allow", "file/x", "read") +
      rule("deny", "a", "read") +
      rule("deny", "c", "write") +
      rule("deny", "/elsewhere", "write"),
  );
  writeFileSync(`${here.project}/file`, "");
  const { code, err } = here.pod("check");
  expect(code).toBe(0);
  expect(
    err
      .trimEnd()
      .split("\n")
      .map((line) => line.replace(/^.*?toml:/, "")),
  ).toEqual([
    `8: scope.allow[1]: ${here.project}/a/b is denied by scope.deny[0]: the rule has no effect`,
    `11: scope.allow[2]: ${here.project}/c/d is denied by scope.deny[1]: it can only be read`,
    `14: scope.allow[3].target: ${here.project}/file/x does not exist yet`,
    "23: scope.deny[2]: /elsewhere is not allowed anyway: the rule has no effect",
  ]);
});

test("a check of twenty thousand rules takes no minutes", async () => {
  await using here = place();
  const rules = Array.from({ length: 20_000 }, (_, at) => `{target="${at}",permission="read"},\n`);
  here.write("manifest.toml", `scope.allow = [\n${rules.join("")}]\n${SCRIPT}`);
  const { err } = here.pod("check");
  expect(err).toContain(":20001: scope.allow[19999].target: ");
});

test("an overlay may come in a pipe, and nowhere else", async () => {
  await using here = place();
  writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "piped" }]\n');
  const overlay = '[pod]\nname = "me"\n[model]\nscheme = "script"\nscript = "s.toml"\n';
  const piped = (command: string, text = overlay) => {
    const shell = `printf '%s' "$OVERLAY" | "$POD" ${command}`;
    const { stdout, stderr, exitCode } = Bun.spawnSync(["sh", "-c", shell], {
      cwd: here.project,
      env: { ...here.env, POD: podBinary(), OVERLAY: text },
      timeout: LIMIT_MS,
      killSignal: "SIGKILL",
    });
    return { out: stdout.toString(), err: stderr.toString(), code: exitCode };
  };
  expect(piped("config --json --overlay-file /dev/stdin").out).toContain('"name": "me"');
  expect(piped("check --overlay-file /dev/fd/0").code).toBe(0);
  expect(piped("run hi --overlay-file /dev/stdin").out).toBe("piped\n");
  expect(piped("--overlay-file /dev/stdin", "a = 1").err).toContain(
    "overlay TOML: line 1: a: unknown",
  );
  expect(piped("config --overlay-file /dev/stdin", "").code).toBe(0);
  expect(piped("config --manifest /dev/stdin").err).toContain("not a regular file");
});

test("the name of a directory moves no cursor", async () => {
  await using here = place();
  const work = here.join("a\u001b]0;X\u0007b");
  mkdirSync(work);
  writeFileSync(`${work}/s.toml`, 'rules = [{ text = "x" }]\n');
  const { stderr } = Bun.spawnSync([podBinary(), "run", "hi", "--model", "script:s.toml"], {
    cwd: work,
    env: here.env,
    timeout: LIMIT_MS,
  });
  expect(stderr.toString()).toContain("works in ");
  expect(stderr.toString()).not.toContain("\u001b");
});
