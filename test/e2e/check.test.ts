/** `pod check` with the compiled binary: what it finds, where it says that it is, and that a start agrees. */
import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { place, SCRIPT } from "./configuring.ts";

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
