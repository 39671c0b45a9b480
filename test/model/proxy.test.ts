import { describe, expect, test } from "bun:test";
import { proxyOf } from "../../src/model/proxy.ts";
import { within } from "../support/temp.ts";

const A = "http://user:secret@proxy-a:3128";
const B = "proxy-b:8080";
const BOTH = { HTTP_PROXY: A, HTTPS_PROXY: A };

test.each([
  ["http://h/x", {}, undefined],
  ["http://h/x", { HTTP_PROXY: A }, "proxy-a:3128"],
  ["http://h/x", { http_proxy: B, HTTP_PROXY: A }, "proxy-b:8080"],
  ["http://h/x", { http_proxy: "", HTTP_PROXY: A }, "proxy-a:3128"],
  ["https://h/x", { HTTP_PROXY: A }, undefined],
  ["https://h/x", { HTTPS_PROXY: A, ALL_PROXY: B }, "proxy-a:3128"],
  ["https://h/x", { HTTP_PROXY: A, all_proxy: B }, "proxy-b:8080"],
  ["https://h/x", { HTTPS_PROXY: "http://" }, undefined],
  ["https://h/x", { ...BOTH, NO_PROXY: "*" }, undefined],
  ["https://h/x", { ...BOTH, NO_PROXY: "*", no_proxy: "other" }, "proxy-a:3128"],
  ["https://api.example.com/x", { ...BOTH, NO_PROXY: "other, EXAMPLE.com" }, undefined],
  ["https://api.example.com/x", { ...BOTH, NO_PROXY: ".example.com" }, undefined],
  ["https://api.example.com/x", { ...BOTH, NO_PROXY: "*.example.com" }, undefined],
  ["https://api.example.com/x", { ...BOTH, NO_PROXY: "ample.com," }, "proxy-a:3128"],
  ["http://h:81/x", { ...BOTH, NO_PROXY: "h:81" }, undefined],
  ["http://h:82/x", { ...BOTH, NO_PROXY: "h:81" }, "proxy-a:3128"],
  ["https://h/x", { ...BOTH, NO_PROXY: "h:443" }, undefined],
  ["http://10.1.2.3/x", { ...BOTH, NO_PROXY: "10.0.0.0/8" }, undefined],
  ["http://[::1]/x", { ...BOTH, NO_PROXY: "[::1]" }, undefined],
] as const)("of %s with %j it is %p", (url, env, proxy) => {
  expect(proxyOf(url, env)).toBe(proxy);
});

describe("a proxy that cannot be reached", () => {
  test.each(["http", "https"])("is named, without its credentials (%s)", async (protocol) => {
    const support = `${import.meta.dir}/../../src/model`;
    const program = `
      import { createModel } from "${support}/provider.ts";
      import { resolveModel } from "${support}/catalog.ts";
      const resolved = resolveModel({
        scheme: "anthropic", model_id: "m", auth: { kind: "none" },
        base_url: "${protocol}://model.invalid",
      });
      const policy = { maxAttempts: 1, totalMs: 1000, baseMs: 1, capMs: 1 };
      const model = await createModel(resolved, { env: process.env, podName: "p", policy });
      const asked = { system: "", items: [], tools: [], options: {} };
      for await (const event of model.stream(asked, new AbortController().signal)) {
        console.log(event.message);
      }
    `;
    const child = Bun.spawn([process.execPath, "-e", program], {
      env: { PATH: process.env.PATH, [`${protocol}_proxy`]: "http://user:secret@127.0.0.1:9" },
      stderr: "inherit",
    });
    const printed = child.stdout.text();
    expect(await within(child.exited, 4000, "end of the process")).toBe(0);
    expect(await printed).toBe(
      "HTTP error: cannot connect to model.invalid through the proxy 127.0.0.1:9: " +
        "connection refused\n",
    );
  });
});
