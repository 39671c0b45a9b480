import { expect, test } from "bun:test";
import { isPodError } from "../../src/base/errors.ts";
import { resolveModel } from "../../src/model/catalog.ts";
import { createModel } from "../../src/model/provider.ts";
import { temp } from "../support/temp.ts";

const deps = { env: {}, podName: "p" };

test("a missing key stops the creation of the model", async () => {
  const keyless = createModel(resolveModel({ ref: "anthropic/claude-sonnet-4-6" }), deps);
  const error = await keyless.catch((e: unknown) => e);
  expect(isPodError(error, "invalid_manifest")).toBe(true);
  expect(String(error)).toContain("API key not provided for scheme Anthropic");
});

test("a model names its scheme and its id", async () => {
  const model = await createModel(resolveModel({ ref: "ollama-local/llama3.1" }), deps);
  expect([model.provider, model.modelId]).toEqual(["anthropic", "llama3.1"]);
});

test.each([
  ["anthropic", "@ai-sdk/anthropic"],
  ["openai_chat", "@ai-sdk/openai-compatible"],
  ["openai_responses", "@ai-sdk/openai"],
  ["gemini", "@ai-sdk/google"],
])(
  "making a model of scheme %s loads no vendor library, and its first request loads %s alone",
  async (scheme, library) => {
    await using dir = temp();
    const program = `
    import { createModel } from "${import.meta.dir}/../../src/model/provider.ts";
    import { resolveModel } from "${import.meta.dir}/../../src/model/catalog.ts";
    const loaded = () => [...new Set(Object.keys(require.cache).flatMap((path) =>
      /node_modules\\/(@ai-sdk\\/[a-z-]+|smol-toml)/.exec(path)?.[1] ?? []))].sort();
    const dialects = () => Object.keys(require.cache).flatMap((path) =>
      /model\\/(anthropic|openai-chat|openai-responses|gemini)\\.ts$/.exec(path)?.[1] ?? []);
    const model = await createModel(
      resolveModel({
        scheme: "${scheme}", model_id: "m", auth: { kind: "none" }, base_url: "http://127.0.0.1:9",
      }),
      {
        env: {},
        podName: "p",
        fetch: () => Promise.resolve(new Response("no", { status: 400 })),
      },
    );
    const before = loaded();
    for await (const _ of model.stream(
      { system: "", items: [], tools: [], options: {} },
      new AbortController().signal,
    ));
    console.log(JSON.stringify([before, loaded(), dialects()]));
  `;
    await Bun.write(dir.join("program.ts"), program);
    const child = Bun.spawn([process.execPath, dir.join("program.ts")], { stderr: "inherit" });
    expect(JSON.parse(await child.stdout.text())).toEqual([
      [],
      [library, "@ai-sdk/provider", "@ai-sdk/provider-utils"].sort(),
      [scheme.replaceAll("_", "-")],
    ]);
  },
);
