import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { isPodError } from "../../src/base/errors.ts";
import { resolveKey } from "../../src/model/auth.ts";
import { type ResolvedRemoteModel, resolveModel } from "../../src/model/catalog.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { temp } from "../support/temp.ts";

function remote(config: ModelConfig): ResolvedRemoteModel {
  const resolved = resolveModel(config);
  if (resolved.scheme === "script") throw new Error("not remote");
  return resolved;
}
async function problem(config: ModelConfig, env: Record<string, string> = {}): Promise<string> {
  try {
    await resolveKey(remote(config), env);
  } catch (error) {
    return isPodError(error, "invalid_manifest") ? error.message : `unexpected ${error}`;
  }
  return "none";
}
const ref = "anthropic/claude-sonnet-4-6";
const ENV = "INSOMNIA_API_KEY_ANTHROPIC";

test("a variable wins over a file", async () => {
  await using dir = temp();
  const file = dir.join("key");
  writeFileSync(file, "from-file\n");
  const resolved = remote({ ref, auth: { kind: "api_key", env: "K", file } });
  expect(await resolveKey(resolved, { K: "from-env" })).toEqual({
    value: "from-env",
    source: "environment variable K",
  });
  expect(await resolveKey(resolved, {})).toEqual({ value: "from-file", source: `file ${file}` });
  expect((await resolveKey(resolved, { K: "  " }))?.value).toBe("from-file");
});

test("auth none has no key", async () => {
  expect(
    await resolveKey(remote({ ref: "ollama-local/llama3.1" }), { [ENV]: "x" }),
  ).toBeUndefined();
});

test("vendor variables are not read", async () => {
  expect(await problem({ ref }, { ANTHROPIC_API_KEY: "k" })).toBe(
    "API key not provided for scheme Anthropic (for api.anthropic.com: " +
      `environment variable ${ENV} is not set; model.auth.file is not given)`,
  );
});

test("a missing key names everything that was looked at", async () => {
  await using dir = temp();
  const file = dir.join("empty");
  writeFileSync(file, "\n");
  expect(await problem({ ref, auth: { kind: "api_key", env: "K", file } }, { K: "" })).toBe(
    "API key not provided for scheme Anthropic (for api.anthropic.com: " +
      `environment variable K is empty; auth.file ${file} is empty)`,
  );
});

test("a withheld default key is explained", async () => {
  expect(await problem({ ref, base_url: "https://proxy.example/x" }, { [ENV]: "k" })).toBe(
    "API key not provided for scheme Anthropic (for proxy.example: " +
      `${ENV} is only sent to api.anthropic.com unless model.auth names it; ` +
      "model.auth.file is not given)",
  );
});

test("a provider without a key variable of its own needs one to be named", async () => {
  expect(await problem({ ref: "ollama-local/llama3.1", auth: { kind: "api_key" } })).toBe(
    "API key not provided for scheme Anthropic (for localhost:11434: " +
      "model.auth.env is not given; model.auth.file is not given)",
  );
});

test("a key file must be absolute, there, and a file", async () => {
  await using dir = temp();
  const auth = (file: string): ModelConfig => ({ ref, auth: { kind: "api_key", file } });
  const unset = `(for api.anthropic.com: environment variable ${ENV} is not set)`;
  expect(await problem(auth("key"))).toBe(
    `model configuration error: auth.file must be absolute: key ${unset}`,
  );
  const missing = dir.join("missing");
  expect(await problem(auth(missing))).toStartWith(
    `model configuration error: failed to read auth.file ${missing}: ENOENT`,
  );
  mkdirSync(dir.join("dir"));
  expect(await problem(auth(dir.join("dir")))).toEndWith(`not a regular file ${unset}`);
  writeFileSync(dir.join("big"), "x".repeat(20_000));
  expect(await problem(auth(dir.join("big")))).toEndWith(`limit is 16384 ${unset}`);
});

test("a key file that cannot be read is told with the variable that was looked at before", async () => {
  await using dir = temp();
  const file = dir.join("missing");
  const auth = { kind: "api_key", env: "K", file } as const;
  const text = await problem({ ref, auth });
  expect(text).toContain(`failed to read auth.file ${file}: ENOENT`);
  expect(text).toEndWith("(for api.anthropic.com: environment variable K is not set)");
  expect(await problem({ ref, auth }, { K: " " })).toEndWith("environment variable K is empty)");
});

test("what a handler may act on is not lost on the way", async () => {
  await using dir = temp();
  const auth = { kind: "api_key", env: "K", file: dir.join("missing") } as const;
  const error = await resolveKey(remote({ ref, auth }), {}).catch((e: unknown) => e);
  expect(isPodError(error) ? error.data : error).toEqual({ errno: "ENOENT" });
});

test("a key that cannot be a header is refused without being shown", async () => {
  const text = await problem({ ref }, { [ENV]: "sec ret\nkey" });
  expect(text).toStartWith("model configuration error: the API key from environment variable");
  expect(text).toEndWith("(for api.anthropic.com)");
  expect(text).not.toContain("sec");
});
