import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { lookAt } from "../../src/cli/init/look.ts";
import { planOf, renderInitialManifest } from "../../src/cli/init/render.ts";
import { parseLayer } from "../../src/manifest/layer.ts";
import { temp } from "../support/temp.ts";

function tree(files: Record<string, string>) {
  const dir = temp();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(dir.join(name)), { recursive: true });
    writeFileSync(dir.join(name), text);
  }
  return dir;
}

test("a repository is looked at from its root, wherever in it one stands", async () => {
  await using dir = tree({
    ".git/HEAD": "",
    "package.json": '{"scripts":{"test":"vitest"}}',
    "tsconfig.json": "{}",
    "pnpm-lock.yaml": "",
    "AGENTS.md": "",
    "src/a.ts": "",
  });
  expect(lookAt(dir.join("src"))).toEqual({
    root: dir.path,
    isRepository: true,
    languages: ["TypeScript"],
    tests: ["pnpm test"],
    secrets: [],
    crowded: [],
    hasAgentsMd: true,
    cut: false,
  });
});

test("languages and the ways to run tests are known by their files", async () => {
  await using dir = tree({
    "Cargo.toml": "",
    "go.mod": "",
    "pyproject.toml": "",
    Makefile: "build:\n\ttrue\n\ntest: build\n\ttrue\n",
    "package.json": '{"scripts":{"test":"echo \\"Error: no test specified\\" && exit 1"}}',
  });
  const { languages, tests } = lookAt(dir.path);
  expect(languages).toEqual(["JavaScript", "Rust", "Go", "Python"]);
  expect(tests).toEqual(["cargo test", "go test ./...", "pytest", "make test"]);
});

test("files that look like secrets are found, their examples and public halves are not", async () => {
  await using dir = tree({
    ".env": "",
    ".env.local": "",
    ".env.example": "",
    "deploy/id_ed25519": "",
    "deploy/id_ed25519.pub": "",
    "certs/a.pem": "",
    "node_modules/x/.env": "",
    "config/secrets.yml": "",
    "src/environment.ts": "",
  });
  expect(lookAt(dir.path).secrets).toEqual([
    ".env",
    ".env.local",
    "certs/a.pem",
    "config/secrets.yml",
    "deploy/id_ed25519",
  ]);
});

test("what is written is a manifest: all writable but itself and the secrets", async () => {
  await using dir = tree({ 'we"ird/.env': "", "Cargo.toml": "" });
  const text = renderInitialManifest(lookAt(dir.path));
  const { scope, ...rest } = await parseLayer(text, { base: dir.path });
  const deny = (target: string, permission: "read" | "write") => ({
    target: dir.join(target),
    permission,
    recursive: true,
  });
  expect(scope).toEqual({
    allow: [{ target: dir.path, permission: "write", recursive: true }],
    deny: [deny(".insomnia", "write"), deny('we"ird/.env', "read")],
  });
  expect(rest).toEqual({ model: {}, worker: {} });
  expect(text).toContain("#   cargo test\n");
});

test("a directory of secrets is one, and one of Python's is none", async () => {
  await using dir = tree({
    ".env/a": "",
    "deploy/.ssh/config": "",
    "py/.env/pyvenv.cfg": "",
    "src/credentials/index.ts": "",
  });
  expect(lookAt(dir.path).secrets).toEqual([".env", "deploy/.ssh"]);
});

test("a secret with a line break or a control character in its name gets its rule", async () => {
  await using dir = tree({ "a\nb.pem": "", "c\u007fd.key": "" });
  const { secrets } = lookAt(dir.path);
  expect(secrets).toEqual(["a\nb.pem", "c\u007fd.key"]);
  const { scope } = await parseLayer(renderInitialManifest(lookAt(dir.path)), { base: dir.path });
  expect(scope?.deny?.map(({ target }) => target)).toEqual([
    dir.join(".insomnia"),
    dir.join("a\nb.pem"),
    dir.join("c\u007fd.key"),
  ]);
});

test("a directory with nothing but many secrets gets one rule, and what gets none is known", async () => {
  const names = (count: number, at: string) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`${at}s${i}.pem`, ""]));
  await using dir = tree({ ...names(300, ""), ...names(20, "certs/"), ...names(20, "mixed/") });
  writeFileSync(dir.join("mixed", "README"), "");
  const plan = planOf(lookAt(dir.path));
  expect(plan.denied).toHaveLength(200);
  expect(plan.denied[0]).toBe("certs");
  expect(plan.left).toHaveLength(300 + 20 + 1 - 200);
  const text = renderInitialManifest(lookAt(dir.path));
  const { scope } = await parseLayer(text, { base: dir.path });
  expect(scope?.deny).toHaveLength(201);
  expect(text).toContain("# 121 more look like secrets and are NOT denied");
});

test("a secret whose name is no text cannot get a rule, and that is said", async () => {
  await using dir = tree({});
  const name = Buffer.concat([
    Buffer.from(`${dir.path}/`),
    Buffer.from([0xff]),
    Buffer.from(".pem"),
  ]);
  writeFileSync(name, "");
  const plan = planOf(lookAt(dir.path));
  expect([plan.denied, plan.left]).toEqual([[], ["\ufffd.pem"]]);
  expect(renderInitialManifest(lookAt(dir.path))).toContain("# 1 more look");
});
