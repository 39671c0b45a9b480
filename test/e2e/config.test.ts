/** The commands about configuration with the compiled binary: config, schema, init, and what all of them take. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { podBinary } from "../support/binary.ts";
import { LIMIT_MS, place, SCRIPT } from "./configuring.ts";

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

test("a start says at once that the summariser has no key", async () => {
  await using here = place();
  here.write("manifest.toml", `${SCRIPT}[compaction.model]\nref = "openai/gpt-5"\n`);
  writeFileSync(here.join("project", "s.toml"), 'rules = [{ text = "x" }]\n');
  expect(here.pod("run", "hi").err).toStartWith(
    "error: failed to create pod: compaction.model: API key not provided",
  );
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
