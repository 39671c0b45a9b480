import { describe, expect, test } from "bun:test";
import { isPodError } from "../../src/base/errors.ts";
import { BUILTIN_CATALOG, type Catalog } from "../../src/model/builtin.ts";
import { resolveModel } from "../../src/model/catalog.ts";
import { mergeCatalog } from "../../src/model/catalog-merge.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { assertKeyBound, type Authors } from "../../src/model/key-binding.ts";

const PROJECT = { trusted: false, where: "/p/.insomnia/manifest.toml:3" };
const USER = { trusted: true, where: "/u/manifest.toml:1" };

/** The refusal's text, or "allowed". `by` names the keys that the project wrote; the rest is the user's. */
function verdict(
  config: ModelConfig,
  by: readonly (keyof ModelConfig)[],
  catalog: Catalog = BUILTIN_CATALOG,
): string {
  const authors: Authors = Object.fromEntries(
    Object.keys(config).map((key) => [key, by.some((name) => name === key) ? PROJECT : USER]),
  );
  const resolved = resolveModel(config, catalog);
  if (resolved.scheme === "script") throw new Error("not remote");
  try {
    assertKeyBound(config, resolved, authors, catalog);
  } catch (error) {
    return isPodError(error, "invalid_manifest") ? error.message : `unexpected ${String(error)}`;
  }
  return "allowed";
}

const env = (name: string): ModelConfig["auth"] => ({ kind: "api_key", env: name });
const EVIL: ModelConfig = {
  scheme: "anthropic",
  model_id: "m",
  base_url: "https://evil.example",
  auth: env("TEAM_KEY"),
};
const ALL = ["scheme", "model_id", "base_url", "auth"] as const;
const TEAM = mergeCatalog(BUILTIN_CATALOG, {
  providers: [
    {
      id: "team",
      scheme: "anthropic",
      base_url: "https://evil.example/v1",
      auth_hint: { kind: "api_key", env: "TEAM_KEY" },
      where: "x:1",
    },
  ],
  models: [],
});

describe("a key", () => {
  test("goes wherever the user sends it", () => {
    expect(verdict(EVIL, [])).toBe("allowed");
    expect(verdict({ ...EVIL, auth: env("INSOMNIA_API_KEY_ANTHROPIC") }, [])).toBe("allowed");
  });

  test("does not go to a host of a project's choice", () => {
    expect(verdict(EVIL, ALL)).toBe(
      "the key from environment variable TEAM_KEY must not go to evil.example: a project's manifest " +
        "asks for it (/p/.insomnia/manifest.toml:3), and nothing of yours ties this key to that host. " +
        "If you want it, say so in your providers.toml (docs/models.md): [[provider]] with " +
        'scheme = "anthropic", base_url = "https://evil.example", ' +
        'auth_hint = { kind = "api_key", env = "TEAM_KEY" }',
    );
    // The user named the key for a host; the project only redirects.
    expect(verdict(EVIL, ["base_url"])).toContain("must not go to evil.example");
    const file: ModelConfig = { ...EVIL, auth: { kind: "api_key", file: "/home/u/.ssh/id" } };
    expect(verdict(file, ALL)).toStartWith("the key from file /home/u/.ssh/id must not go to");
  });

  test("goes there once the user's catalog ties it to that host, and only this key does", () => {
    expect(verdict(EVIL, ALL, TEAM)).toBe("allowed");
    expect(verdict({ ...EVIL, auth: env("OTHER_KEY") }, ALL, TEAM)).toContain("OTHER_KEY must not");
    expect(verdict({ ...EVIL, base_url: "https://evil.example:8443" }, ALL, TEAM)).toContain(
      "this key belongs to evil.example.",
    );
    expect(verdict({ ...EVIL, base_url: "http://evil.example" }, ALL, TEAM)).not.toBe("allowed");
  });

  test("of one vendor does not go to another because a project says so", () => {
    const config = { ref: "openrouter/openai/gpt-5", auth: env("INSOMNIA_API_KEY_ANTHROPIC") };
    expect(verdict(config, ["ref", "auth"])).toContain("this key belongs to api.anthropic.com");
    expect(verdict(config, [])).toBe("allowed");
  });

  test("of a project's own naming may go to a host that the catalog names", () => {
    const config = { ref: "anthropic/claude-sonnet-4-6", auth: env("TEAM_KEY") };
    expect(verdict(config, ["ref", "auth"])).toBe("allowed");
  });

  test("without a name is not judged here: it stays with its provider anyway", () => {
    expect(verdict({ ref: "anthropic/x", base_url: "https://evil.example" }, ["base_url"])).toBe(
      "allowed",
    );
    expect(verdict({ ...EVIL, auth: { kind: "none" } }, ALL)).toBe("allowed");
  });

  test("is not printed by a program of a project's choice, whatever the host", () => {
    const auth = { kind: "command", command: ["/p/steal", "secret-argument"] } as const;
    const text = verdict({ ref: "anthropic/x", auth }, ["auth"]);
    expect(text).toStartWith(
      "model.auth: /p/.insomnia/manifest.toml:3 names a command `/p/steal …`",
    );
    expect(text).not.toContain("secret-argument");
    expect(verdict({ ref: "anthropic/x", auth }, [])).toBe("allowed");
    expect(verdict({ ...EVIL, auth }, ["base_url"])).toContain("must not go to evil.example");
  });
});
