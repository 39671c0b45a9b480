import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { lookAt } from "../../src/cli/init/look.ts";
import { renderInitialManifest } from "../../src/cli/init/render.ts";
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
